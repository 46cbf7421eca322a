"""Do the curves of all sizes fall onto one another against N / parameters^a, and would they in any order of the sizes?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pfd_engine.analysis.crossings import log_crossings
from pfd_engine.analysis.exponent import slopes
from pfd_engine.analysis.quantiles import Array, normal_quantile, t_quantile
from pfd_engine.analysis.resampling import Directions, Jackknife, directions
from pfd_engine.analysis.students import BOTH, NOISES, Students

ABSCISSAE = 64
ORDERS = 1000
RATIO = "log(E_mem / E_gen)"
COLLAPSE = ["curve", "kind", "exponent", "score", "ci_low", "ci_high", "p_value", "orders", "overlap", "seeds", "covers"]


def collapse_scores(
    students: Students,
    exponents: Mapping[str, float],
    jackknife: Jackknife | None = None,
    curve: str = "E_gen",
    used: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Score how much of the variance between sizes each exponent a removes from their curves: `1 - V(a) / V(0)`.

    `curve` is `E_gen` or `E_mem`, the error itself and not its logarithm, or `RATIO`, the logarithm of E_mem / E_gen, which is 0 at N*.
    With `x = log N - a (log p - mean log p)`, V(a) is the variance between the sizes' curves of means over seeds at equal x, averaged over
    the x that all sizes have in common both with a and without, so that V(a) and V(0) look at one window (`overlap`: its length as a share
    of the common log N). Curves are interpolated linearly in log N. The part of each variance that the spread over seeds explains is
    subtracted, so that a perfect collapse scores 1 with few seeds too; scores are cut at 1. Curves without a shift score 0 or less, and
    where sizes differ no more than seeds do (V(0) below the part that seeds explain), there is nothing to remove and no score (NaN).

    The interval is a jackknife over student seeds and noises with t quantiles; with fewer than three seeds it covers the noises alone.
    A `kind` "fitted" is fitted anew each time, to the N* of the sizes `used`. `p_value` is the share of `orders` of the sizes (all of
    them, or 1,000 that are drawn, the true one among them) whose score is at least as high: the parameters are given to the sizes in
    another order, and a "fitted" exponent is fitted to that. It is NaN for a score of 0 or less.
    """
    known = np.isfinite(students.parameters)
    if known.sum() < 2 or jackknife is None:
        return pd.DataFrame(columns=COLLAPSE)
    seeds, log_n = len(students.seeds), np.log(students.num_samples.astype(np.float64))
    fit_to = np.zeros(len(known), dtype=bool) if used is None else used
    errors = {metric: np.sqrt(squared.mean(axis=-1)) for metric, squared in students.squared.items()}
    curves = _Curves(students, _chosen(errors, curve))
    log_parameters = np.log(students.parameters)

    def fitted(errors: dict[str, Array]) -> float:
        means = {metric: directions(e).mean[fit_to] for metric, e in errors.items()}
        return float(slopes(log_parameters[fit_to], log_crossings(means, log_n))[0][0])

    rows = []
    for kind, exponent in exponents.items():
        if exponent != exponent:
            rows.append((curve, kind, *(np.nan,) * 5, 0, np.nan, seeds, NOISES))
            continue
        if exponent == 0:
            rows.append((curve, kind, 0.0, 0.0, 0.0, 0.0, np.nan, 0, 1.0, seeds, BOTH))
            continue

        def score(errors: dict[str, Array], kind: str = kind, exponent: float = exponent) -> float:
            a = fitted(errors) if kind == "fitted" else exponent
            return float(_Curves(students, _chosen(errors, curve)).scores(a * log_parameters[None])[0])

        value = float(curves.scores(exponent * log_parameters[None])[0])
        covers = BOTH if seeds > 2 else NOISES
        half = float(t_quantile(seeds) if seeds > 2 else normal_quantile()) * math.sqrt(jackknife.variance(score, seeds=seeds > 2))
        p_value, orders = np.nan, 0
        if value > 0:
            moved = _orders(log_parameters, known)
            a = np.full(len(moved), exponent)
            if kind == "fitted":
                means = {metric: directions(e).mean[fit_to] for metric, e in errors.items()}
                a = slopes(moved[:, fit_to], np.broadcast_to(log_crossings(means, log_n), (len(moved), int(fit_to.sum()))))[0]
            orders = len(moved)
            p_value = float((curves.scores(a[:, None] * moved) >= value - 1e-9).mean())
        interval = min(value - half, 1.0), min(value + half, 1.0)
        rows.append((curve, kind, exponent, min(value, 1.0), *interval, p_value, orders, curves.overlap(exponent), seeds, covers))
    return pd.DataFrame(rows, columns=COLLAPSE)


