"""Resampling students and noises together, with an interval that is wide enough for three students.

A bootstrap that draws student seeds with replacement is too narrow for few of them: with three seeds its standard error is short by
sqrt(2/3) and its normal-like quantiles ignore that the spread itself is known to two degrees of freedom only. Here each resample

- draws the noises with replacement, the same ones for all students, since they are paired, and
- moves each mean over seeds along the seeds' deviations from it, `mean + t sum_s g_s (x_s - mean) / sqrt(n (n - 1))` with standard
  normal g_s and `t = sqrt((n - 1) / chi^2_(n - 1))`.

So the percentiles for a mean over seeds are exactly the classical t interval, and whatever is computed from the means (a crossing, a
fitted exponent) inherits it through the same resamples. One g_s serves all sizes and N: student seeds are resampled as clusters, which
is right whether or not students of one seed share training sets or initializations.

`Jackknife` is for statistics that are compared with a t quantile: it leaves out one seed at a time, and one block of noises at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pfd_engine.analysis.quantiles import CONFIDENCE, Array, chi_square_quantile

NOISE_BLOCKS = 32


@dataclass(frozen=True)
class Directions:
    """Means over seeds, and the directions in which each seed moves them.

    `mean` is `(..., sizes, N)`, NaN where no student is left; `seeds` is `(..., seeds, sizes, N)`: `(x_s - mean) / sqrt(n (n - 1))`,
    0 for a missing or a single student, so that the squares sum to the variance of the mean.
    """

    mean: Array
    seeds: Array


def directions(errors: Array) -> Directions:
    """Split `errors` `(..., sizes, N, seeds)`, NaN where a student is missing, into means and directions."""
    present = np.isfinite(errors)
    count = present.sum(axis=-1)
    total = np.where(present, errors, 0).sum(axis=-1)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    scale = np.sqrt(np.maximum(count * (count - 1), 1))
    deviations = np.where(present & (count > 1)[..., None], (errors - mean[..., None]) / scale[..., None], 0)
    return Directions(mean, np.moveaxis(deviations, -1, -3))


@dataclass(frozen=True)
class Resampler:
    """The draws of one analysis: noise weights `(R, M)`, standard normal seed multipliers `(R, seeds)`, uniform numbers `(R,)`."""

    noises: Array
    multipliers: Array
    uniform: Array

    def errors(self, squared: Array) -> Array:
        """Return root mean squared distances `(R, ...)` on the resampled noises, from `squared` `(..., M)`."""
        flat = squared.reshape(-1, squared.shape[-1])
        means = np.full((len(self.noises), len(flat)), np.nan)
        present = np.isfinite(flat).all(axis=1)
        means[:, present] = self.noises @ flat[present].T
        return np.sqrt(means).reshape(-1, *squared.shape[:-1])

    def means(self, squared: Array) -> Array:
        """Return `(R, sizes, N)`: resampled means over seeds of the errors behind `squared` `(sizes, N, seeds, M)`."""
        seeds = directions(np.sqrt(squared.mean(axis=-1))).seeds
        freedom = np.maximum(np.isfinite(squared).all(axis=-1).sum(axis=-1) - 1, 1)
        values = {int(f): np.sqrt(f / chi_square_quantile(self.uniform, int(f))) for f in np.unique(freedom)}
        inflation = np.stack([values[int(f)] for f in freedom.ravel()], axis=1).reshape(-1, *freedom.shape)
        moves = (self.multipliers @ seeds.reshape(len(seeds), -1)).reshape(-1, *freedom.shape)
        return np.asarray(directions(self.errors(squared)).mean + inflation * moves)


def resampler(noises: int, seeds: int, resamples: int, seed: int) -> Resampler:
    """Draw for M `noises` and so many seeds; the second half mirrors the first half's multipliers, which steadies percentiles."""
    generator = np.random.default_rng(seed)
    half = (resamples + 1) // 2
    weights = generator.multinomial(noises, np.full(noises, 1 / noises), size=2 * half) / noises
    multipliers = generator.standard_normal((half, seeds))
    uniform = (generator.permutation(half) + 0.5) / half
    return Resampler(weights, np.concatenate([multipliers, -multipliers]), np.concatenate([uniform, uniform]))


def percentiles(values: Array, confidence: float = CONFIDENCE) -> tuple[Array, Array]:
    """Return the lower and upper percentile along the first axis; infinite values count as below or above everything, NaN is left out."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)  # NaN sorts last
    count = np.isfinite(ordered).sum(axis=0) + np.isinf(ordered).sum(axis=0)
    tail = (1 - confidence) / 2
    low = np.floor(tail * np.maximum(count - 1, 0)).astype(int)
    high = np.ceil((1 - tail) * np.maximum(count - 1, 0)).astype(int)
    return np.take_along_axis(ordered, low[None], axis=0)[0], np.take_along_axis(ordered, high[None], axis=0)[0]


class Jackknife:
    """The errors of students with one seed left out at a time, and with one of 32 blocks of noises left out at a time.

    `squared` has arrays `(sizes, N, seeds, M)`, NaN where a student is missing. `seeds` is their number: t has seeds - 1 degrees of
    freedom, and with one seed a variance is that over the noises alone.
    """

    def __init__(self, squared: dict[str, Array]) -> None:
        self.seeds, noises = next(iter(squared.values())).shape[-2:]
        sums = {metric: values.sum(axis=-1) for metric, values in squared.items()}
        seeds = range(self.seeds) if self.seeds > 1 else ()
        self._seeds = [{m: np.sqrt(np.delete(total, s, axis=-1) / noises) for m, total in sums.items()} for s in seeds]
        self._noises = []
        for block in np.array_split(np.arange(noises), min(NOISE_BLOCKS, noises)):
            left = {m: np.maximum(sums[m] - values[..., block].sum(axis=-1), 0) for m, values in squared.items()}
            self._noises.append({m: np.sqrt(total / (noises - len(block))) for m, total in left.items()})

    def variance(self, statistic: Callable[[dict[str, Array]], float], *, seeds: bool = True, noises: bool = True) -> float:
        """Return the variance of a statistic of errors `(sizes, N, seeds)` over seeds and noises together, or over one of them.

        It is NaN where leaving something out leaves the statistic undefined. Both parts add up, since the students of all seeds share
        their noises; what noises do to each student in its own way is held by both, which makes the sum too large rather than too small.
        """
        parts = [part for part, wanted in ((self._seeds, seeds), (self._noises, noises)) if wanted and part]
        return sum(_spread([statistic(errors) for errors in part]) for part in parts)


def _spread(values: list[float]) -> float:
    """Return the jackknife's variance of values that each leave out one of as many parts."""
    return (len(values) - 1) * float(np.var(values))
