"""What a student learned from."""
