"""What costs what, in one sentence computed from the Pareto front."""

from __future__ import annotations

import pandas as pd

from pfd_engine.analysis.sentences.wording import rows_of


def trade_off_sentence(frame: pd.DataFrame, cost: str, error: str, cost_name: str, name: str = "student", unit: str = "") -> str:
    """Say what lies on the front of a frame from `pareto_front`; `cost_name` is the cost in words, `name` the column of names, `unit`
    that of the error."""
    front = sorted((row for row in rows_of(frame) if row["pareto"]), key=lambda row: row[cost])
    if not front:
        return f"Nothing has both an error and a number of {cost_name} yet."
    cheap, best = front[0], min(front, key=lambda row: row[error])
    units = f" {unit}" if unit else ""
    start = f"{cheap[name]} has the fewest {cost_name} ({_amount(cheap[cost])}; {error} {cheap[error]:#.3g}{units})"
    if cheap[error] == best[error]:
        return f"{start}, and none of the {len(frame)} has a smaller error."
    end = f"{best[name]} the smallest error ({best[error]:#.3g}{units}) for {_amount(best[cost])} {cost_name}"
    return f"{len(front)} of {len(frame)} students are on the Pareto front: {start}, {end}."


def _amount(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"
