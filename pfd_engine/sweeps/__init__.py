"""Experiments behind the three findings: a declarative spec, the students it means, and the sweep that measures them."""
