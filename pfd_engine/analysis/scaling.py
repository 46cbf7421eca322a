"""From memorization to generalization: where E_mem and E_gen cross, how that moves with the size, and whether the curves collapse.

Intervals of errors and of N* resample student seeds and noises together (`resampling.py`). A size with one student in some cell gets an
interval over the noises alone and says so in `covers`. That of the exponent is a t interval over sizes (`exponent.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pfd_engine.analysis.collapse import RATIO, collapse_scores
from pfd_engine.analysis.crossings import AGAIN, all_crossings, find_crossing, log_crossings
from pfd_engine.analysis.exponent import FEWEST_SIZES, Exponent, fit_exponent
from pfd_engine.analysis.quantiles import Array
from pfd_engine.analysis.resampling import Jackknife, directions, percentiles, resampler
from pfd_engine.analysis.students import BOTH, NOISES, Students, final_students

PAPER_EXPONENT = 0.5
MEMORIZES_BELOW = 0.5
GENERALIZES_ABOVE = 1 / 0.75
TEACHER, TRAINING_SET, UNDETERMINED = "teacher", "training set", "undetermined"

CURVES = ["size", "parameters", "num_samples", "metric", "value", "ci_low", "ci_high", "seeds", "covers"]
CROSSINGS = ["size", "parameters", "crossing", "ci_low", "ci_high", "censored", "in_fit", "n_min", "n_max", "seeds", "covers"]
ALL_CROSSINGS = ["size", "parameters", "num_samples", "begins"]
ENDS = ["size", "parameters", "end", "num_samples", "E_gen", "E_mem", "ratio", "ci_low", "ci_high", "reached", "closer", "seeds", "covers"]

__all__ = ["FEWEST_SIZES", "PAPER_EXPONENT", "Exponent", "ScalingAnalysis", "analyze_scaling", "find_crossing"]


@dataclass(frozen=True)
class ScalingAnalysis:
    """What a scaling sweep shows after `steps` training steps, the budget that all its students share.

    - `curves`: mean over seeds of each error at each size and N, with its band (t over student seeds, joined with the noises).
    - `crossings`: N* of each size (`find_crossing`), NaN where `censored` says why. Its interval reaches to 0 or infinity where resamples
      leave the grid, and so bounds the N* of a censored size; NaN where there is nothing to bound. `in_fit`: enters the exponent.
    - `all_crossings`: every N at which the two errors cross, and what `begins` there (`generalizing` or `memorizing`).
    - `ends`: E_mem / E_gen at the smallest and the largest N of each size. `reached`: below 1/2 at the small end, above 4/3 (that is,
      E_gen < 0.75 E_mem) at the large end. `closer`: which of `teacher` and `training set` the students are clearly closer to.
    - `exponent`: over the sizes that reached both regimes, a rule that does not look at N*.
    - `collapse`: see `collapse_scores`, for log(E_mem / E_gen), E_gen and E_mem.
    - `spread`: the error of the constant image, None where it is not known.
    """

    curves: pd.DataFrame
    crossings: pd.DataFrame
    all_crossings: pd.DataFrame
    ends: pd.DataFrame
    exponent: Exponent
    collapse: pd.DataFrame
    steps: int
    spread: float | None = None


def analyze_scaling(
    measurements: pd.DataFrame, distances: pd.DataFrame, resamples: int = 1000, seed: int = 0, spread: float | None = None
) -> ScalingAnalysis:
    """Analyze one scaling sweep from its measurements (sizes and their parameters) and its squared per-noise distances.

    `distances` has `size`, `num_samples`, `student_seed`, `step`, `metric` (`E_gen`, `E_mem`) and `squared`, an array `(M,)`; students
    that are missing, whose distances are not finite, or that were trained for fewer steps than others, are left out. Raises ValueError
    where the students do not share their noises.
    """
    students = final_students(measurements, distances)
    if not students.sizes:
        curves, crossings, others, ends = (pd.DataFrame(columns=columns) for columns in (CURVES, CROSSINGS, ALL_CROSSINGS, ENDS))
        nothing = Exponent(np.nan, np.nan, np.nan, np.nan, (), np.nan, np.nan)
        return ScalingAnalysis(curves, crossings, others, ends, nothing, collapse_scores(students, {}), 0)
    draws = resampler(students.squared["E_gen"].shape[-1], len(students.seeds), resamples, seed)
    means = {metric: directions(np.sqrt(squared.mean(axis=-1))).mean for metric, squared in students.squared.items()}
    drawn = {metric: draws.means(squared) for metric, squared in students.squared.items()}
    log_n = np.log(students.num_samples.astype(np.float64))
    ends = _ends(students, means, drawn)
    used = _reach_both_regimes(students, ends) & np.isfinite(log_crossings(means, log_n)[0])
    jackknife = Jackknife(students.squared)
    exponent = fit_exponent(students, used, jackknife)
    exponents = {"none": 0.0, "paper": PAPER_EXPONENT, "fitted": exponent.value}
    scores = [collapse_scores(students, exponents, jackknife, curve, used) for curve in (RATIO, "E_gen", "E_mem")]
    return ScalingAnalysis(
        _curves(students, means, drawn),
        _crossings(students, means, log_crossings(drawn, log_n), used),
        _all_crossings(students, means),
        ends,
        exponent,
        pd.concat([frame for frame in scores if len(frame)] or scores[:1], ignore_index=True),
        students.step,
        spread,
    )


def _reach_both_regimes(students: Students, ends: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which sizes of known parameters reached both ends."""
    reached = ends.groupby("size")["reached"].all()
    return np.array([bool(reached[size]) for size in students.sizes]) & np.isfinite(students.parameters)


