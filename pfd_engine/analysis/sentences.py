"""One sentence a finding: what the data show, computed from its analysis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pfd_engine.analysis.bias_variance import IDENTITY, BiasVarianceAnalysis
from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, MONOTONE, OVERFITTING, UNDETERMINED, DynamicsAnalysis
from pfd_engine.analysis.scaling import ScalingAnalysis

NO_SCALING = "No student of this sweep has been measured yet, so nothing can be said about memorization and generalization."
NO_DYNAMICS = "No student of this sweep has been measured yet, so nothing can be said about longer training."
NO_PARTS = "No size of this sweep has all its students yet, so its error cannot be split into bias and variance."
CENSORED = {
    "below": "{size} lies closer to its teacher than to its training set at its smallest N = {n_min:,} already",
    "above": "{size} lies closer to its training set than to its teacher at its largest N = {n_max:,} still",
    "unknown": "{size} lacks values",
}
VERDICTS = {
    DOUBLE_DESCENT: "E_gen falls, rises and falls again (not checked against the noise levels that training drew",
    OVERFITTING: "students learn first and then overfit (",
    MONOTONE: "E_gen moves one way only (",
    UNDETERMINED: "the course of E_gen is undetermined",
}

Row = dict[str, Any]


def scaling_sentence(analysis: ScalingAnalysis) -> str:
    """Say from how many samples on students generalize."""
    rows = _rows(analysis.crossings)
    if not rows:
        return NO_SCALING
    found = [row for row in rows if not row["censored"]]
    others = [CENSORED[row["censored"]].format(**row) for row in rows if row["censored"]]
    if not found:
        return f"E_mem and E_gen do not cross within the values of N measured: {_join(others)}."
    ends = found if len(found) == 1 else [found[0], found[-1]]
    stated = [f"N* = {row['crossing']:,.0f} ({_samples(row)}) samples on for {row['size']}" for row in ends]
    more = f"; {_join(others)}" if others else ""
    return f"Students generalize instead of memorizing from {_join(stated)}{more}."


def dynamics_sentence(analysis: DynamicsAnalysis) -> str:
    """Say which verdict holds for which N, with the interval of the move that decides it."""
    rows = [row for row in _rows(analysis.verdicts) if row["seeds"] > 0]
    if not rows:
        return NO_DYNAMICS
    several = len({row["size"] for row in rows}) > 1
    parts: list[str] = []
    for verdict, words in VERDICTS.items():
        chosen = [row for row in rows if row["verdict"] == verdict]
        if chosen:
            names = _join([f"{row['num_samples']:,}" + (f" ({row['size']})" if several else "") for row in chosen])
            parts.append(f"{'for' if parts else 'For'} N = {names} {words}{_evidence(verdict, chosen)}")
    return f"{'; '.join(parts)}."


def bias_variance_sentence(analysis: BiasVarianceAnalysis) -> str:
    """Say which part of the squared error dominates where, how both move with the size, and whether the identity holds."""
    rows = _rows(analysis.table)
    if not rows:
        return NO_PARTS
    counts = Counter(row["dominates"] for row in rows)
    said = [f"{part} in {counts[part]}" for part in ("variance", "bias") if counts[part]]
    said += [f"undetermined in {counts['undetermined']}"] if counts["undetermined"] else []
    ends = rows if len(rows) == 1 else [rows[0], rows[-1]]
    shares = [f"{_percent(row, 'share')} for {row['size']} at N = {row['num_samples']:,.0f}" for row in ends]
    cells = f"{len(rows)} combinations" if len(rows) > 1 else "1 combination"
    worst = max(row["residual"] for row in rows)
    exact = f"; bias² + variance misses E_gen² by up to {worst:.1g} of it" if worst > IDENTITY else ""
    parts = f"of {cells} of size and N the larger part of E_gen² is {_join(said)} (variance's share: {_join(shares)})"
    trend = _trend(_rows(analysis.trends))
    return f"{f'{trend}; {parts}' if trend else f'O{parts[1:]}'}{exact}."


def trade_off_sentence(frame: pd.DataFrame, cost: str, error: str, cost_name: str, name: str = "student", unit: str = "") -> str:
    """Say what lies on the front of a frame from `pareto_front`; `cost_name` is the cost in words, `name` the column of names, `unit`
    that of the error."""
    front = sorted((row for row in _rows(frame) if row["pareto"]), key=lambda row: row[cost])
    if not front:
        return f"Nothing has both an error and a number of {cost_name} yet."
    cheap, best = front[0], min(front, key=lambda row: row[error])
    units = f" {unit}" if unit else ""
    start = f"{cheap[name]} has the fewest {cost_name} ({_amount(cheap[cost])}; {error} {cheap[error]:#.3g}{units})"
    if cheap[error] == best[error]:
        return f"{start}, and none of the {len(frame)} has a smaller error."
    end = f"{best[name]} the smallest error ({best[error]:#.3g}{units}) for {_amount(best[cost])} {cost_name}"
    return f"{len(front)} of {len(frame)} students are on the Pareto front: {start}, {end}."


def _evidence(verdict: str, rows: list[Row]) -> str:
    """The move that decides a verdict, at the N where it is clearest; nothing for an undetermined one."""
    if verdict == MONOTONE:
        opposite = max(row["rise_high"] if row["fall"] >= row["rise"] else row["fall_high"] for row in rows)
        return f"a move the other way above {max(opposite, 0):.2g} is excluded)"
    if verdict == UNDETERMINED:
        return ""
    move = "second_fall" if verdict == DOUBLE_DESCENT else "rise"
    row = max(rows, key=lambda row: row[f"{move}_low"])
    where = f" at N = {row['num_samples']:,}" if len(rows) > 1 else ""
    size = f"{row[move]:#.2g} ({row[f'{move}_low']:#.2g} to {row[f'{move}_high']:#.2g})"
    if verdict == DOUBLE_DESCENT:
        return f"; the second fall, from step {row['peak_step']:,} to {row['second_dip_step']:,}{where}, is {size})"
    most = max(row["second_fall_high"] for row in rows)
    second = f"a second fall above {most:.2g} is excluded" if most > 0 else "no second fall is seen"
    return f"a rise of {size} from the dip at step {row['dip_step']:,}{where}; {second})"


def _trend(trends: list[Row]) -> str:
    """Compare the largest size with the smallest, and with nothing between."""
    along = [row for row in trends if row["along"] == "size"]
    parts = []
    for part, name in (("bias2", "bias²"), ("variance", "variance")):
        directions = [row["direction"] for row in along if row["quantity"] == part]
        words = {"falls": f"less {name}", "rises": f"more {name}"}
        said = [f"{word} at {directions.count(move)} of {len(directions)} N" for move, word in words.items() if move in directions]
        if directions:
            parts.append(_join(said) if said else f"no clearly different {name}")
    return f"{along[0]['to']} has {_join(parts)} than {along[0]['from']}" if parts else ""


def _samples(row: Row) -> str:
    """The interval of a crossing; one that leaves the grid of N is open there."""
    covers = ", over the noises alone" if row["covers"] == "noises" else ""
    low, high = row["ci_low"], row["ci_high"]
    if low > 0 and not math.isinf(high):
        return f"{low:,.0f} to {high:,.0f}{covers}"
    if low > 0:
        return f"at least {low:,.0f}{covers}"
    return f"{'not bounded' if math.isinf(high) else f'at most {high:,.0f}'}{covers}"


def _amount(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def _percent(row: Row, value: str, interval: str | None = None) -> str:
    low, high = row[f"{interval or value}_low"], row[f"{interval or value}_high"]
    return f"{100 * row[value]:.0f} %" + ("" if math.isnan(low) else f" ({100 * low:.0f} to {100 * high:.0f})")


def _rows(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _join(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
