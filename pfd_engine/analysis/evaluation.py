"""What one evaluation's stored distances say: convergence in the number of noises, and the verdict on memorization."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NORMAL_95 = 1.959963984540054


def convergence(distances: dict[str, NDArray[np.float64]], points: int = 120) -> pd.DataFrame:
    """Return each metric's estimate from its first m squared per-noise distances, for up to `points` values of m.

    Columns `metric`, `num_noises`, `value`, `ci_low`, `ci_high`: `sqrt(mean d)` with its normal 95 % interval (MATH: the delta
    method), which is approximate where m is small; m starts at 8, or at 2 where there are fewer noises.
    """
    frames = []
    for metric, squared in distances.items():
        count = len(squared)
        if count < 2:
            continue
        first = 8 if count >= 16 else 2
        m = np.unique(np.geomspace(first, count, num=min(points, count)).round().astype(int))
        # Shifting by the first value keeps the running variance accurate where distances are large and nearly equal.
        shifted = squared - squared[0]
        mean = np.cumsum(shifted)[m - 1] / m
        variance = np.maximum(np.cumsum(shifted**2)[m - 1] / m - mean**2, 0) * m / (m - 1)
        value = np.sqrt(np.maximum(mean + squared[0], 0))
        half = np.divide(NORMAL_95 * np.sqrt(variance), 2 * value * np.sqrt(m), out=np.zeros_like(value), where=value > 0)
        low = np.maximum(value - half, 0)
        frames.append(pd.DataFrame({"metric": metric, "num_noises": m, "value": value, "ci_low": low, "ci_high": value + half}))
    columns = ["metric", "num_noises", "value", "ci_low", "ci_high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


class Verdict(NamedTuple):
    """Whether a student memorizes: `word`, and the paired 95 % interval of `E_mem^2 - E_gen^2` behind it.

    `neither`: closer to its teacher than to its training set, but not closer to it than the training set is.
    """

    word: Literal["memorizes", "generalizes", "neither", "undetermined"]
    ci_low: float
    ci_high: float


def memorization_verdict(
    generalization: NDArray[np.float64], memorization: NDArray[np.float64], empirical: NDArray[np.float64] | None = None
) -> Verdict:
    """Compare a student's squared distances to its teacher with those to its training set's empirical map, noise by noise.

    Both are `(M,)`, M >= 2, on the same noises. The student memorizes where it lies closer to the empirical map, which is the small-N side
    of the crossing of E_mem and E_gen; the verdict is undetermined where the paired interval of the difference contains 0. `empirical`,
    where it is known, holds the squared distances from the empirical map to the teacher: a student that barely learned lies far from both,
    so one generalizes only where it is closer to the teacher than that.
    """
    if empirical is not None and empirical.shape != generalization.shape:
        raise ValueError(f"distances are paired by noise: got {generalization.shape} and {empirical.shape}")
    if generalization.shape != memorization.shape or len(generalization) < 2:
        raise ValueError(f"distances are paired by noise: got {generalization.shape} and {memorization.shape}")
    low, high = _mean_interval(memorization - generalization)
    if low > 0 and empirical is not None and _mean_interval(empirical - generalization)[0] <= 0:
        return Verdict("neither", low, high)
    return Verdict("memorizes" if high < 0 else "generalizes" if low > 0 else "undetermined", low, high)


def _mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    mean, half = float(values.mean()), NORMAL_95 * float(np.std(values, ddof=1)) / float(np.sqrt(len(values)))
    return mean - half, mean + half
