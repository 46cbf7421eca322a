"""How sure we are of a mean over noises: intervals of a PFD and of paired differences, and what they cannot rule out (MATH.md, section 3).

One closed form serves every number of noises: Student's t with a correction for skewness and for heavy tails, which tends to the normal
interval as noises are added. `benchmarks/coverage.py` holds it to populations with known means, beside the plain normal interval.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.t_quantiles import t_quantile

Array = NDArray[np.float64]
CONFIDENCE = 0.95
FEW_NOISES = 32
# With this mark, every simulated population of which less than half of the samples are marked, and of which M >= 32 noises show at least 5
# rare ones, covers at least 0.93 among its unmarked samples (one exception: a power law of exponent 2.1). A mark at 0.15 or below takes the
# widest, best covering intervals of harmless populations with it; at 0.3, log-normal distances with s = 2 pass at 64 noises.
TAIL_SHARE_MARK = 0.2
LARGEST_EXPONENT = 300.0


class Interval(NamedTuple):
    """A measured number with its standard error, its confidence interval, and how the interval was made.

    `tail_share`, in [0, 1], is the share of sum d that the largest `max(1, ceil(M / 100))` noises hold (for M <= 100 the largest single
    noise), 0 where sum d = 0, and None where the number is not a mean over noises; `num_noises` is M, or None.
    """

    value: float
    stderr: float
    ci_low: float
    ci_high: float
    method: str
    tail_share: float | None = None
    num_noises: int | None = None

    @property
    def few(self) -> bool:
        """Whether the number comes from fewer noises than 32, so that it must be marked."""
        return self.num_noises is not None and self.num_noises < FEW_NOISES

    @property
    def marked(self) -> bool:
        """Whether few noises hold so much of the sum that the interval may cover too little."""
        return self.tail_share is not None and self.tail_share > TAIL_SHARE_MARK


def pfd_interval(
    distances: Array,
    confidence: float = CONFIDENCE,
    *,
    jump_bound: float | None = None,
    identical: bool = False,
    strata: NDArray[np.int64] | None = None,
) -> Interval:
    """Return PFD = `sqrt(mean d)` of squared per-noise distances d `(M,)`, d >= 0, M >= 2, with its interval, in the unit of PFD.

    The standard error is the delta method's `sd(d) / (2 PFD sqrt(M))`, 0 where PFD = 0. The interval is the square root of one for mean d:
    Hall's cubic transformation removes the skewness of the t statistic, and the quantile is Student's with the degrees of freedom that the
    kurtosis of d leaves to its variance; the upper end is not below that of a t interval for log mean d, which small M need. `confidence`
    in (0, 1) is already corrected for the looks (`1 - 0.05 / looks`). The interval does not depend on the order of the noises.

    A sample in which all d are equal says nothing about its own variance. With `jump_bound`, a bound D on the distance at a noise that
    behaves otherwise (the ceiling, `shuffled`), the interval holds what these noises do not rule out: a share `q = not_ruled_out(M)` may
    lie anywhere in [0, D], which for d = 0 reads `[0, sqrt(q) D]`. Without a bound there is nothing to hold it to: the width is 0, and the
    method says why. `identical`, or a bound of 0, states that both sides are one and the same map: PFD(p, p) is 0 as an identity.

    `strata` `(M,)` numbers the condition of each noise. The interval is then for these conditions: it holds the spread within them, and
    leaves out that between them. Where a condition has a single noise, or where nothing varies within any of them, the plain interval
    stands, and the method says so (MATH.md, section 8).

    Raises ValueError for fewer than 2 noises, distances that are negative or not finite, and an identity with a distance above 0.
    Source: Hall, On the removal of skewness by transformation, J. R. Statist. Soc. B 54 (1992).
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 1 or len(distances) < 2:
        raise ValueError(f"an interval needs at least 2 noises, (M,) with M >= 2: got {distances.shape}")
    if not np.isfinite(distances).all() or distances.min() < 0:
        raise ValueError("squared distances must be finite and at least 0: drop the noises that failed, or find out why they did")
    if jump_bound is not None and not jump_bound >= 0:
        raise ValueError(f"jump_bound is {jump_bound}: a bound on a distance is at least 0")
    count, share = len(distances), tail_share(distances)
    if distances.max() == distances.min():
        return _constant(float(distances[0]), count, confidence, 0.0 if identical else jump_bound, share)
    if identical:
        raise ValueError("a map has a distance above 0 to itself: these are two maps, or one that is not deterministic")
    within = None if strata is None else within_strata(distances, strata)
    method = "skewness-corrected t"
    if strata is not None:
        method += " within conditions" if within is not None else " over all conditions, because they cannot be separated"
    values = distances if within is None else within
    _, stderr, low, high = (float(x) for x in mean_interval(values, confidence, nonnegative=True))
    value = math.sqrt(float(distances.mean()))
    return Interval(value, stderr / (2 * value), math.sqrt(low), math.sqrt(high), method, share, count)


