"""Images of one noise side by side."""
