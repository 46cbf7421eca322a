"""The same-noise wall, which the static snapshot draws too (`pfd_engine/walls/same_noise.py`)."""

from pfd_engine.walls.same_noise import HEADINGS, Pair, pixels, wall

__all__ = ["HEADINGS", "Pair", "pixels", "wall"]
