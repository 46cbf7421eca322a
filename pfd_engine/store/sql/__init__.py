"""A visitor's own SQL, in a process of its own."""
