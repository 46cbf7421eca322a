"""Numbers, methods and citations in words."""