def _chosen(errors: dict[str, Array], curve: str) -> Directions:
    return directions(np.log(errors["E_mem"] / errors["E_gen"]) if curve == RATIO else errors[curve])


def _orders(log_parameters: Array, known: NDArray[np.bool_]) -> Array:
    """Return the parameters in other orders `(orders, sizes)`, the true one first: all orders of few sizes, else 1,000 drawn ones."""
    places = np.flatnonzero(known)
    if math.factorial(len(places)) <= ORDERS:
        orders = np.array(list(itertools.permutations(places)))
    else:
        generator = np.random.default_rng(0)
        orders = np.array([places, *(generator.permutation(places) for _ in range(ORDERS - 1))])
    moved = np.repeat(log_parameters[None], len(orders), axis=0)
    moved[:, places] = log_parameters[orders]
    return np.asarray(moved)


class _Curves:
    """The curves of the sizes with known parameters and at least two values of N, to be compared at shifted log N."""

    def __init__(self, students: Students, curves: Directions) -> None:
        log_n = np.log(students.num_samples.astype(np.float64))
        present = np.isfinite(curves.mean)
        self.places = np.flatnonzero(np.isfinite(students.parameters) & (present.sum(axis=-1) > 1))
        self.grids = [log_n[present[i]] for i in self.places]
        self.values = [np.vstack([curves.mean[None, i, present[i]], curves.seeds[:, i, present[i]]]) for i in self.places]
        self.log_parameters = np.log(students.parameters)

    def scores(self, shifts: Array) -> Array:
        """Return `1 - V(shift) / V(0)` for rows of shifts `(R, sizes)` in log N; NaN without a window or a V(0) to speak of."""
        if len(self.places) < 2:
            return np.full(len(shifts), np.nan)
        moved = shifts[:, self.places] - shifts[:, self.places].mean(axis=1, keepdims=True)
        low, high = self._window(moved)
        x = low[:, None] + (np.arange(ABSCISSAE) + 0.5) / ABSCISSAE * (high - low)[:, None]
        before, chance = self._between(x, np.zeros_like(moved))
        after, _ = self._between(x, moved)
        defined = (high > low) & (before > chance)
        return np.asarray(1 - np.divide(after, before, out=np.full(len(before), np.nan), where=defined))

    def overlap(self, exponent: float) -> float:
        """Return the length of the window as a share of that for an exponent of 0."""
        if len(self.places) < 2 or not np.isfinite(exponent):
            return np.nan
        shift = exponent * self.log_parameters[None, self.places]
        lengths = [float((high - low)[0]) for low, high in map(self._window, (shift - shift.mean(), np.zeros_like(shift)))]
        return max(lengths[0], 0.0) / lengths[1] if lengths[1] > 0 else np.nan

    def _window(self, moved: Array) -> tuple[Array, Array]:
        """Return the ends `(R,)` of the x that all sizes have, both moved `(R, sizes)` and as they are."""
        low = np.max([x[0] - np.minimum(moved[:, k], 0) for k, x in enumerate(self.grids)], axis=0)
        high = np.min([x[-1] - np.maximum(moved[:, k], 0) for k, x in enumerate(self.grids)], axis=0)
        return low, high

    def _between(self, x: Array, moved: Array) -> tuple[Array, Array]:
        """Return the variance between sizes, without the part that seeds explain, and that part, for each row, averaged over x `(R, X)`."""
        means, moves = [], []
        for k, (grid, values) in enumerate(zip(self.grids, self.values, strict=True)):
            position = np.nan_to_num(x + moved[:, [k]])
            left = np.clip(np.searchsorted(grid, position.ravel(), side="right").reshape(position.shape) - 1, 0, len(grid) - 2)
            share = (position - grid[left]) / (grid[left + 1] - grid[left])
            at = values[:, left] * (1 - share) + values[:, left + 1] * share
            means.append(at[0])
            moves.append(at[1:])
        # What a seed moves at all sizes alike does not drive them apart, so it is the seeds' directions that are set against each other.
        part = np.var(moves, axis=0, ddof=1).sum(axis=0).mean(axis=-1)
        return np.var(means, axis=0, ddof=1).mean(axis=-1) - part, part
