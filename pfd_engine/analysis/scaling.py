"""From memorization to generalization: where E_mem and E_gen cross, how that moves with the size, and whether the curves collapse.

Intervals resample student seeds and noises together (`resampling.py`). A size with one student in some cell gets an interval over the
noises alone and says so in `covers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pfd_engine.analysis.collapse import RATIO, collapse_scores
from pfd_engine.analysis.quantiles import Array
from pfd_engine.analysis.resampling import directions, percentiles, resampler
from pfd_engine.analysis.students import BOTH, NOISES, Students, final_students

PAPER_EXPONENT = 0.5
MEMORIZES_BELOW = 0.5
GENERALIZES_ABOVE = 1 / 0.75

CURVES = ["size", "parameters", "num_samples", "metric", "value", "ci_low", "ci_high", "seeds", "covers"]
CROSSINGS = ["size", "parameters", "crossing", "ci_low", "ci_high", "censored", "num_crossings", "n_min", "n_max", "seeds", "covers"]
ENDS = ["size", "parameters", "end", "num_samples", "E_gen", "E_mem", "ratio", "ci_low", "ci_high", "reached", "seeds", "covers"]


@dataclass(frozen=True)
class Exponent:
    """`log N* = intercept + value log parameters`, by least squares over the sizes that cross within their grid.

    NaN where fewer than two sizes cross. `clamped` is the share of resamples in which a crossing left the grid and was put on its edge:
    above 0.05 the interval may be too narrow.
    """

    value: float
    ci_low: float
    ci_high: float
    intercept: float
    sizes: int
    clamped: float


@dataclass(frozen=True)
class ScalingAnalysis:
    """What a scaling sweep shows.

    - `curves`: mean over seeds of each error at each size and N, with its band (t over student seeds, joined with the noises).
    - `crossings`: N* of each size (`find_crossings`), NaN where `censored` says `below`, `above` (the grid of N) or `unknown`. Its
      interval reaches to 0 or infinity where resamples leave the grid.
    - `ends`: E_mem / E_gen at the smallest and the largest N of each size. `reached`: below 1/2 at the small end, above 4/3 (that is,
      E_gen < 0.75 E_mem) at the large end.
    - `exponent`, and `collapse`: see `collapse_scores`, for log(E_mem / E_gen), E_gen and E_mem.
    """

    curves: pd.DataFrame
    crossings: pd.DataFrame
    ends: pd.DataFrame
    exponent: Exponent
    collapse: pd.DataFrame


def analyze_scaling(measurements: pd.DataFrame, distances: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> ScalingAnalysis:
    """Analyze one scaling sweep from its measurements (sizes and their parameters) and its squared per-noise distances.

    `distances` has `size`, `num_samples`, `student_seed`, `step`, `metric` (`E_gen`, `E_mem`) and `squared`, an array `(M,)`; students
    that are missing, or whose distances are not finite, are left out. Raises ValueError where the students do not share their noises.
    """
    students = final_students(measurements, distances)
    if not students.sizes:
        empty = pd.DataFrame
        nothing = Exponent(np.nan, np.nan, np.nan, np.nan, 0, 0.0)
        return ScalingAnalysis(empty(columns=CURVES), empty(columns=CROSSINGS), empty(columns=ENDS), nothing, collapse_scores(students, {}))
    draws = resampler(students.squared["E_gen"].shape[-1], len(students.seeds), resamples, seed)
    means = {metric: directions(np.sqrt(squared.mean(axis=-1))).mean for metric, squared in students.squared.items()}
    drawn = {metric: draws.means(squared) for metric, squared in students.squared.items()}
    log_n = np.log(students.num_samples.astype(np.float64))
    point, crossed = log_crossings(means, log_n)[0], log_crossings(drawn, log_n)
    exponent = fit_exponent(students, point, crossed)
    exponents = {"none": 0.0, "paper": PAPER_EXPONENT, "fitted": exponent.value}

    def refit(errors: dict[str, Array]) -> Array:
        return _slopes(students, log_crossings(errors, log_n))[0]

    scores = [collapse_scores(students, exponents, draws, refit, curve) for curve in (RATIO, "E_gen", "E_mem")]
    return ScalingAnalysis(
        _curves(students, means, drawn),
        _crossings(students, means, log_n, point, crossed),
        _ends(students, means, drawn),
        exponent,
        pd.concat([frame for frame in scores if len(frame)] or scores[:1], ignore_index=True),
    )


def find_crossing(num_samples: Array, e_gen: Array, e_mem: Array) -> tuple[float, str]:
    """Return N* and why it is censored (`""`, `below`, `above`, `unknown`), for errors `(N,)` over ascending `num_samples`.

    N* is where E_mem - E_gen, interpolated linearly in log N, changes from negative (memorizing) to positive (generalizing). Where it
    does so more than once, it is the last such change. Without one, the curve lies `below` (it generalizes from the smallest N on: N* is
    below the grid) or `above` (it still memorizes at the largest N). Missing values are bridged; fewer than two values are `unknown`.
    """
    value = _last_crossing(np.log(np.asarray(num_samples, dtype=np.float64)), (np.asarray(e_mem) - np.asarray(e_gen))[None])[0][0]
    return (float(np.exp(value)) if np.isfinite(value) else np.nan), _censored(value)


def fit_exponent(students: Students, point: Array, drawn: Array) -> Exponent:
    """Fit the exponent to log N* `(sizes,)`, infinite where censored, and take its interval from resampled ones `(R, sizes)`."""
    used = np.isfinite(point) & np.isfinite(students.parameters)
    slope, intercept = _slopes(students, np.where(used, point, np.nan)[None])
    if np.isnan(slope[0]):
        return Exponent(np.nan, np.nan, np.nan, np.nan, int(used.sum()), 0.0)
    present = _seeds(students) > 0
    log_n = np.log(students.num_samples.astype(np.float64))
    lowest = np.where(present, log_n, np.inf).min(axis=1)
    highest = np.where(present, log_n, -np.inf).max(axis=1)
    low, high = percentiles(_slopes(students, np.where(used, np.clip(drawn, lowest, highest), np.nan))[0])
    clamped = float(np.isinf(drawn[:, used]).any(axis=1).mean())
    return Exponent(float(slope[0]), float(low), float(high), float(intercept[0]), int(used.sum()), clamped)


def _slopes(students: Students, log_crossings: Array) -> tuple[Array, Array]:
    """Least-squares slope and intercept of each row `(R, sizes)` over log parameters; NaN where fewer than two sizes are finite."""
    used = np.isfinite(log_crossings) & np.isfinite(students.parameters)
    count = np.maximum(used.sum(axis=1), 1)
    x, y = np.where(used, np.log(students.parameters), 0.0), np.where(used, log_crossings, 0.0)
    mean = x.sum(axis=1) / count
    centered = np.where(used, x - mean[:, None], 0.0)
    spread = (centered**2).sum(axis=1)
    slope = np.divide((centered * y).sum(axis=1), spread, out=np.full(len(x), np.nan), where=spread > 1e-12)
    return slope, y.sum(axis=1) / count - slope * mean


def log_crossings(means: dict[str, Array], log_n: Array) -> Array:
    """Return log N* `(R, sizes)` of mean errors `(R, sizes, N)`, or of one `(sizes, N)`."""
    difference = means["E_mem"] - means["E_gen"]
    difference = difference.reshape(-1, *difference.shape[-2:])
    return np.stack([_last_crossing(log_n, difference[:, i])[0] for i in range(difference.shape[1])], axis=1)


def _last_crossing(log_n: Array, difference: Array) -> tuple[Array, Array]:
    """Return log N* (-inf below, inf above, NaN unknown) and the number of sign changes of each row of `difference` `(R, N)`."""
    known = np.isfinite(difference).all(axis=0)
    x, d = log_n[known], difference[:, known]
    if d.shape[1] < 2:
        return np.full(len(d), np.nan), np.zeros(len(d), dtype=np.int64)
    memorizes = d < 0
    leaves = memorizes[:, :-1] & ~memorizes[:, 1:]
    last = leaves.shape[1] - 1 - leaves[:, ::-1].argmax(axis=1)
    rows = np.arange(len(d))
    before, after = d[rows, last], d[rows, last + 1]
    share = np.divide(-before, after - before, out=np.zeros(len(d)), where=leaves.any(axis=1))
    inside = x[last] + share * (x[last + 1] - x[last])
    changes = (memorizes[:, :-1] != memorizes[:, 1:]).sum(axis=1)
    return np.where(leaves.any(axis=1), inside, np.where(memorizes[:, -1], np.inf, -np.inf)), changes


def _censored(log_crossing: float) -> str:
    if np.isnan(log_crossing):
        return "unknown"
    return "" if np.isfinite(log_crossing) else "above" if log_crossing > 0 else "below"


def _seeds(students: Students) -> Array:
    return np.isfinite(students.squared["E_gen"][..., :1]).sum(axis=(-2, -1))


def _curves(students: Students, means: dict[str, Array], drawn: dict[str, Array]) -> pd.DataFrame:
    counts, rows = _seeds(students), []
    for metric in means:
        low, high = percentiles(drawn[metric])
        for i, j in zip(*np.nonzero(counts), strict=True):
            identity = (students.sizes[i], students.parameters[i], students.num_samples[j], metric)
            covers = BOTH if counts[i, j] > 1 else NOISES
            rows.append((*identity, means[metric][i, j], max(low[i, j], 0.0), high[i, j], counts[i, j], covers))
    return pd.DataFrame(rows, columns=CURVES)


def _crossings(students: Students, means: dict[str, Array], log_n: Array, point: Array, crossed: Array) -> pd.DataFrame:
    counts, rows = _seeds(students), []
    low, high = percentiles(crossed)
    changes = [int(_last_crossing(log_n, d[None])[1][0]) for d in means["E_mem"] - means["E_gen"]]
    for i, size in enumerate(students.sizes):
        present = counts[i] > 0
        grid, seeds = students.num_samples[present], int(counts[i][present].min())
        value = float(np.exp(point[i])) if np.isfinite(point[i]) else np.nan
        interval = float(np.exp(low[i])), float(np.exp(high[i]))
        covers = BOTH if seeds > 1 else NOISES
        rows.append(
            (size, students.parameters[i], value, *interval, _censored(point[i]), changes[i], grid.min(), grid.max(), seeds, covers)
        )
    return pd.DataFrame(rows, columns=CROSSINGS)


def _ends(students: Students, means: dict[str, Array], drawn: dict[str, Array]) -> pd.DataFrame:
    counts, rows = _seeds(students), []
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = percentiles(np.where(drawn["E_gen"] > 0, np.maximum(drawn["E_mem"], 0) / drawn["E_gen"], np.inf))
        ratios = means["E_mem"] / means["E_gen"]
    for i, size in enumerate(students.sizes):
        present = np.flatnonzero(counts[i])
        for end, j in (("small", present[0]), ("large", present[-1])):
            ratio = float(ratios[i, j])
            reached = ratio < MEMORIZES_BELOW if end == "small" else ratio > GENERALIZES_ABOVE
            errors = means["E_gen"][i, j], means["E_mem"][i, j]
            covers = BOTH if counts[i, j] > 1 else NOISES
            identity = (size, students.parameters[i], end, students.num_samples[j])
            rows.append((*identity, *errors, ratio, low[i, j], high[i, j], reached, counts[i, j], covers))
    return pd.DataFrame(rows, columns=ENDS)
