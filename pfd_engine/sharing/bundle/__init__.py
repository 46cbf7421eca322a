"""Results as a folder that others can open: Parquet tables, re-encoded PNGs, figures, a card, and where every number came from."""
