"""What lies on disk of a run: its folder, status, events and origin."""
