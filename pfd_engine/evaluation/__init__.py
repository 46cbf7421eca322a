"""One evaluation, from its configuration to its events."""
