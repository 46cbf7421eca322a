"""Rises and falls of E_gen between any two checkpoints, with intervals that hold together over all of them.

Whoever looks for the dip and the peak of a noisy curve compares every pair of its steps. So each pair has an interval, and all intervals of
a sweep hold at once with 95 % confidence, whatever is then chosen by looking at them: a dip, a peak, or the largest rise that is still
possible. The intervals are Student's t over the students, paired by student and noise, with Bonferroni's correction for the number of
pairs. For normal students this is exact for each pair, however their errors scatter and correlate along training. It costs little: with
8 students, 20 steps and 6 curves the margin is 9.0 standard errors, and simulated largest deviations of independent errors, of random walks
and of errors whose scatter shrinks need 8.3 to 9.0 (`benchmarks/dynamics_simulation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.quantiles import TAIL, Array, normal_quantile, t_quantile


@dataclass(frozen=True)
class Move:
    """A rise or fall of the mean curve as a positive number, with its interval, between two indices of steps.

    NaN, and None for the steps, where there is none whose interval excludes 0.
    """

    value: float = float("nan")
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    start: int | None = None
    end: int | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.ci_low > 0


NO_MOVE = Move()


@dataclass(frozen=True)
class Moves:
    """The mean curve of K students, and the intervals of the differences between all its steps.

    `mean` and `level_margin` are `(steps,)`: E_gen and half the width of its interval; `difference`, `low` and `high` are `(steps, steps)`:
    E_gen at the second index minus E_gen at the first. All intervals of the family hold together.
    """

    mean: Array
    level_margin: Array
    difference: Array
    low: Array
    high: Array

    def fall(self, start: int, end: int) -> Move:
        """Return the move from one step to a later one, counted as a fall."""
        low, value, high = self.low[start, end], self.difference[start, end], self.high[start, end]
        return Move(float(-value), float(-high), float(-low), start, end)

    def rise(self, start: int, end: int) -> Move:
        """Return the move from one step to a later one, counted as a rise."""
        return Move(float(self.difference[start, end]), float(self.low[start, end]), float(self.high[start, end]), start, end)

    def mirrored(self) -> Moves:
        """Return the moves of the curve upside down: its rises are this curve's falls."""
        return Moves(-self.mean, self.level_margin, -self.difference, -self.high, -self.low)

    @property
    def later(self) -> NDArray[np.bool_]:
        """Which pairs `(steps, steps)` run forward in training."""
        return np.triu(np.ones(self.difference.shape, dtype=bool), 1)

    def largest_fall(self) -> Move:
        """Return the largest fall of the mean curve whose interval excludes 0."""
        clear = self.later & (self.high < 0)
        return self.fall(*_place(np.where(clear, -self.difference, -np.inf))) if clear.any() else NO_MOVE

    def largest_rise(self) -> Move:
        """Return the largest rise of the mean curve whose interval excludes 0."""
        clear = self.later & (self.low > 0)
        return self.rise(*_place(np.where(clear, self.difference, -np.inf))) if clear.any() else NO_MOVE

    def no_fall_above(self, start: int = 0, end: int | None = None) -> float:
        """Return the bound above which falls between two indices are excluded; 0 or less: there is none at all."""
        return self.mirrored().no_rise_above(start, end)

    def no_rise_above(self, start: int = 0, end: int | None = None) -> float:
        """Return the bound above which rises between two indices are excluded; 0 or less: there is none at all."""
        part = slice(start, None if end is None else end + 1)
        possible = self.high[part, part][self.later[part, part]]
        return float(possible.max()) if possible.size else 0.0

    def fall_then_rise(self) -> tuple[Move, Move] | None:
        """Return the fall into a dip and the rise from it, both of whose intervals exclude 0; None where there are none.

        Of all dips it is the one for which the smaller move of the mean curve is largest.
        """
        before = np.where(self.later & (self.high < 0), -self.difference, -np.inf)
        after = np.where(self.later & (self.low > 0), self.difference, -np.inf)
        smaller = np.minimum(before.max(axis=0), after.max(axis=1))
        dip = int(smaller.argmax())
        if smaller[dip] <= 0:
            return None
        return self.fall(int(before[:, dip].argmax()), dip), self.rise(dip, int(after[dip].argmax()))

    def largest_fall_until(self, end: int | None) -> Move:
        """Return the largest clear fall that ends at an index or before."""
        stop = len(self.mean) if end is None else end + 1
        earlier = Moves(self.mean[:stop], self.level_margin, *(part[:stop, :stop] for part in (self.difference, self.low, self.high)))
        return earlier.largest_fall()

    def rise_then_fall(self) -> tuple[Move, Move] | None:
        """Return the rise to a peak and the fall from it, both of whose intervals exclude 0; None where there are none."""
        found = self.mirrored().fall_then_rise()
        if found is None:
            return None
        (start, peak), end = (found[0].start, found[0].end), found[1].end
        assert start is not None
        assert peak is not None
        assert end is not None
        return self.rise(start, peak), self.fall(peak, end)

    def double_descent(self) -> tuple[Move, Move, Move] | None:
        """Return a fall, a rise and a second fall in this order, all of whose intervals exclude 0; None where there are none.

        Dip and peak are those for which the smallest of the three moves of the mean curve is largest. Where the first fall is the smallest,
        many steps would do as the peak: it is the highest of them.
        """
        before = np.where(self.later & (self.high < 0), -self.difference, -np.inf)
        rises = np.where(self.later & (self.low > 0), self.difference, -np.inf)
        first, second = before.max(axis=0), before.max(axis=1)
        smallest = np.minimum(np.minimum(first[:, None], rises), second[None])
        best = smallest.max()
        if best <= 0:
            return None
        dip = int(smallest.max(axis=1).argmax())
        peak = int(np.where(smallest[dip] == best, rises[dip], -np.inf).argmax())
        return (
            self.fall(int(before[:, dip].argmax()), dip),
            self.rise(dip, peak),
            self.fall(peak, int(before[peak].argmax())),
        )


