"""Scaling: from how many samples on does a student generalize, and how does that move with its size? (`?run=ID&axis=&a=&size=`)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.common.layout import page
from pfd_engine.finding_tables import NOTES, PAPER_EXPONENT, collapse_table, crossings_table

if TYPE_CHECKING:
    from pages.common.choices import Choices
    from pfd_engine.findings import Scaling

AXES = {"n": "N", "rescaled": "N / parametersᵃ"}
LOWEST, HIGHEST, STEP = -0.5, 1.5, 0.01
ALL = "all"


def show() -> None:
    """Draw the page."""
    from pages.common import finding_widgets as widgets
    from pages.common import findings
    from pages.common.choices import Choices
    from pages.common.kept import kept
    from pfd_engine import figures

    st.title("Scaling: from memorizing to generalizing")
    choices = Choices("scaling")
    sweep = widgets.choose_sweep(choices, "scaling")
    if sweep is None:
        return
    found = findings.scaling(sweep.run_id, sweep.stamp)
    widgets.headline(found.sentence, figures.COLORS["E_gen"])
    widgets.unfinished(sweep)
    if found.analysis.curves.empty:
        return
    exponent, size = controls(choices, found)
    unit = "data units" if found.facts.get("descriptor") == "pixel" else f"{found.facts.get('descriptor')} units"
    shown = None if size == ALL else size
    curves, crossed = found.analysis.curves, found.analysis.crossings
    key = ("scaling", sweep.run_id, sweep.stamp, exponent, shown)
    frame = kept(lambda: figures.scaling_frame(curves, crossed, exponent, shown), *key, "frame")
    figure = kept(lambda: figures.scaling(frame, exponent, unit), *key)
    widgets.plot(
        figure,
        "scaling-plot",
        f"E_gen and E_mem against the training samples. {found.sentence}",
        widgets.student_of(choices, found.students),
    )
    widgets.under_plot(found.facts, "bands and intervals: 95 %, over students and noises")
    widgets.csv(frame, "scaling")
    collapse(found)
    crossings(found)
    widgets.student_wall(choices, sweep.run_id, found.students)


def controls(choices: Choices, found: Scaling) -> tuple[float, str]:
    """Draw the switch of the axis, the exponent and the size; returns exponent (0: N itself) and size."""
    fitted = found.analysis.exponent.value
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    with left:
        axis = choices.pick("axis", "Horizontal axis", AXES, "n", draw=st.radio, horizontal=True)
    with right:
        sizes = {str(size): str(size) for size in found.analysis.crossings["size"]}
        size = choices.pick("size", "Size", {ALL: "All sizes", **sizes}, ALL) or ALL
    if axis != "rescaled":
        return 0.0, size
    default = fitted if fitted == fitted else PAPER_EXPONENT
    label = (
        f"Exponent a (fitted: {fitted:.2f}, the paper's: {PAPER_EXPONENT})"
        if fitted == fitted
        else f"Exponent a (the paper's: {PAPER_EXPONENT})"
    )
    return choices.slide("a", label, LOWEST, HIGHEST, STEP, default), size


def collapse(found: Scaling) -> None:
    """Say what exponent was fitted, and how well the curves collapse with it and with the paper's."""
    from pages.common import words

    st.subheader("Do the curves of all sizes fall onto one another?")
    if (table := collapse_table(found.analysis)) is None:
        st.info("An exponent needs at least two sizes whose curves cross.")
        return
    st.html(words.table(*table))
    st.caption(NOTES["collapse"])


def crossings(found: Scaling) -> None:
    """Draw the table of N*."""
    from pages.common import words

    st.subheader("Where E_mem and E_gen cross")
    st.html(words.table(*crossings_table(found.analysis)))
    st.caption(NOTES["crossings"])


with page("Scaling"):
    show()
