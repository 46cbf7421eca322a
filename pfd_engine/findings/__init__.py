"""What is said of a run or a sweep: analyses over a store, tables and verdicts. No torch."""
