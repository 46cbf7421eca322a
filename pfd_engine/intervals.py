"""How sure we are of a PFD: standard error and confidence interval from the per-noise distances (MATH.md, section 3)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
BOOTSTRAP_BELOW = 1000
BOOTSTRAP_RELATIVE_ERROR = 0.1
RESAMPLES = 9999


class Interval(NamedTuple):
    """A PFD with its standard error and confidence interval; `method` is `normal` or `BCa bootstrap`."""

    value: float
    stderr: float
    ci_low: float
    ci_high: float
    method: str


def pfd_interval(distances: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Return `sqrt(mean d)` of squared per-noise distances d `(M,)`, M >= 2, with its interval.

    The standard error is the delta method's `sd(d) / (2 PFD sqrt(M))`, 0 where PFD = 0. The interval is normal, or a bias-corrected
    and accelerated bootstrap over the noises where M < 1000 or stderr / PFD > 0.1. Constant d gives zero width.
    """
    count = len(distances)
    if count < 2:
        raise ValueError(f"an interval needs at least 2 noises, not {count}")
    value = float(np.sqrt(np.mean(distances)))
    spread = float(np.std(distances, ddof=1))
    if value == 0 or np.all(distances == distances[0]):
        return Interval(value, 0.0, value, value, "normal")
    stderr = spread / (2 * value * float(np.sqrt(count)))
    if count >= BOOTSTRAP_BELOW and stderr / value <= BOOTSTRAP_RELATIVE_ERROR:
        half = float(stats.norm.ppf((1 + confidence) / 2)) * stderr
        return Interval(value, stderr, max(0.0, value - half), value + half, "normal")
    low, high, method = _bootstrap(distances, confidence)
    return Interval(value, stderr, low, high, method)


def proportion_interval(successes: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float, float, float]:
    """Return a share, its standard error and its Wilson interval, for `successes` among `count` >= 1."""
    share = successes / count
    low, high = stats.binomtest(successes, count).proportion_ci(confidence, method="wilson")
    return share, float(np.sqrt(share * (1 - share) / count)), float(low), float(high)


def _bootstrap(distances: NDArray[np.float64], confidence: float) -> tuple[float, float, str]:
    """BCa interval of sqrt(mean d); percentile where BCa is not defined (two or three noises)."""

    def root_mean(d: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(np.mean(d, axis=axis)))

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns where BCa is undefined; the percentile interval then stands in
            interval = stats.bootstrap(
                (distances,),
                root_mean,
                n_resamples=RESAMPLES,
                batch=max(1, 2**22 // len(distances)),
                confidence_level=confidence,
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if np.isfinite(interval.low) and np.isfinite(interval.high):
            break
    return float(interval.low), float(interval.high), f"{method} bootstrap"
