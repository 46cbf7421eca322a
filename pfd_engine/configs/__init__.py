"""What a user may ask for: one checked, immutable configuration a kind of run. No torch."""
