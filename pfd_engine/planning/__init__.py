"""What a run will cost and what rules it out, before anything is loaded. No torch."""