def comparisons(steps: int) -> int:
    """Return how many intervals a curve of so many steps adds to the family: its pairs, and each step against the constant image."""
    return steps * (steps + 1) // 2


def moves(squared: Array, family: int | None = None) -> Moves:
    """Return the moves of one curve, from squared distances `(K, steps, M)` of K >= 2 students on shared noises.

    `family` is the number of intervals that shall hold together, this curve's own where it is None. The standard error joins the spread of
    the paired differences over students with that over the noises, and the quantile is t over the students, which is wide where noises
    dominate. Where a difference does not spread at all, its error is not known, and its
    interval is infinite.
    """
    students, steps, _ = squared.shape
    errors, covariance = mean_errors(squared)
    mean, variance = errors.mean(axis=0), np.diag(covariance)
    square = variance[:, None] + variance[None] - 2 * covariance
    quantile = quantile_over(students, TAIL / (family or comparisons(steps)))
    # Rounding leaves a little where a difference is the same for all students and noises.
    known = square > 1e-12 * (variance[:, None] + variance[None] + 1e-12 * mean.max() ** 2)
    margin = np.where(known, quantile * np.sqrt(np.maximum(square, 0)), np.inf)
    difference = mean[None] - mean[:, None]
    return Moves(mean, quantile * np.sqrt(variance), difference, difference - margin, difference + margin)


def mean_errors(squared: Array) -> tuple[Array, Array]:
    """Return E_gen `(K, steps)` and the covariance between steps of its mean over K, over students (K >= 2) and noises together."""
    errors = np.sqrt(squared.mean(axis=2))
    slopes = np.divide(1, 2 * errors, out=np.zeros_like(errors), where=errors > 0)
    covariance = np.atleast_2d(np.cov((squared * slopes[:, :, None]).mean(axis=0))) / squared.shape[2]
    if len(errors) > 1:
        covariance = covariance + np.atleast_2d(np.cov(errors, rowvar=False)) / len(errors)
    return errors, covariance


def quantile_over(students: int, tail: float) -> float:
    """Return the upper quantile of t over the students; normal for one student, whose interval covers the noises alone."""
    return float(t_quantile(students, tail)) if students > 1 else normal_quantile(tail)


def _place(values: Array) -> tuple[int, int]:
    start, end = np.unravel_index(int(values.argmax()), values.shape)
    return int(start), int(end)
