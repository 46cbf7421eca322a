"""Which seeds serve which purpose, so that no student is ever judged on a noise it was trained on (MATH.md, section 2)."""

from __future__ import annotations

SEED_LIMIT = 2**32
EVALUATION_SEEDS = range(2**24)
TRAINING_SEEDS = range(2**30, 2**31)
HELD_OUT_SEEDS = range(2**31, 2**32)


def check_seed_range(start: int, stop: int) -> None:
    """Raise ValueError unless `0 <= start <= stop <= 2**32`."""
    if not 0 <= start <= stop <= SEED_LIMIT:
        raise ValueError(f"seeds are [{start}, {stop}): give 0 <= start <= stop <= 2**32, because the CPU generator repeats beyond 32 bits")
