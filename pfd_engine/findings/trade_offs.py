"""What the trade-offs compare: every student's error with what it costs to run and to train."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.store.database import Store
from pfd_engine.store.queries.sweeps import trade_off_rows
from pfd_engine.wording import numbers as words

if TYPE_CHECKING:
    import pandas as pd


def trade_off_frame(store: Store, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Return every student's error with its costs: the columns of `sweep_queries.trade_off_rows`, and `network_calls`,
    `keeps_coupling`, `name`, `key` (unique) and `group` (teacher and descriptor: what can be compared)."""
    frame = trade_off_rows(store, run_ids)
    added = []
    for row in frame.to_dict("records"):
        calls, keeps = _calls_and_coupling(row)
        steps = row["student_steps"]
        of_sweep = row["experiment"] != "evaluation"
        trained = f"{row['size']} {row['objective']}" if "/runs/distill-" in row["student"] and row["size"] else words.short(row["student"])
        name = words.student(row["student"]) if of_sweep else trained + ("" if _missing(steps) else f", {words.count(int(steps), 'step')}")
        name += f" ({words.source(row['source'])})" if row["source"] not in ("workspace", "published") else ""
        revision = words.short_revision(row["teacher_revision"] or "")
        group = f"{words.short(row['teacher'])}{f'@{revision}' if revision else ''}, {row['descriptor'] or 'pixel'}"
        added.append((calls, keeps, name, f"{row['run_id']}|{row['student']}|{'' if _missing(steps) else int(steps)}", group))
    frame[["network_calls", "keeps_coupling", "name", "key", "group"]] = added or None
    return frame.drop(columns="result")


def with_noises(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows numbered anew, their names with the number of noises M where that differs between them."""
    frame = frame.reset_index(drop=True)
    if frame["num_noises"].nunique() < 2:
        return frame
    counts = frame["num_noises"].map(lambda count: "" if count != count else f", M = {int(count):,}")
    return frame.assign(name=frame["name"] + counts)


def _calls_and_coupling(row: Mapping[Any, Any]) -> tuple[float, bool]:
    """Return the student's network calls a noise (NaN: not known), and whether its sampler keeps the link with the starting noise."""
    objective, steps, solver = row["objective"], row["student_steps"], SOLVERS.get(str(row["solver"]))
    keeps = objective != "distribution-matching" and not (objective == "consistency" and not _missing(steps) and steps > 1)
    result = json.loads(row["result"]) if isinstance(row["result"], str) else {}
    own = None if _missing(steps) else int(steps)
    shorts = [short for short in (result.get("distillation") or {}).get("evaluations") or [] if isinstance(short, dict)]
    about = [short for short in shorts if (short.get("student"), short.get("student_steps")) == (row["student"], own)]
    if not shorts and result.get("student_steps") == own:
        about = [result]
    mine = about[0] if about else {}
    keeps = keeps and not mine.get("coupling_note")
    calls = (mine.get("network_calls") or {}).get("student")
    if isinstance(calls, int):
        return float(calls), keeps
    if _missing(steps):
        return (float("nan") if solver is None else float(solver.network_calls(int(row["solver_steps"])))), keeps
    return float(steps), keeps


def _missing(value: object) -> bool:
    return value is None or value != value
