"""The live example of the Methods page: the PFD of two Gaussians in one dimension, integrated and by formula. No torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.intervals import pfd_interval
from pfd_engine.flow.solvers import sigma_grid

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """N(mean, std^2) in one dimension, std > 0."""

    mean: float
    std: float

    def denoise(self, x: Array, sigma: float) -> Array:
        """Return `E[x0 | x0 + sigma eps = x]`, shape of x (MATH.md, section 1)."""
        share = self.std**2 / (self.std**2 + sigma**2)
        return self.mean + share * (x - self.mean)

    def end_point(self, x_T: Array) -> Array:
        """Return where the exact probability flow ends that starts at `x_T` at sigma 80, shape of x_T (MATH.md, section 2)."""
        return self.mean + self.shrinkage * (x_T - self.mean)

    @property
    def shrinkage(self) -> float:
        """The factor by which the exact flow from sigma 80 to 0 brings a point closer to the mean."""
        return self.std / math.hypot(self.std, SIGMA_MAX)


@dataclass(frozen=True)
class Example:
    """PFD of two Gaussians: by formula, and estimated from M noises that a Heun solver followed, with its 95 % interval.

    `shuffled` is the root mean square distance of end points paired at random, by formula.
    """

    exact: float
    value: float
    ci_low: float
    ci_high: float
    shuffled: float


def heun(gaussian: Gaussian, x_T: Array, steps: int) -> Array:
    """Follow the probability flow from `x_T` `(M,)` down the EDM grid; returns all points on the way, `(steps + 1, M)`.

    Heun's method, the last step to 0 by Euler (arXiv 2206.00364, algorithm 1). Raises ValueError for fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: give at least 1")
    sigmas = sigma_grid(steps, SIGMA_MIN, SIGMA_MAX)
    points = [x_T]
    for sigma, lower in itertools.pairwise(sigmas):
        x = points[-1]
        slope = (x - gaussian.denoise(x, sigma)) / sigma
        euler = x + (lower - sigma) * slope
        if lower > 0:
            slope = (slope + (euler - gaussian.denoise(euler, lower)) / lower) / 2
        points.append(x + (lower - sigma) * slope)
    return np.stack(points)


def exact_pfd(p: Gaussian, q: Gaussian) -> float:
    """Return the PFD of two Gaussians under exact flows (MATH.md, section 2)."""
    a, b = p.shrinkage, q.shrinkage
    return math.hypot((1 - a) * p.mean - (1 - b) * q.mean, (a - b) * SIGMA_MAX)


def exact_shuffled(p: Gaussian, q: Gaussian) -> float:
    """Return the root mean square distance of exact end points from independent noises: the ceiling of MATH.md, section 3."""
    a, b = p.shrinkage, q.shrinkage
    return math.hypot((1 - a) * p.mean - (1 - b) * q.mean, a * SIGMA_MAX, b * SIGMA_MAX)


def measure(p: Gaussian, q: Gaussian, num_noises: int, steps: int, seed: int = 0) -> Example:
    """Estimate the PFD of two Gaussians from `num_noises` >= 2 shared noises (MATH.md, section 3)."""
    if num_noises < 2:
        raise ValueError(f"number of noises is {num_noises}: give at least 2")
    x_T = SIGMA_MAX * np.random.default_rng(seed).standard_normal(num_noises)
    squared = (heun(p, x_T, steps)[-1] - heun(q, x_T, steps)[-1]) ** 2
    shuffled = exact_shuffled(p, q)
    found = pfd_interval(squared, jump_bound=shuffled, identical=p == q)
    return Example(exact_pfd(p, q), found.value, found.ci_low, found.ci_high, shuffled)