def within_strata(distances: Array, strata: NDArray[np.int64]) -> Array | None:
    """Return values `(M,)` with the mean of d whose variance is that of a stratified mean; None where a stratum has a single value, or
    where no stratum varies.

    Each value is the mean of all plus its deviation from its stratum's mean, times `sqrt(n / (n - 1))` for a stratum of n values.
    """
    counts = np.bincount(strata)
    if counts[counts > 0].min() < 2:
        return None
    means = np.bincount(strata, weights=distances) / np.maximum(counts, 1)
    scale = np.sqrt(counts / np.maximum(counts - 1, 1))
    deviations = (distances - means[strata]) * scale[strata]
    return np.asarray(distances.mean() + deviations) if deviations.any() else None


def not_ruled_out(count: int, confidence: float = CONFIDENCE) -> float:
    """Return the share of noises, about 3 / M at 95 %, that may behave in a way that none of `count` >= 1 noises showed.

    With the given confidence it is smaller: `1 - (1 - confidence)^(1 / M)`, from `(1 - share)^M = 1 - confidence`.
    """
    if count < 1:
        raise ValueError(f"count is {count}: give at least 1 noise")
    return -math.expm1(math.log1p(-confidence) / count)


def tail_share(distances: Array) -> float:
    """Return the share of `sum d` that the largest `max(1, ceil(M / 100))` of d `(M,)`, d >= 0, hold; 0 where all d are 0."""
    total, largest = float(np.sum(distances)), max(1, math.ceil(len(distances) / 100))
    return float(np.partition(distances, -largest)[-largest:].sum()) / total if total > 0 else 0.0


def uneven_sum(metric: str, distances: Array) -> str | None:
    """Say, without a full stop, that few noises hold so much of the sum behind a metric that its interval is marked; None where not."""
    if (share := tail_share(distances)) <= TAIL_SHARE_MARK:
        return None
    largest = max(1, math.ceil(len(distances) / 100))
    which = "the largest distance makes up" if largest == 1 else f"the {largest} largest distances make up"
    return f"{which} {100 * share:.0f} % of the sum behind {metric}, so that its interval may be too narrow: measure more noises"


