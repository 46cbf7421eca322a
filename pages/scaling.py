"""Scaling: from how many samples on does a student generalize, and how does that move with its size? (`?run=ID&axis=&a=&size=&n=`)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import page
from pfd_engine.findings.tables import NOTES, PAPER_EXPONENT, baselines_line, collapse_table, crossings_table

if TYPE_CHECKING:
    import pandas as pd

    from pages.frame.address import Choices
    from pfd_engine.findings.sweeps import Scaling

AXES = {"n": "N", "rescaled": "N / parametersᵃ"}
LOWEST, HIGHEST, STEP = -0.5, 1.5, 0.01
ALL = "all"


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pages.reads import findings
    from pages.reads.cache import kept
    from pages.widgets import finding as widgets
    from pages.widgets import html as words
    from pages.widgets.exports import exports
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
    exponent, size, (low, high) = controls(choices, found)
    unit = words.unit(found.facts.get("descriptor"))
    shown = None if size == ALL else size
    curves, crossed = found.analysis.curves, found.analysis.crossings
    key = ("scaling", sweep.run_id, sweep.stamp, exponent, shown, low, high)
    frame = kept(lambda: _between(figures.scaling_frame(curves, crossed, exponent, shown), low, high), *key, "frame")
    beside = findings.baselines(sweep.run_id)
    figure = kept(lambda: figures.scaling(frame, exponent, unit, beside), *key, *beside.values())
    widgets.plot(
        figure,
        "scaling-plot",
        f"E_gen and E_mem against the training samples. {found.sentence}",
        widgets.student_of(choices, found.students),
    )
    widgets.under_plot(found.facts, baselines_line(beside), "bands and intervals: 95 %, over students and noises")
    exports(frame, figure, "scaling", found.facts | beside | {"run": sweep.run_id}, found.sentence)
    crossings(found)
    collapse(found)
    widgets.student_wall(choices, sweep.run_id, found.students)
    widgets.cite("scaling", found.facts, sweep.run_id)


def _between(frame: pd.DataFrame, low: int, high: int) -> pd.DataFrame:
    return frame[frame["num_samples"].between(low, high)].reset_index(drop=True)


def controls(choices: Choices, found: Scaling) -> tuple[float, str, tuple[int, int]]:
    """Draw the switch of the axis, the size, what part is drawn, and the exponent; returns exponent (0: N itself), size and ends of N."""
    fitted = found.analysis.exponent.value
    left, middle, right = st.columns(3, gap="medium", vertical_alignment="bottom")
    with left:
        axis = choices.pick("axis", "Horizontal axis", AXES, "n", draw=st.radio, horizontal=True)
    with middle:
        sizes = {str(size): str(size) for size in found.analysis.crossings["size"]}
        size = choices.pick("size", "Size", {ALL: "All sizes", **sizes}, ALL) or ALL
    with right:
        ends = choices.span("n", "Part that is drawn: N", sorted(int(n) for n in found.analysis.curves["num_samples"].unique()))
    if axis != "rescaled":
        return 0.0, size, ends
    default = fitted if fitted == fitted else PAPER_EXPONENT
    label = (
        f"Exponent a (fitted: {fitted:.2f}, the paper's: {PAPER_EXPONENT})"
        if fitted == fitted
        else f"Exponent a (the paper's: {PAPER_EXPONENT})"
    )
    return choices.slide("a", label, LOWEST, HIGHEST, STEP, default), size, ends


def crossings(found: Scaling) -> None:
    """Draw the table of N*, and what stands behind the sentence."""
    from pages.widgets import html as words
    from pfd_engine.analysis import scaling_details

    st.header("Where E_mem and E_gen cross")
    st.html(words.table(*crossings_table(found.analysis)))
    st.caption(NOTES["crossings"])
    if details := scaling_details(found.analysis):
        st.markdown("\n".join(f"- {words.markdown(said)}" for said in details))


def collapse(found: Scaling) -> None:
    """Draw how well the curves collapse with the fitted exponent and with the paper's."""
    from pages.widgets import html as words
    from pfd_engine.analysis import collapse_sentence

    st.header("Do the curves of all sizes fall onto one another?")
    if (table := collapse_table(found.analysis)) is None:
        st.info("This needs at least two sizes whose number of parameters is known.")
        return
    st.html(words.table(*table))
    st.caption(NOTES["collapse"])
    if said := collapse_sentence(found.analysis):
        st.markdown(words.markdown(said))


with page("Scaling"):
    show()
