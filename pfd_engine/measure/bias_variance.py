"""Bias and variance of students trained on independent data sets, unbiased and with intervals (MATH.md, sections 4 and 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BOTH = "students and noises"
NOISES = "noises"
TAIL = 0.025
FEWEST = 4  # students that an interval needs
CHANCE = 0.05
DIRECTIONS = 3


class Estimated(float):
    """A number with its standard error and 95 % interval (NaN where there is none).

    `covers` says what both speak of: `students and noises`, or `noises` alone.
    """

    stderr: float
    ci_low: float
    ci_high: float
    covers: str

    def __new__(cls, value: float, stderr: float, covers: str, ci_low: float = float("nan"), ci_high: float = float("nan")) -> Estimated:
        number = super().__new__(cls, value)
        number.stderr, number.covers = stderr, covers
        number.ci_low, number.ci_high = ci_low, ci_high
        return number

    def __getnewargs__(self) -> tuple[Any, ...]:
        return float(self), self.stderr, self.covers, self.ci_low, self.ci_high

    @property
    def value(self) -> float:
        return float(self)

    def __repr__(self) -> str:
        return f"{float(self):.6g} ± {self.stderr:.2g} ({self.covers})"


@dataclass(frozen=True)
class BiasVariance:
    """`error2 = bias2 + variance`, exactly: mean squared distances over the noises, in the unit of Psi squared.

    `students` is K. `largest_share` is the share of the variance that the outermost student contributes, `effective_students` the number of
    students that carry it, 1 / sum of squared shares (both NaN where the variance is 0). `outlier`: the largest share is above
    `outlier_share(K)`. Students seem to scatter unequally then, and intervals hold less often than 95 % says; where an outlier is so rare
    that none of K students is one, nothing can tell.
    """

    bias2: Estimated
    variance: Estimated
    error2: Estimated
    students: int
    largest_share: float
    effective_students: float

    @property
    def covers(self) -> str:
        """What the standard errors and intervals speak of: `students and noises`, or `noises` alone."""
        return self.variance.covers

    @property
    def outlier(self) -> bool:
        """Whether one student carries more of the variance than chance explains."""
        return self.largest_share > outlier_share(self.students)


def bias_variance(teacher_maps: Any, student_maps: Any) -> BiasVariance:
    """Decompose the squared error of K students on the same M noises.

    teacher_maps `(M, D)` are Psi of the teacher's end points, student_maps `(K, M, D)` those of K >= 2 students that differ in
    training set and initialization. `bias2` is unbiased and so can be slightly negative. Raises ValueError for shapes that do not fit and
    for values that are not finite.

    Standard errors join a jackknife over the students with the spread over the noises. With fewer than 4 students they cover the noises
    alone, and there are no intervals. Intervals: bias^2 +- t stderr; the variance by the jackknife of its logarithm; that of the error
    joins the margins of both. t has the effective number of students minus 1 degrees of freedom, at least 1, since the spread of students
    of unequal scatter is known from fewer of them. At K = 8, the interval of the variance covers 0.95 to 0.96 for normal students and 0.83
    to 0.94 for heavy-tailed ones; where one student in twenty scatters five times as much, 0.36 to 0.91, as most draws hold no such student
    (`benchmarks/bias_variance_simulation.py`).
    """
    teacher, students = np.asarray(teacher_maps, dtype=np.float64), np.asarray(student_maps, dtype=np.float64)
    if teacher.ndim != 2 or students.ndim != 3 or students.shape[1:] != teacher.shape or len(students) < 2 or len(teacher) < 2:
        raise ValueError(f"teacher is {teacher.shape} and students {students.shape}: give (M, D) and (K, M, D) with K and M at least 2")
    if not (np.isfinite(teacher).all() and np.isfinite(students).all()):
        raise ValueError("end points contain values that are not finite: leave such students or noises out")
    per_noise = _per_noise(teacher, students)
    values, count, noises = per_noise.mean(axis=1), len(students), len(teacher)
    over_noises = per_noise.var(axis=1, ddof=1) / noises
    shares = ((students - students.mean(axis=0)) ** 2).mean(axis=1).sum(axis=1)
    shares = shares / shares.sum() if shares.sum() > 0 else np.full(count, np.nan)
    largest, effective = float(shares.max()), float(1 / (shares**2).sum())
    if count < FEWEST:
        bias2, variance, error2 = (Estimated(float(v), float(np.sqrt(s)), NOISES) for v, s in zip(values, over_noises, strict=True))
        return BiasVariance(bias2, variance, error2, count, largest, effective)
    left_out = np.stack([_per_noise(teacher, np.delete(students, k, axis=0)).mean(axis=1) for k in range(count)])
    stderr = np.sqrt((count - 1) * left_out.var(axis=0) + over_noises)
    low, high = np.full(3, np.nan), np.full(3, np.nan)
    if left_out[:, 1].min() > 0:
        quantile = _t_quantile(max(effective - 1, 1.0))
        relative = np.sqrt((count - 1) * np.log(left_out[:, 1]).var() + over_noises[1] / values[1] ** 2)
        low[0], high[0] = values[0] - quantile * stderr[0], values[0] + quantile * stderr[0]
        low[1], high[1] = values[1] * np.exp(-quantile * relative), values[1] * np.exp(quantile * relative)
        low[2] = max(0.0, values[2] - np.hypot(values[0] - low[0], values[1] - low[1]))
        high[2] = values[2] + np.hypot(high[0] - values[0], high[1] - values[1])
    numbers = zip(values, stderr, low, high, strict=True)
    bias2, variance, error2 = (Estimated(float(v), float(error), BOTH, float(start), float(stop)) for v, error, start, stop in numbers)
    return BiasVariance(bias2, variance, error2, count, largest, effective)


def outlier_share(students: int) -> float:
    """Return the share of the variance above which one of K >= 4 students is an outlier; NaN for fewer.

    Of students that scatter alike, by normal errors in D independent directions, the share of each is (K - 1) / K times a Beta variable
    with parameters D / 2 and (K - 2) D / 2. The threshold is what the largest of K exceeds with probability 0.05 at most, for 3 directions:
    0.43 for K = 8. Networks differ in many more, so that students of equal scatter are hardly ever marked.
    """
    if students < FEWEST:
        return float("nan")
    from scipy import special

    beta = special.betaincinv(DIRECTIONS / 2, (students - 2) * DIRECTIONS / 2, 1 - CHANCE / students)
    return float((students - 1) / students * beta)


def _t_quantile(freedom: float) -> float:
    from scipy import special

    return float(-special.stdtrit(freedom, TAIL))


def _per_noise(teacher: Array, students: Array) -> Array:
    """Return `(3, M)`: bias^2, variance and mean squared error of each noise."""
    count, mean = len(students), students.mean(axis=0)
    variance = ((students - mean) ** 2).sum(axis=(0, 2)) / (count - 1)
    bias2 = ((teacher - mean) ** 2).sum(axis=1) - variance / count
    error2 = ((students - teacher) ** 2).sum(axis=2).mean(axis=0)
    return np.stack([bias2, variance, error2])
