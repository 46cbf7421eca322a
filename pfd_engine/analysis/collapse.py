"""Do the curves of all sizes fall onto one another against N / parameters^a?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pfd_engine.analysis.quantiles import Array, normal_quantile, t_quantile
from pfd_engine.analysis.resampling import Directions, Resampler, directions
from pfd_engine.analysis.students import BOTH, NOISES, Students

ABSCISSAE = 33
RATIO = "log(E_mem / E_gen)"
COLLAPSE = ["curve", "kind", "exponent", "score", "ci_low", "ci_high", "overlap", "seeds", "covers"]
Refit = Callable[[dict[str, Array]], Array]


def collapse_scores(
    students: Students,
    exponents: Mapping[str, float],
    draws: Resampler | None = None,
    refit: Refit | None = None,
    curve: str = "E_gen",
) -> pd.DataFrame:
    """Score how far each exponent a makes the curves of all sizes collapse: `1 - V(a) / V(0)`.

    `curve` is `E_gen` or `E_mem`, the error itself and not its logarithm, or `RATIO`, the logarithm of E_mem / E_gen, which is 0 at N*.
    V(a) is the variance between sizes of the curves' means over seeds, at equal `N / parameters^a`, averaged over the abscissae that all
    sizes have in common (`overlap`: their length in log N as a share of that for a = 0), the curves interpolated linearly in log N. The
    part of that variance that the spread over seeds explains is subtracted, so that a perfect collapse scores 1 with few seeds too;
    scores are cut at 1, and are negative where rescaling drives the curves apart. For a = 0 it is 0 by definition.

    The interval is a jackknife over student seeds with t quantiles, joined with the resampled noises; a `kind` "fitted" is fitted anew
    (`refit`) each time. With fewer than three seeds it covers the noises alone. Columns `curve`, `kind`, `exponent`, `score`, `ci_low`,
    `ci_high` (NaN: not defined), `overlap`, `seeds`, `covers`.
    """
    known = np.isfinite(students.parameters)
    if known.sum() < 2 or draws is None:
        return pd.DataFrame(columns=COLLAPSE)
    seeds = len(students.seeds)
    errors = {metric: np.sqrt(squared.mean(axis=-1)) for metric, squared in students.squared.items()}
    resampled = {metric: draws.errors(squared) for metric, squared in students.squared.items()}
    left_out = [{m: np.delete(e, s, axis=-1) for m, e in errors.items()} for s in range(seeds)] if seeds > 2 else []
    rows = []
    for kind, exponent in exponents.items():
        if exponent == 0:
            rows.append((curve, kind, 0.0, 0.0, 0.0, 0.0, 1.0, seeds, BOTH))
            continue
        fit = refit if kind == "fitted" else None

        def score(errors: dict[str, Array], exponent: float = exponent, fit: Refit | None = fit) -> Array:
            moved = {metric: directions(error) for metric, error in errors.items()}
            a = fit({metric: d.mean for metric, d in moved.items()}) if fit else np.full(len(errors["E_gen"]), exponent)
            chosen = directions(np.log(errors["E_mem"] / errors["E_gen"])) if curve == RATIO else moved[curve]
            return _scores(students, chosen, a)

        value, overlap = float(score({m: e[None] for m, e in errors.items()})[0]), _overlap_share(students, errors["E_gen"], exponent)
        variance = float(np.nanvar(noisy)) if np.isfinite(noisy := score(resampled)).any() else np.nan
        quantile = normal_quantile()
        if left_out:
            jackknife = np.array([score({m: e[None] for m, e in errors.items()})[0] for errors in left_out])
            variance += (seeds - 1) * float(jackknife.var())
            quantile = float(t_quantile(seeds))
        half = quantile * np.sqrt(variance)
        interval = min(value - half, 1.0), min(value + half, 1.0)
        rows.append((curve, kind, exponent, min(value, 1.0), *interval, overlap, seeds, BOTH if left_out else NOISES))
    return pd.DataFrame(rows, columns=COLLAPSE)


def _scores(students: Students, curves: Directions, exponents: Array) -> Array:
    """Return `1 - V(a) / V(0)` for each row of curves `(R, sizes, N)` with its own exponent `(R,)`; NaN where V(0) is not positive."""
    before = _between(students, curves, np.zeros(len(exponents)))
    after = _between(students, curves, exponents)
    return np.asarray(1 - np.divide(after, before, out=np.full(len(before), np.nan), where=before > 0))


def _grids(students: Students, curves: Array) -> list[tuple[int, NDArray[np.bool_], Array]]:
    """Return, for each size with parameters and at least two values of N: its index, which N it has, and their logarithms."""
    log_n = np.log(students.num_samples.astype(np.float64))
    present = np.atleast_1d(np.isfinite(curves.reshape(-1, *curves.shape[-2:])).all(axis=0))
    usable = np.isfinite(students.parameters) & (present.sum(axis=-1) > 1)
    return [(int(i), present[i], log_n[present[i]]) for i in np.flatnonzero(usable)]


def _between(students: Students, curves: Directions, exponents: Array) -> Array:
    """Return V(a) of each row, NaN where fewer than two sizes or no abscissae are in common."""
    grids = _grids(students, curves.mean)
    if len(grids) < 2:
        return np.full(len(exponents), np.nan)
    log_parameters = np.log(students.parameters)
    shift = exponents[:, None] * (log_parameters - log_parameters[[i for i, _, _ in grids]].mean())
    low = np.max([x[0] - shift[:, i] for i, _, x in grids], axis=0)
    high = np.min([x[-1] - shift[:, i] for i, _, x in grids], axis=0)
    abscissae = low[:, None] + np.linspace(0, 1, ABSCISSAE) * (high - low)[:, None]
    values, moves = [], []
    for i, present, x in grids:
        position = np.nan_to_num(abscissae + shift[:, [i]])
        left = np.clip(np.searchsorted(x, position.ravel(), side="right").reshape(position.shape) - 1, 0, len(x) - 2)
        share = (position - x[left]) / (x[left + 1] - x[left])

        def at(curve: Array, left: NDArray[np.int64] = left, share: Array = share) -> Array:
            return np.asarray(np.take_along_axis(curve, left, -1) * (1 - share) + np.take_along_axis(curve, left + 1, -1) * share)

        values.append(at(curves.mean[:, i, present]))
        moves.append(np.stack([at(curves.seeds[:, s, i, present]) for s in range(curves.seeds.shape[1])], axis=1))
    total = np.var(values, axis=0, ddof=1)
    chance = np.var(moves, axis=0, ddof=1).sum(axis=1)  # the variance between sizes that seeds alone would give
    return np.where(high > low, (total - chance).mean(axis=-1), np.nan)


def _overlap_share(students: Students, errors: Array, exponent: float) -> float:
    grids = _grids(students, np.where(np.isfinite(errors).any(axis=-1), 0.0, np.nan))
    if len(grids) < 2 or not np.isfinite(exponent):
        return np.nan

    def length(a: float) -> float:
        shift = a * np.log(students.parameters)
        return float(min(x[-1] - shift[i] for i, _, x in grids) - max(x[0] - shift[i] for i, _, x in grids))

    return max(length(exponent), 0.0) / length(0.0) if length(0.0) > 0 else np.nan