def _seeds(students: Students) -> NDArray[np.int64]:
    return np.asarray(np.isfinite(students.squared["E_gen"][..., :1]).sum(axis=(-2, -1)))


def _curves(students: Students, means: dict[str, Array], drawn: dict[str, Array]) -> pd.DataFrame:
    counts, rows = _seeds(students), []
    for metric in means:
        low, high = percentiles(drawn[metric])
        for i, j in zip(*np.nonzero(counts), strict=True):
            identity = (students.sizes[i], students.parameters[i], students.num_samples[j], metric)
            covers = BOTH if counts[i, j] > 1 else NOISES
            rows.append((*identity, means[metric][i, j], max(low[i, j], 0.0), high[i, j], counts[i, j], covers))
    return pd.DataFrame(rows, columns=CURVES)


def _crossings(students: Students, means: dict[str, Array], drawn: Array, used: NDArray[np.bool_]) -> pd.DataFrame:
    counts, rows = _seeds(students), []
    low, high = (np.exp(end) for end in percentiles(drawn))
    for i, size in enumerate(students.sizes):
        present = counts[i] > 0
        grid, seeds = students.num_samples[present], int(counts[i][present].min())
        value, censored = find_crossing(students.num_samples.astype(np.float64), means["E_gen"][i], means["E_mem"][i])
        interval = (np.nan, np.nan) if censored == AGAIN else (float(low[i]), float(high[i]))
        covers = BOTH if seeds > 1 else NOISES
        rows.append((size, students.parameters[i], value, *interval, censored, bool(used[i]), grid.min(), grid.max(), seeds, covers))
    return pd.DataFrame(rows, columns=CROSSINGS)


def _all_crossings(students: Students, means: dict[str, Array]) -> pd.DataFrame:
    rows = [
        (size, students.parameters[i], at, begins)
        for i, size in enumerate(students.sizes)
        for at, begins in all_crossings(students.num_samples.astype(np.float64), means["E_gen"][i], means["E_mem"][i])
    ]
    return pd.DataFrame(rows, columns=ALL_CROSSINGS)


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
            closer = TEACHER if low[i, j] > 1 else TRAINING_SET if high[i, j] < 1 else UNDETERMINED
            errors = means["E_gen"][i, j], means["E_mem"][i, j]
            covers = BOTH if counts[i, j] > 1 else NOISES
            identity = (size, students.parameters[i], end, students.num_samples[j])
            rows.append((*identity, *errors, ratio, low[i, j], high[i, j], reached, closer, counts[i, j], covers))
    return pd.DataFrame(rows, columns=ENDS)
