"""What longer training does to a student: mean errors along the steps, rises and falls between checkpoints, and a verdict for each N.

Everything is paired by student seed and noise. Intervals join the spread over students with that over the noises (which they share).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from pfd_engine.analysis.held_out import (
    UNKNOWN,
    Contrast,
    double_descent,
    fall_after_dip,
    fall_then_rise,
    held_out_contrasts,
    largest_fall,
    largest_rise,
)
from pfd_engine.analysis.quantiles import CONFIDENCE, TAIL, Array, normal_quantile, t_p_value, t_quantile
from pfd_engine.analysis.students import BOTH, NOISES, parameters_by_size, usable

Verdict = Literal["monotone", "early learning, then overfitting", "double descent", "undetermined"]
MONOTONE: Final = "monotone"
OVERFITTING: Final = "early learning, then overfitting"
DOUBLE_DESCENT: Final = "double descent"
UNDETERMINED: Final = "undetermined"
NEGLIGIBLE = 0.1

CURVES = ["size", "parameters", "num_samples", "step", "E_gen", "ci_low", "ci_high", "seeds", "covers"]
CONTRASTS = [
    "size",
    "parameters",
    "num_samples",
    "from_step",
    "to_step",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "direction",
]
STEPS = ["first_step", "dip_step", "peak_step", "second_dip_step"]
MOVES = ["fall", "rise", "second_fall"]
VERDICTS = ["size", "parameters", "num_samples", "seeds", "left_out", "verdict", *STEPS]
VERDICTS += [f"{move}{part}" for move in MOVES for part in ("", "_low", "_high")]


@dataclass(frozen=True)
class DynamicsAnalysis:
    """What a sweep along training shows, for each size and N.

    - `curves`: mean E_gen over seeds at each step, with its pointwise interval (t over the seeds).
    - `contrasts`: consecutive checkpoints, paired: `difference` (later minus earlier) with a Bonferroni interval over the curve's
      contrasts, `p_value` of its t test, `p_holm` corrected over the curve, `direction` `rise`, `fall` or `unclear` (by `p_holm`).
    - `verdicts`: see `judge`. Steps are located on all students; falls and rises (positive numbers) with their intervals are measured on
      held-out students (`held_out.py`), so that the choice of steps does not favor them. `left_out` students miss a checkpoint.
    """

    curves: pd.DataFrame
    contrasts: pd.DataFrame
    verdicts: pd.DataFrame


@dataclass(frozen=True)
class Judgement:
    """A verdict with the indices of first step, dip, peak and second dip (None where there is none) and the moves behind it."""

    verdict: Verdict
    steps: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    fall: Contrast = UNKNOWN
    rise: Contrast = UNKNOWN
    second_fall: Contrast = UNKNOWN


def analyze_dynamics(measurements: pd.DataFrame, distances: pd.DataFrame) -> DynamicsAnalysis:
    """Analyze one training-dynamics sweep: `distances` holds E_gen's squared per-noise distances at every measured step.

    A student that misses a checkpoint which most students of its size and N have is left out (and counted). Raises ValueError where the
    students do not share their noises.
    """
    rows = usable(distances)
    rows = rows[rows["metric"] == "E_gen"]
    parameters = parameters_by_size(measurements)
    curves: list[tuple[object, ...]] = []
    contrasts: list[tuple[object, ...]] = []
    verdicts: list[tuple[object, ...]] = []
    order = sorted(rows.groupby(["size", "num_samples"]), key=lambda item: (parameters.get(str(item[0][0]), np.inf), *item[0]))
    for (size, num_samples), group in order:
        identity = (size, parameters.get(str(size), np.nan), num_samples)
        steps, squared, left_out = _complete(group)
        if not len(squared):
            verdicts.append((*identity, 0, left_out, UNDETERMINED, *[pd.NA] * 4, *[np.nan] * 9))
            continue
        errors, covariance = _errors(squared)
        curves += [(*identity, *row) for row in _curve(steps, errors, covariance)]
        contrasts += [(*identity, *row) for row in _consecutive(steps, errors, covariance)]
        verdicts.append((*identity, len(squared), left_out, *_row(judge(squared), steps)))
    frame = pd.DataFrame(verdicts, columns=VERDICTS)
    frame[STEPS] = frame[STEPS].astype("Int64")
    return DynamicsAnalysis(pd.DataFrame(curves, columns=CURVES), pd.DataFrame(contrasts, columns=CONTRASTS), frame)


def judge(squared: Array) -> Judgement:
    """Return the verdict on one curve, from squared distances `(students, steps, M)` on shared noises.

    - `double descent`: a fall, a rise and a second fall in this order, each of whose held-out intervals excludes 0. Each of the three must
      be real, and a flat stretch shows a false one with probability 0.025 (0.05 where a false rise and a false fall would both do).
    - `early learning, then overfitting`: a fall and a rise whose intervals exclude 0, and no second fall that could undo the rise.
    - `monotone`: a fall (or rise) whose interval excludes 0, while the interval of the largest opposite move stays below a tenth of it.
    - `undetermined`: anything else, and fewer than 2 students or 3 steps.
    """
    if squared.shape[0] < 2 or squared.shape[1] < 3 or squared.shape[2] < 2:
        return Judgement(UNDETERMINED)
    mean = np.sqrt(squared.mean(axis=2)).mean(axis=0)[None]
    triple = held_out_contrasts(squared, double_descent)
    fall, rise, second = _moves(triple.contrasts)
    if triple.ordered and min(fall.ci_low, rise.ci_low, second.ci_low) > 0:
        start, dip, peak, second_dip = (int(i) for i in double_descent(mean)[0])
        return Judgement(DOUBLE_DESCENT, (start, dip, peak, second_dip), fall, rise, second)
    pair = held_out_contrasts(squared, fall_then_rise)
    fall, rise = _moves(pair.contrasts)
    if pair.ordered and min(fall.ci_low, rise.ci_low) > 0:
        start, dip, peak = (int(i) for i in fall_then_rise(mean)[0])
        (second,) = _moves(held_out_contrasts(squared, fall_after_dip).contrasts)
        verdict: Verdict = OVERFITTING if second.ci_high < rise.value else UNDETERMINED
        return Judgement(verdict, (start, dip, peak, None), fall, rise, second)
    return _monotone(squared, mean)


def _monotone(squared: Array, mean: Array) -> Judgement:
    (down,), (up,) = held_out_contrasts(squared, largest_fall).contrasts, held_out_contrasts(squared, largest_rise).contrasts
    down = Contrast(-down.value, -down.ci_high, -down.ci_low)
    steps = largest_fall(mean)[0] if down.value >= up.value else largest_rise(mean)[0]
    one_way = (down.ci_low > 0 and up.ci_high < NEGLIGIBLE * down.value) or (up.ci_low > 0 and down.ci_high < NEGLIGIBLE * up.value)
    return Judgement(MONOTONE if one_way else UNDETERMINED, (int(steps[0]), None, None, None), down, up)


def _moves(contrasts: list[Contrast]) -> list[Contrast]:
    """Falls and rises as positive numbers: every other difference, the first included, is a fall."""
    return [c if k % 2 else Contrast(-c.value, -c.ci_high, -c.ci_low) for k, c in enumerate(contrasts)]


def _row(judgement: Judgement, steps: Array) -> list[object]:
    located = [pd.NA if i is None else int(steps[i]) for i in judgement.steps]
    moves = (judgement.fall, judgement.rise, judgement.second_fall)
    return [judgement.verdict, *located, *(number for move in moves for number in (move.value, move.ci_low, move.ci_high))]


def _complete(group: pd.DataFrame) -> tuple[Array, Array, int]:
    """Return the steps that most students have, the squared distances `(K, steps, M)` of those who have them all, and who has not."""
    students = group["student_seed"].nunique()
    counts = group.groupby("step")["student_seed"].nunique()
    steps = counts.index[counts * 2 > students].sort_values().to_numpy()
    kept = []
    for _, rows in group.groupby("student_seed"):
        by_step = dict(zip(rows["step"], rows["squared"], strict=True))
        if len(steps) and set(steps) <= set(by_step):
            kept.append(np.stack([np.asarray(by_step[step], dtype=np.float64) for step in steps]))
    return steps, np.stack(kept) if kept else np.empty((0, len(steps), 0)), students - len(kept)


def _errors(squared: Array) -> tuple[Array, Array]:
    """Return E_gen `(K, steps)` and the covariance between steps of its mean over K, over students (K >= 2) and noises together."""
    errors = np.sqrt(squared.mean(axis=2))
    slopes = np.divide(1, 2 * errors, out=np.zeros_like(errors), where=errors > 0)
    covariance = np.atleast_2d(np.cov((squared * slopes[:, :, None]).mean(axis=0))) / squared.shape[2]
    if len(errors) > 1:
        covariance = covariance + np.atleast_2d(np.cov(errors, rowvar=False)) / len(errors)
    return errors, covariance


def _quantile(students: int, tail: float) -> float:
    """t over the students; normal for one student, whose interval covers the noises alone."""
    return float(t_quantile(students, tail)) if students > 1 else normal_quantile(tail)


def _curve(steps: Array, errors: Array, covariance: Array) -> list[tuple[object, ...]]:
    half = _quantile(len(errors), TAIL) * np.sqrt(np.diag(covariance))
    mean, covers = errors.mean(axis=0), BOTH if len(errors) > 1 else NOISES
    return [
        (int(step), value, max(value - h, 0.0), value + h, len(errors), covers) for step, value, h in zip(steps, mean, half, strict=True)
    ]


def _consecutive(steps: Array, errors: Array, covariance: Array) -> list[tuple[object, ...]]:
    """Differences between consecutive checkpoints; none for a single student, who cannot tell training from chance."""
    count = len(steps) - 1
    if len(errors) < 2 or count < 1:
        return []
    difference = np.diff(errors.mean(axis=0))
    variance = np.diag(covariance)
    stderr = np.sqrt(np.maximum(variance[1:] + variance[:-1] - 2 * np.diag(covariance, 1), 0))
    t = np.divide(np.abs(difference), stderr, out=np.where(difference == 0, 0.0, np.inf), where=stderr > 0)
    p = t_p_value(t, len(errors))
    holm = _holm(p)
    half = _quantile(len(errors), TAIL / count) * stderr
    rows: list[tuple[object, ...]] = []
    for k in range(count):
        direction = "unclear" if holm[k] > 1 - CONFIDENCE else "rise" if difference[k] > 0 else "fall"
        interval = difference[k] - half[k], difference[k] + half[k]
        rows.append((int(steps[k]), int(steps[k + 1]), difference[k], *interval, p[k], holm[k], direction))
    return rows


def _holm(p: Array) -> Array:
    """Holm's step-down correction of p-values."""
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected
