"""Bias-variance: is a student's error bias or variance, and how do both move with its size and its samples? (`?run=ID&n=&size=`)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import page
from pfd_engine.findings.tables import NOTES, parts_table

if TYPE_CHECKING:
    from pages.frame.address import Choices
    from pages.reads.findings import Sweep
    from pfd_engine.findings.sweeps import BiasVariance


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pages.reads import findings
    from pages.widgets import finding as widgets
    from pfd_engine import figures

    st.title("Bias and variance of students")
    choices = Choices("bias-variance")
    sweep = widgets.choose_sweep(choices, "bias-variance")
    if sweep is None:
        return
    found = findings.bias_variance(sweep.run_id, sweep.stamp)
    widgets.headline(found.sentence, figures.COLORS["variance"])
    widgets.unfinished(sweep)
    if found.analysis.table.empty:
        return
    table = found.analysis.table
    left, right = st.columns(2, gap="large")
    with left:
        values = {str(n): f"N = {n:,}" for n in sorted(table["num_samples"].unique())}
        chosen = choices.pick("n", "Against size, at", values, next(reversed(values)))
        panel(choices, sweep, found, "size", int(chosen or next(reversed(values))))
    with right:
        sizes = {str(name): label(str(name), count) for name, count in table.groupby("size", sort=False)["parameters"].first().items()}
        size = choices.pick("size", "Against N, for", sizes, next(reversed(sizes)))
        panel(choices, sweep, found, "num_samples", size or next(reversed(sizes)))
    st.caption(NOTES["parts"])
    widgets.under_plot(found.facts, "intervals: 95 %, over students and noises")
    numbers(found)
    widgets.student_wall(choices, sweep.run_id, found.students)
    widgets.cite("bias-variance", found.facts, sweep.run_id)


def label(name: str, parameters: float) -> str:
    """Name a size with its number of parameters, where that is known."""
    from pages.widgets import html as words

    return f"{name} ({words.parameters(int(parameters))} parameters)" if parameters == parameters else name


def panel(choices: Choices, sweep: Sweep, found: BiasVariance, along: str, at: str | int) -> None:
    """Draw one stacked figure, and offer it as a file."""
    from pages.reads.cache import kept
    from pages.widgets import finding as widgets
    from pages.widgets.exports import exports
    from pfd_engine import figures

    frame = figures.parts_frame(found.analysis.table, along, at)
    alt = f"Bias squared and variance stacked against {'size' if along == 'size' else 'N'}, at {at}. {found.sentence}"
    figure = kept(lambda: figures.parts(frame, along), "parts", sweep.run_id, sweep.stamp, along, at)
    widgets.plot(figure, f"parts-{along}", alt, widgets.student_of(choices, found.students))
    exports(frame, figure, f"bias-variance-{at}", found.facts | {"run": sweep.run_id}, alt)


def numbers(found: BiasVariance) -> None:
    """Draw the table of every size and N."""
    from pages.widgets import html as words

    st.header("All sizes and N")
    st.html(words.table(*parts_table(found.analysis)))


with page("Bias-variance"):
    show()
