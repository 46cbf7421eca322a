"""Quantiles and tails of the distributions that the analysis uses. SciPy takes as long to import as pandas, so only who calls them pays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2


def t_quantile(replicates: NDArray[np.int64] | int, tail: float = TAIL) -> Array:
    """Return the upper quantile of Student's t for a mean of `replicates` values; NaN for fewer than 2."""
    from scipy import special

    freedom = np.asarray(replicates, dtype=np.float64) - 1
    return np.asarray(np.where(freedom > 0, -special.stdtrit(np.maximum(freedom, 1), tail), np.nan))


def t_quantile_of(freedom: float, tail: float = TAIL) -> float:
    """Return the upper quantile of Student's t with so many degrees of freedom, 1 or more; NaN where they are not known."""
    from scipy import special

    return -float(special.stdtrit(freedom, tail)) if freedom == freedom else float("nan")


def t_p_value(t: Array, replicates: int) -> Array:
    """Return the two-sided p-value of a t statistic of a mean of `replicates` >= 2 values."""
    from scipy import special

    return np.asarray(2 * special.stdtr(replicates - 1, -np.abs(t)))


def normal_quantile(tail: float = TAIL) -> float:
    """Return the upper quantile of the standard normal distribution."""
    from scipy import special

    return -float(special.ndtri(tail))


def chi_square_quantile(probability: Array, freedom: int) -> Array:
    """Return the quantile of chi-square with `freedom` degrees at each probability."""
    from scipy import special

    return np.asarray(special.chdtri(freedom, 1 - probability))
