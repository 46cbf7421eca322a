"""How noise becomes an image: denoisers, solvers, and the maps that they make."""