def paired_interval(differences: Array, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the mean of per-noise differences `(M,)`, M >= 2, and the two ends of its interval, in the unit of the differences.

    Verdicts rest on it, so it errs on the wide side: it is the union of the skewness-corrected interval and of a plain t interval, both
    with the degrees of freedom that the kurtosis leaves, and the chance of missing on either side is divided by `1 + 4 / M`, because few
    differences hide their own skewness. Equal differences have no width. Raises ValueError for fewer than 2 or for values not finite.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 2:
        raise ValueError(f"an interval needs at least 2 noises, (M,) with M >= 2: got {differences.shape}")
    if not np.isfinite(differences).all():
        raise ValueError("differences must be finite: drop the noises that failed, or find out why they did")
    mean, low, high = paired_intervals(differences, confidence)
    return float(mean), float(low), float(high)


def paired_intervals(differences: Array, confidence: float = CONFIDENCE) -> tuple[Array, Array, Array]:
    """Return what `paired_interval` does for each row of `(..., M)`, M >= 2, at once: the means and both ends, `(...)` each."""
    count = differences.shape[-1]
    mean, stderr, skewness, freedom = _moments(differences)
    quantile = t_quantile((1 - confidence) / 2 / (1 + 4 / count), freedom)
    below, above = _corrected(quantile, skewness, count)
    return mean, mean - np.maximum(below, quantile) * stderr, mean + np.maximum(above, quantile) * stderr


def mean_interval(values: Array, confidence: float = CONFIDENCE, *, nonnegative: bool = False) -> tuple[Array, Array, Array, Array]:
    """Return the mean of each row of `(..., M)`, M >= 2, its standard error and both ends of its interval, `(...)` each.

    `nonnegative` is for values that are squared distances: no end lies below 0, and the upper one is at least `mean exp(t stderr / mean)`.
    """
    mean, stderr, skewness, freedom = _moments(values)
    quantile = t_quantile((1 - confidence) / 2, freedom)
    below, above = _corrected(quantile, skewness, values.shape[-1])
    low, high = mean - below * stderr, mean + above * stderr
    if nonnegative:
        relative = np.divide(stderr, mean, out=np.zeros_like(mean), where=mean > 0)
        low, high = np.maximum(low, 0.0), np.maximum(high, mean * np.exp(np.minimum(quantile * relative, LARGEST_EXPONENT)))
    return mean, stderr, low, high


def proportion_interval(successes: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float, float, float]:
    """Return a share, its standard error and its Wilson interval, for `successes` among `count` >= 1."""
    from scipy import stats  # SciPy takes as long to import as pandas: only who asks for a share pays

    share = successes / count
    low, high = stats.binomtest(successes, count).proportion_ci(confidence, method="wilson")
    return share, float(np.sqrt(share * (1 - share) / count)), float(low), float(high)


def _constant(d: float, count: int, confidence: float, jump_bound: float | None, share: float) -> Interval:
    """The interval of M equal distances: an identity, what M noises do not rule out of a jump, or no width and a method that says so."""
    value = math.sqrt(d)
    if jump_bound == 0:
        if d > 0:
            raise ValueError("a map has a distance above 0 to itself: these are two maps, or one that is not deterministic")
        return Interval(0.0, 0.0, 0.0, 0.0, "identity", share, count)
    if jump_bound is None:
        return Interval(value, 0.0, value, value, "all noises alike, no bound on a jump", share, count)
    rare = not_ruled_out(count, confidence)
    high = max(value, math.sqrt((1 - rare) * d + rare * jump_bound**2))
    return Interval(value, 0.0, math.sqrt((1 - rare) * d), high, "all noises alike, bound on a jump", share, count)


def _moments(values: Array) -> tuple[Array, Array, Array, Array]:
    """The mean, its standard error, the unbiased skewness, and the degrees of freedom of the variance, of each row of `(..., M)`.

    The variance of a sample variance is `sigma^4 (2 / (M - 1) + kurtosis / M)`: the freedom is that of the scaled chi-square with the same
    mean and variance, between 1 and M - 1. Three values or fewer have no kurtosis, and tell skewness too badly for a correction.
    """
    count = values.shape[-1]
    mean = values.mean(-1)
    centered = values - mean[..., None]
    deviation = np.sqrt(np.square(centered).mean(-1))
    stderr = deviation / math.sqrt(count - 1)
    if count < 4:
        return mean, stderr, np.zeros_like(mean), np.full_like(mean, count - 1)
    scaled = np.divide(centered, deviation[..., None], out=np.zeros_like(centered), where=deviation[..., None] > 0)
    square = scaled * scaled
    skewness = (square * scaled).mean(-1) * math.sqrt(count * (count - 1)) / (count - 2)
    kurtosis = (count - 1) / ((count - 2) * (count - 3)) * ((count + 1) * ((square * square).mean(-1) - 3) + 6)
    freedom = 2 / (2 / (count - 1) + np.maximum(kurtosis, 0) / count)
    return mean, stderr, skewness, np.maximum(freedom, 1.0)


def _corrected(quantile: Array, skewness: Array, count: int) -> tuple[Array, Array]:
    """How many standard errors the interval reaches below and above the mean, each at least 0, for a two-sided t quantile.

    Hall's transformation of the t statistic, `T + a T^2 / 3 + a^2 T^3 / 27 + a / 6` with `a = skewness / sqrt(M)`, is inverted at both.
    """
    a = skewness / math.sqrt(count)
    flat = np.abs(a) < 1e-9
    slope = np.where(flat, 1.0, a) / 3

    def invert(y: Array) -> Array:
        return np.where(flat, y, (np.cbrt(1 + 3 * slope * (y - a / 6)) - 1) / slope)

    return np.maximum(invert(quantile), 0.0), np.maximum(-invert(-quantile), 0.0)
