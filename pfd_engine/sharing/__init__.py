"""Results to others and from others."""
