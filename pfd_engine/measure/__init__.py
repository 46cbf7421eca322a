"""How far apart two maps lie, and how much of that the solver makes."""
