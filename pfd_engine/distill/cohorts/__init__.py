"""Students of a sweep that are trained together or one after the other."""
