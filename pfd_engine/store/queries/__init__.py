"""Questions to a store, one module for each part of the dashboard that asks them."""
