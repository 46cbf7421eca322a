"""The same-noise wall, which the static snapshot draws too (`pfd_engine/wall.py`)."""

from pfd_engine.wall import HEADINGS, Pair, pixels, wall

__all__ = ["HEADINGS", "Pair", "pixels", "wall"]
