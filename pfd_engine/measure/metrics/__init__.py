"""Metrics beside PFD, one module each."""
