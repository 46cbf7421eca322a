"""What every page starts with: its frame, its address, who may use it, and how it is served."""
