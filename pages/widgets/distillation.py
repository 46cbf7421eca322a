"""What the Result page says of a student that was distilled here: its training, its errors at other steps, what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from pages.widgets import html as words
from pages.widgets.provenance import pinned
from pages.widgets.result import COUPLING, Number, Result, as_float, mapping, percent
from pfd_engine.configs.distill import DistillConfig
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.jobs.access import mode


def evaluations(result: Result) -> None:
    """Draw the table of a few-step student's errors, a row for each number of its own steps; nothing for any other student."""
    found = [mapping(row) for row in result.summary.distillation.get("evaluations") or []]
    if len(found) < 2:
        return
    asked = found[0]
    found.sort(key=lambda row: as_float(row.get("student_steps")) or 0.0)
    counts = [str(row.get("student_steps")) for row in found]
    st.header(f"At {', '.join(counts[:-1])} and {counts[-1]} steps of its own")
    st.caption("The same teacher and noises throughout. All else on this page is about the highlighted row.")
    linked = any(_link(result, row) for row in found)
    head = "<th>Student steps</th><th>PFD to the teacher</th><th>E_mem</th><th>Memorization ratio</th>" + ("<th></th>" if linked else "")
    rows = "".join(f"<tr{_current(row is asked)}>{_cells(result, row, linked)}</tr>" for row in found)
    st.html(words.scrolled(f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>', "Table of evaluations"))


def _current(asked: bool) -> str:
    return ' aria-current="true"' if asked else ""


def _cells(result: Result, row: Mapping[str, Any], linked: bool) -> str:
    note = f"<small>{escape(COUPLING)}</small>" if row.get("coupling_note") else ""
    memorization = mapping(row.get("memorization"))
    e_mem, share = _number(memorization, "e_mem"), _number(memorization, "memorization_ratio", "memorization_ratio_")
    cells = [
        str(row.get("student_steps") or "–"),
        f"{escape(str(_number(row, 'value')))}{note}",
        escape(str(e_mem)) + (note if e_mem.value is not None else ""),
        escape(percent(share)),
    ]
    if linked:
        link = _link(result, row)
        cells.append(f'<a href="{escape(link)}">Evaluate again</a>' if link else "")
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _number(values: Mapping[str, Any], name: str, prefix: str = "") -> Number:
    return Number(as_float(values.get(name)), None, as_float(values.get(f"{prefix}ci_low")), as_float(values.get(f"{prefix}ci_high")))


def training(result: Result) -> None:
    """Draw how the student was trained: the curve of its loss, and the settings beside it."""
    from pages.reads.store import training_curve
    from pfd_engine import figures

    st.header("How it was trained")
    curves = training_curve(result.summary.run_id)
    loss = curves[curves["metric"] == "train_loss"] if len(curves) else curves
    left, right = st.columns([3, 2], gap="medium") if len(loss) else (None, st.container())
    with right:
        st.html(words.facts(settings(result)))
    if left is not None:
        with left:
            st.plotly_chart(figures.training_curve(loss), key="training-curve", config=figures.CONFIG)


def settings(result: Result) -> list[tuple[str, str]]:
    """Return what the student learned, from what and how long, as names and values."""
    made, config = result.summary.distillation, result.config
    objective = str(made.get("objective"))
    what = f"{objective}: {OBJECTIVES[objective].what}" if objective in OBJECTIVES else objective
    samples, steps = made.get("num_samples"), made.get("steps")
    rows = [
        ("Student's folder", str(made.get("student") or "–")),
        ("Size", f"{made.get('size')}, {words.parameters(mapping(result.details.get('student')).get('parameters'))} parameters"),
        ("Objective", what),
        ("N", f"{samples:,} of the teacher's samples" if isinstance(samples, int) else "–"),
        ("Training set", str(made.get("training_set") or "–")),
        ("Steps", f"{steps:,}" if isinstance(steps, int) else "–"),
        ("Initial weights", str(made.get("initialized") or "–")),
    ]
    if isinstance(config, DistillConfig):
        batch = config.batch_size or config.preset.batch_size
        rows += [
            ("Images seen", f"{(config.steps or config.preset.steps) * batch:,} in batches of {batch:,}"),
            ("Learning rate", f"{config.learning_rate or config.preset.learning_rate:g}, {config.schedule or config.preset.schedule}"),
            ("Seed", str(config.seed)),
        ]
    return rows


def next_steps(result: Result) -> None:
    """Offer to evaluate the student again, and show how it is put on the Hub, where its folder is still there."""
    student = str(result.summary.distillation.get("student") or "")
    link = _link(result, {"student": student, "student_steps": result.details.get("student_steps")})
    if not link:
        return
    st.header("Use the student")
    st.html(f'<a class="open-result" href="{escape(link)}">Evaluate it again</a>, with other noises, another solver or another descriptor.')
    st.caption("Put it on the Hub, with a card that states these numbers")
    st.code(f"python -m pfd_engine push {student} owner/name", language="bash", wrap_lines=True)


def _link(result: Result, row: Mapping[str, Any]) -> str:
    """Return the address of the Evaluate form filled with a student of this run; empty where no folder may be named, or it is gone."""
    student = str(row.get("student") or "")
    if mode() != "local" or not student or not Path(student).expanduser().is_dir():
        return ""
    fields = {"teacher": pinned(result, "teacher", result.summary.teacher), "student": student}
    if steps := row.get("student_steps"):
        fields["student_steps"] = str(steps)
    return f"evaluate?{urlencode(fields)}"
