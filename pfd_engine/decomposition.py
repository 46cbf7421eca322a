"""Bias and variance of students trained on independent data sets, unbiased and with standard errors (MATH.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Estimated(float):
    """A number with its standard error; `covers` says what was resampled for it, `students and noises` or `noises`."""

    stderr: float
    covers: str

    def __new__(cls, value: float, stderr: float, covers: str) -> Estimated:
        number = super().__new__(cls, value)
        number.stderr = stderr
        number.covers = covers
        return number

    @property
    def value(self) -> float:
        return float(self)

    def __repr__(self) -> str:
        return f"{float(self):.6g} ± {self.stderr:.2g} ({self.covers})"


@dataclass(frozen=True)
class BiasVariance:
    """`error2 = bias2 + variance`, exactly: mean squared distances over the noises, in the unit of Psi squared."""

    bias2: Estimated
    variance: Estimated
    error2: Estimated


def bias_variance(teacher_maps: Any, student_maps: Any) -> BiasVariance:
    """Decompose the squared error of K students on the same M noises.

    teacher_maps `(M, D)` are Psi of the teacher's end points, student_maps `(K, M, D)` those of K >= 2 students that differ in
    training set and initialization. `bias2` is unbiased and so can be slightly negative. Standard errors join a jackknife over the
    students with the spread over the noises; with two students, where no jackknife exists, they cover the noises alone and say so.
    Raises ValueError for shapes that do not fit and for values that are not finite.
    """
    teacher, students = np.asarray(teacher_maps, dtype=np.float64), np.asarray(student_maps, dtype=np.float64)
    if teacher.ndim != 2 or students.ndim != 3 or students.shape[1:] != teacher.shape or len(students) < 2 or len(teacher) < 2:
        raise ValueError(f"teacher is {teacher.shape} and students {students.shape}: give (M, D) and (K, M, D) with K and M at least 2")
    if not (np.isfinite(teacher).all() and np.isfinite(students).all()):
        raise ValueError("end points contain values that are not finite: leave such students or noises out")
    per_noise = _per_noise(teacher, students)
    count, noises = len(students), len(teacher)
    spread = per_noise.std(axis=1, ddof=1) ** 2 / noises
    covers = "noises"
    if count > 2:
        left_out = np.stack([_per_noise(teacher, np.delete(students, k, axis=0)).mean(axis=1) for k in range(count)])
        spread = spread + (count - 1) * left_out.var(axis=0)
        covers = "students and noises"
    values = per_noise.mean(axis=1)
    return BiasVariance(*(Estimated(float(v), float(np.sqrt(s)), covers) for v, s in zip(values, spread, strict=True)))


def _per_noise(teacher: Array, students: Array) -> Array:
    """Return `(3, M)`: bias^2, variance and mean squared error of each noise."""
    count, mean = len(students), students.mean(axis=0)
    variance = ((students - mean) ** 2).sum(axis=(0, 2)) / (count - 1)
    bias2 = ((teacher - mean) ** 2).sum(axis=1) - variance / count
    error2 = ((students - teacher) ** 2).sum(axis=2).mean(axis=0)
    return np.stack([bias2, variance, error2])
