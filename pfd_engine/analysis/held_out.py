"""Rises and falls of a curve, found on some students and noises and measured on the others.

The dip and the peak of a noisy curve, once chosen, lie apart even where the truth is flat. So each student is held out in turn, with one
half of the noises: the steps are located on the mean curve of the other students over the other half, and the held-out student's own
difference between these steps is what counts. It is unbiased where the truth is flat. As the held-out values share most of their
locations they are positively correlated, and Student's t would be too small; the critical value is that of the same procedure on flat
curves, by simulation (`critical_value`).

Where several moves are claimed at once (a fall, then a rise), the places must also come in the same order everywhere: all dips before
all peaks. Otherwise some students may contribute a real fall and others a real rise of a curve that does not have both in this order;
with it, positive average moves imply that the true curve has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.quantiles import Array

LEVEL = 0.025
SIMULATIONS = 20_000
Steps = NDArray[np.int64]
Locator = Callable[[Array], Steps]


@dataclass(frozen=True)
class Contrast:
    """A difference between two steps in the held-out students, with its interval (95 %, the choice of the steps allowed for)."""

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class HeldOut:
    """Differences between consecutive located steps; `ordered`: each place came before the next one in whatever was located."""

    contrasts: list[Contrast]
    ordered: bool


UNKNOWN = Contrast(float("nan"), float("nan"), float("nan"))


def largest_fall(means: Array) -> Steps:
    """Return `(curves, 2)`: between which steps each row of `means` `(curves, steps)` falls most."""
    highest = np.maximum.accumulate(means, axis=1)
    end = (highest - means).argmax(axis=1)
    return np.stack([_first_maximum(means)[np.arange(len(means)), end], end], axis=1)


def largest_rise(means: Array) -> Steps:
    """Return `(curves, 2)`: between which steps each row rises most."""
    return largest_fall(-means)


def fall_then_rise(means: Array) -> Steps:
    """Return `(curves, 3)`: start, dip and peak; the dip maximizes the smaller of the fall before it and the rise after it."""
    start, peak = _first_maximum(means), _last_maximum(means)
    rows = np.arange(len(means))
    fall, rise = np.take_along_axis(means, start, 1) - means, np.take_along_axis(means, peak, 1) - means
    dip = np.minimum(fall, rise).argmax(axis=1)
    return np.stack([start[rows, dip], dip, peak[rows, dip]], axis=1)


def fall_after_dip(means: Array) -> Steps:
    """Return `(curves, 2)`: between which steps after the dip of `fall_then_rise` each row falls most."""
    dip = fall_then_rise(means)[:, 1:2]
    return largest_fall(np.where(np.arange(means.shape[1]) < dip, np.take_along_axis(means, dip, 1), means))


def double_descent(means: Array) -> Steps:
    """Return `(curves, 4)`: start, dip, peak, second dip, of which the smallest of fall, rise and second fall is as large as can be.

    Where the first fall is the smallest, many steps would do as the peak: it is the highest one between both dips.
    """
    rows = np.arange(len(means))
    dip, second = _first_maximum(-means), _last_maximum(-means)
    start = np.take_along_axis(_first_maximum(means), dip, 1)
    lowest, first = np.take_along_axis(means, dip, 1), np.take_along_axis(means, start, 1)
    smallest = np.minimum(np.minimum(first - lowest, means - lowest), means - np.take_along_axis(means, second, 1))
    best = smallest.argmax(axis=1)
    start, dip, second = start[rows, best], dip[rows, best], second[rows, best]
    steps = np.arange(means.shape[1])
    between = (steps >= dip[:, None]) & (steps <= second[:, None])
    peak = np.where(between, means, -np.inf).argmax(axis=1)
    return np.stack([start, dip, peak, second], axis=1)


def held_out_contrasts(squared: Array, locate: Locator) -> HeldOut:
    """Return the differences between consecutive located steps, of K >= 2 students `(K, steps, M)` of squared distances.

    The standard error joins the spread of the held-out values over students with that over the noises, which all students share.
    """
    count, steps, noises = squared.shape
    halves = (np.arange(0, noises, 2), np.arange(1, noises, 2))
    errors = np.stack([np.sqrt(squared[:, :, half].mean(axis=2)) for half in halves])
    others = (errors.sum(axis=1, keepdims=True) - errors) / (count - 1)
    located = np.stack([locate(others[1]), locate(others[0])])  # each half is measured where the other one says
    at = np.take_along_axis(errors, located, axis=2)
    differences = np.diff(at, axis=2)
    values = differences.mean(axis=0)
    variance = values.var(axis=0, ddof=1) / count
    for half, steps_there, there in zip(halves, located, at, strict=True):
        chosen = np.stack([s[i][:, half] for s, i in zip(squared, steps_there, strict=True)])
        slopes = np.divide(1, 2 * there, out=np.zeros_like(there), where=there > 0)
        per_noise = np.diff(chosen * slopes[:, :, None], axis=1).mean(axis=0)
        variance = variance + per_noise.var(axis=1, ddof=min(1, len(half) - 1)) / len(half) / 4
    margin = critical_value(count, steps) * np.sqrt(variance)
    mean = values.mean(axis=0)
    ordered = bool((located.max(axis=(0, 1))[:-1] < located.min(axis=(0, 1))[1:]).all())
    return HeldOut([Contrast(float(m), float(m - h), float(m + h)) for m, h in zip(mean, margin, strict=True)], ordered)


@lru_cache(maxsize=64)
def critical_value(students: int, steps: int) -> float:
    """Return how many standard errors a held-out fall must measure, so that a flat curve shows one with probability 0.025.

    Simulated with values that are independent between steps, the least favorable of the correlations tried (those of random walks and of
    autoregressions need less). It is above Student's t: about 4 instead of 2.4 with 8 students and 20 steps, 7 instead of 4.3 with 3.
    """
    if students < 2 or steps < 2:
        return float("inf")
    errors = np.random.default_rng(0).standard_normal((SIMULATIONS, students, steps))
    total, rows = errors.sum(axis=1), np.arange(SIMULATIONS)
    values = np.empty((SIMULATIONS, students))
    for s in range(students):
        start, end = largest_fall(total - errors[:, s]).T
        values[:, s] = errors[rows, s, start] - errors[rows, s, end]
    spread = values.std(axis=1, ddof=1) / np.sqrt(students)
    t = np.divide(values.mean(axis=1), spread, out=np.zeros(SIMULATIONS), where=spread > 0)
    return float(np.quantile(t, 1 - LEVEL))


def _first_maximum(means: Array) -> Steps:
    """At each step, where the highest value so far is."""
    highest = np.maximum.accumulate(means, axis=1)
    new = np.concatenate([np.ones((len(means), 1), dtype=bool), highest[:, 1:] > highest[:, :-1]], axis=1)
    return np.asarray(np.maximum.accumulate(np.where(new, np.arange(means.shape[1]), 0), axis=1))


def _last_maximum(means: Array) -> Steps:
    """At each step, where the highest value from there on is."""
    return np.asarray(means.shape[1] - 1 - _first_maximum(means[:, ::-1])[:, ::-1])
