"""What longer training does to a student: mean errors along the steps, rises and falls between checkpoints, and a verdict for each N.

Everything is paired by student seed and noise. Intervals join the spread over students with that over the noises (which they share).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from pfd_engine.analysis.moves import NO_MOVE, Move, Moves, comparisons, mean_errors, moves, quantile_over
from pfd_engine.analysis.quantiles import TAIL, Array
from pfd_engine.analysis.students import BOTH, NOISES, parameters_by_size, usable

Verdict = Literal[
    "double descent",
    "falls, rises, falls",
    "early learning, then overfitting",
    "rises, then falls",
    "only falls",
    "only rises",
    "undetermined",
]
DOUBLE_DESCENT: Final = "double descent"
TURNS: Final = "falls, rises, falls"
OVERFITTING: Final = "early learning, then overfitting"
HUMP: Final = "rises, then falls"
FALLS: Final = "only falls"
RISES: Final = "only rises"
UNDETERMINED: Final = "undetermined"
NEGLIGIBLE = 0.1

Level = Literal["worse", "better", "undetermined"]
WORSE: Final = "worse"
BETTER: Final = "better"

CURVES = ["size", "parameters", "num_samples", "step", "E_gen", "ci_low", "ci_high", "seeds", "covers"]
CONTRASTS = ["size", "parameters", "num_samples", "from_step", "to_step", "difference", "ci_low", "ci_high", "direction"]
STEPS = ["dip_step", "peak_step", "second_dip_step"]
LEVELS = ["dip_level", "peak_level"]
MOVES = ["fall", "rise", "second_fall"]
MOVE_STEPS = [f"{move}_{end}" for move in MOVES for end in ("from", "to")]
BOUNDS = ["no_rise_above", "no_fall_above", "no_second_fall_above"]
VERDICTS = ["size", "parameters", "num_samples", "seeds", "left_out", "verdict", "last_step", *STEPS, *LEVELS]
VERDICTS += [f"{move}{part}" for move in MOVES for part in ("", "_low", "_high", "_from", "_to")] + BOUNDS
INSIDE = [f"inside_{move}{part}" for move in MOVES for part in ("", "_low", "_high")]
VERDICTS += INSIDE


@dataclass(frozen=True)
class DynamicsAnalysis:
    """What a sweep along training shows, for each size and N.

    - `curves`: mean E_gen over seeds at each step, with its pointwise interval (t over the seeds).
    - `contrasts`: consecutive checkpoints: `difference` (later minus earlier) of `curves` with its interval and `direction` `rise`, `fall`
      or `unclear` (the interval contains 0).
    - `verdicts`: see `judge`. Falls and rises are positive numbers: differences of `curves` between the steps that are named beside them.
      `no_..._above` are bounds above which a rise, a fall, or a fall after the dip are excluded; `dip_level` and `peak_level` say whether
      E_gen is there `worse` or `better` than a constant image (None where its error is not known). `left_out` students miss a checkpoint.
      `inside_..` are the same moves, between the same steps, of the diagnostic map: the student inside the noise levels that training drew,
      the teacher outside (NaN where it was not measured). `double descent` is a verdict only where all three of these are clear, too; else
      it is `falls, rises, falls`.
    - `spread`: the error of the constant image, None where it is not known.
    - `trained_range_checked`: whether the sweep also measured the diagnostic map.

    All intervals and bounds of `contrasts` and `verdicts` hold together, over all steps, sizes and N, with 95 % confidence (`moves.py`);
    those of the diagnostic map hold together among themselves.
    """

    curves: pd.DataFrame
    contrasts: pd.DataFrame
    verdicts: pd.DataFrame
    spread: float | None = None
    trained_range_checked: bool = False


@dataclass(frozen=True)
class Judgement:
    """A verdict with the moves behind it, those that are not clear left out, and the bounds of what else is possible."""

    verdict: Verdict
    fall: Move = NO_MOVE
    rise: Move = NO_MOVE
    second_fall: Move = NO_MOVE
    no_rise_above: float = float("nan")
    no_fall_above: float = float("nan")
    no_second_fall_above: float = float("nan")

    @property
    def turns(self) -> tuple[int | None, int | None, int | None]:
        """The indices of the dip, the peak and the second dip; None where the verdict has none."""
        if self.verdict == DOUBLE_DESCENT:
            return self.rise.start, self.rise.end, self.second_fall.end
        if self.verdict in (OVERFITTING, HUMP):
            return self.rise.start, self.rise.end, None
        return None, None, None


def analyze_dynamics(
    measurements: pd.DataFrame, distances: pd.DataFrame, spread: float | None = None, diagnostic: pd.DataFrame | None = None
) -> DynamicsAnalysis:
    """Analyze one training-dynamics sweep: `distances` holds E_gen's squared per-noise distances at every measured step.

    `spread` is the error of the constant image, the spread of the teacher's end points; where it is None, it is taken from the column of
    that name in the measurements, if there is one. `diagnostic` holds the distances of the diagnostic map, where it was measured. A student
    that misses a checkpoint which most students of its size and N have is left out (and counted). Raises ValueError where the students do
    not share their noises.
    """
    spread = _spread(measurements) if spread is None else spread
    rows = usable(distances)
    rows = rows[rows["metric"] == "E_gen"]
    inside = {} if diagnostic is None or diagnostic.empty else dict(list(usable(diagnostic).groupby(["size", "num_samples"])))
    parameters = parameters_by_size(measurements)
    groups = sorted(rows.groupby(["size", "num_samples"]), key=lambda item: (parameters.get(str(item[0][0]), np.inf), *item[0]))
    complete = [((size, parameters.get(str(size), np.nan), n), *_complete(group)) for (size, n), group in groups]
    family = sum(comparisons(len(steps)) for _, steps, squared, _ in complete if len(squared) > 1)
    curves: list[tuple[object, ...]] = []
    contrasts: list[tuple[object, ...]] = []
    verdicts: list[dict[str, object]] = []
    for identity, steps, squared, left_out in complete:
        row: dict[str, object] = dict(zip(VERDICTS, (*identity, len(squared), left_out, UNDETERMINED), strict=False))
        if len(squared):
            curves += [(*identity, *point) for point in _curve(steps, squared)]
            row["last_step"] = int(steps[-1])
        if len(squared) > 1:
            found = moves(squared, family)
            contrasts += [(*identity, *contrast) for contrast in _consecutive(steps, found)]
            row |= _row(_judge(found), found, steps, spread)
            row |= _inside(row, inside.get((identity[0], identity[2])), steps, family)
        verdicts.append(row)
    frame = pd.DataFrame(verdicts, columns=VERDICTS)
    whole = ["last_step", *STEPS, *MOVE_STEPS]
    frame = frame.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(LEVELS, object))
    frame[LEVELS] = frame[LEVELS].where(frame[LEVELS].notna(), None)
    return DynamicsAnalysis(pd.DataFrame(curves, columns=CURVES), pd.DataFrame(contrasts, columns=CONTRASTS), frame, spread, bool(inside))


def judge(squared: Array, family: int | None = None) -> Judgement:
    """Return the verdict on one curve, from squared distances `(students, steps, M)` on shared noises.

    A move is clear where its interval excludes 0; `family` intervals hold together (this curve's own where it is None).

    This is the shape of the curve alone: of a sweep, the trained range decides, too (`DynamicsAnalysis`).

    - `double descent`: a clear fall into a dip, a clear rise from it to a peak, and a clear second fall from there.
    - `early learning, then overfitting`: a clear fall, then a clear rise, and after the dip no fall that could undo the rise.
    - `rises, then falls`: a clear rise, then a clear fall, and no clear fall before (`no_fall_above` bounds falls before the rise).
    - `only falls` (or `only rises`): a clear fall, and rises above a tenth of it are excluded.
    - `undetermined`: anything else, and fewer than 2 students or 3 steps.
    """
    if squared.shape[0] < 2 or squared.shape[1] < 3 or squared.shape[2] < 2:
        return Judgement(UNDETERMINED)
    return _judge(moves(squared, family))


def _judge(found: Moves) -> Judgement:
    if len(found.mean) < 3:
        return Judgement(UNDETERMINED)
    no_rise, no_fall = found.no_rise_above(), found.no_fall_above()
    if triple := found.double_descent():
        return Judgement(DOUBLE_DESCENT, *triple, no_rise, no_fall)
    if pair := found.fall_then_rise():
        fall, rise = pair
        assert rise.start is not None
        bound = found.no_fall_above(rise.start)
        return Judgement(OVERFITTING if bound < rise.value else UNDETERMINED, fall, rise, NO_MOVE, no_rise, no_fall, bound)
    if pair := found.rise_then_fall():
        rise, second = pair
        fall = found.largest_fall_until(rise.start)
        before = found.no_fall_above(end=rise.start)
        return Judgement(UNDETERMINED if fall.clear else HUMP, fall, rise, second, no_rise, before)
    fall, rise = found.largest_fall(), found.largest_rise()
    verdict: Verdict = UNDETERMINED
    if fall.clear and no_rise < NEGLIGIBLE * fall.value:
        verdict = FALLS
    elif rise.clear and no_fall < NEGLIGIBLE * rise.value:
        verdict = RISES
    return Judgement(verdict, fall, rise, NO_MOVE, no_rise, no_fall)


def level(found: Moves, index: int | None, spread: float | None) -> Level | None:
    """Say whether E_gen at a step is clearly above or below the error of the constant image; None where one of them is not known."""
    if index is None or spread is None:
        return None
    value, margin = found.mean[index], found.level_margin[index]
    return WORSE if value - margin > spread else BETTER if value + margin < spread else UNDETERMINED


def _row(judgement: Judgement, found: Moves, steps: Array, spread: float | None) -> dict[str, object]:
    row: dict[str, object] = {"verdict": judgement.verdict}
    row |= {name: None if i is None else int(steps[i]) for name, i in zip(STEPS, judgement.turns, strict=True)}
    row |= {name: level(found, i, spread) for name, i in zip(LEVELS, judgement.turns[:2], strict=True)}
    for name, move in zip(MOVES, (judgement.fall, judgement.rise, judgement.second_fall), strict=True):
        row |= {name: move.value, f"{name}_low": move.ci_low, f"{name}_high": move.ci_high}
        for end, i in (("from", move.start), ("to", move.end)):
            row[f"{name}_{end}"] = None if i is None else int(steps[i])
    return row | {name: getattr(judgement, name) for name in BOUNDS}


def _inside(row: dict[str, object], rows: pd.DataFrame | None, steps: Array, family: int) -> dict[str, object]:
    """Return the moves of a verdict in the diagnostic map, between the same steps, and the verdict that they leave."""
    measured, squared = _complete(rows)[:2] if rows is not None else (steps[:0], np.empty((0, 0, 0)))
    places = {int(step): index for index, step in enumerate(measured)}
    values: dict[str, object] = {}
    clear = len(squared) > 1 and all(int(step) in places for step in steps)
    if clear:
        found = moves(squared[:, [places[int(step)] for step in steps]], family)
        index = {int(step): i for i, step in enumerate(steps)}
        for name in MOVES:
            start, end = row[f"{name}_from"], row[f"{name}_to"]
            if isinstance(start, int) and isinstance(end, int):
                move = (found.rise if name == "rise" else found.fall)(index[start], index[end])
                values |= {f"inside_{name}": move.value, f"inside_{name}_low": move.ci_low, f"inside_{name}_high": move.ci_high}
                clear = clear and move.clear
    return values | ({"verdict": TURNS} if row["verdict"] == DOUBLE_DESCENT and not clear else {})


def _spread(measurements: pd.DataFrame) -> float | None:
    """Return the teacher's spread that the rows of E_gen state: one number, as all students share the teacher's end points."""
    if "spread" not in measurements or measurements.empty:
        return None
    known = measurements.query("metric == 'E_gen'")["spread"].dropna()
    return float(known.iloc[0]) if len(known) else None


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


def _curve(steps: Array, squared: Array) -> list[tuple[object, ...]]:
    errors, covariance = mean_errors(squared)
    half = quantile_over(len(errors), TAIL) * np.sqrt(np.diag(covariance))
    mean, covers = errors.mean(axis=0), BOTH if len(errors) > 1 else NOISES
    return [
        (int(step), value, max(value - h, 0.0), value + h, len(errors), covers) for step, value, h in zip(steps, mean, half, strict=True)
    ]


def _consecutive(steps: Array, found: Moves) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for k in range(len(steps) - 1):
        difference, low, high = (float(values[k, k + 1]) for values in (found.difference, found.low, found.high))
        direction = "rise" if low > 0 else "fall" if high < 0 else "unclear"
        rows.append((int(steps[k]), int(steps[k + 1]), difference, low, high, direction))
    return rows
