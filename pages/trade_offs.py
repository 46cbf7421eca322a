"""Trade-offs: how far students lie from their teacher, against network calls, parameters or seconds (`?cost=&group=&student=`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.page import EVALUATE, is_demo, page

if TYPE_CHECKING:
    import pandas as pd

    from pages.frame.address import Choices

NOTE = "Hollow points do not keep the noise-to-image coupling: their PFD measures coupling and distribution together."
DRAWN = 600  # more points are a cloud that takes a browser a second to draw
LABELS = {"network_calls": "Network calls", "parameters": "Parameters", "seconds": "Seconds of training"}


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pages.reads import findings
    from pages.reads.cache import kept
    from pages.widgets import finding as widgets
    from pages.widgets import html as words
    from pages.widgets.exports import exports
    from pfd_engine import figures
    from pfd_engine.analysis import pareto_front, trade_off_sentence
    from pfd_engine.findings.trade_offs import with_noises
    from pfd_engine.store.queries.runs import OWN_SOURCES

    st.title("Trade-offs: error against cost")
    everything = findings.trade_offs()
    if everything.empty:
        empty()
        return
    choices = Choices("trade-offs")
    own = everything["source"].isin(OWN_SOURCES)
    if not own.all() and not choices.flag("pulled", "With what was pulled from others", not own.any()):
        everything = everything[own]
    headline = st.container()
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    with left:
        cost = choices.pick("cost", "Cost", LABELS, "parameters", draw=st.radio, horizontal=True) or "parameters"
    with right:
        groups = {str(group): str(group) for group in everything["group"].value_counts().index}
        group = choices.pick("group", "Teacher and descriptor", groups, next(iter(groups))) or next(iter(groups))
    key = ("trade-offs", findings.version(), cost, group, len(everything))
    mine = everything[everything["group"] == group]
    frame = kept(lambda: pareto_front(with_noises(mine[mine[cost].notna() & (mine[cost] > 0)]), cost, "E_gen"), *key, "frame")
    descriptor = str(mine["descriptor"].iloc[0] or "pixel")
    unit = words.unit(descriptor)
    with headline:
        sentence = kept(lambda: trade_off_sentence(frame, cost, "E_gen", figures.COSTS[cost], "name", unit), *key, "sentence")
        widgets.headline(sentence, figures.COLORS["E_gen"])
    if frame.empty:
        st.info(f"No result of this teacher states its {figures.COSTS[cost]}: choose another cost.")
        return
    known, frame = len(frame), frame[frame["pareto"] | (frame.index < DRAWN)]
    uncoupled = not frame["keeps_coupling"].all()
    figure = kept(lambda: figures.trade_offs(frame, cost, unit, NOTE.replace(": ", ":<br>") if uncoupled else ""), *key)
    alt = f"E_gen against {figures.COSTS[cost]}{'. ' + NOTE if uncoupled else ''}"
    widgets.plot(figure, "trade-offs-plot", alt, lambda data: choose(choices, data))
    missing = len(mine) - known
    left_out = f"{missing} of {len(mine)} results state no number of {figures.COSTS[cost]} and are left out" if missing else ""
    newest = f"the newest {DRAWN} of {known:,} and the whole front: the Explore page has all" if len(frame) < known else ""
    shared_time = "the time of students trained together is shared evenly between them" if cost == "seconds" else ""
    widgets.under_plot(shared(frame), noises(frame), f"{len(frame)} students, each at its last step", newest, shared_time, left_out)
    exports(frame, figure, f"trade-offs-{cost}", {}, f"E_gen against {figures.COSTS[cost]}")
    images(choices, mine)
    widgets.cite("trade-offs", shared(frame))


def choose(choices: Choices, data: list[Any]) -> None:
    """Choose the student of a selected point."""
    st.session_state[choices.key("student")] = str(data[0])


def images(choices: Choices, frame: pd.DataFrame) -> None:
    """Let the visitor choose a student, and draw its wall."""
    from pages.widgets.finding import draw_wall

    st.header("The images behind a point")
    names = dict(zip(frame["key"].astype(str), frame["name"].astype(str), strict=True))
    chosen = choices.pick(
        "student", "Student", names, None, index=None, placeholder="Select a point above, or choose a student here", width=420
    )
    if chosen is not None:
        row = frame[frame["key"] == chosen].iloc[0]
        draw_wall(str(row["run_id"]), None if row["experiment"] == "evaluation" else str(row["student"]))


def shared(frame: pd.DataFrame) -> dict[str, Any]:
    """Return what all rows share, for below the plot; what differs is named by its range or left out."""
    facts: dict[str, Any] = {}
    for name in ("teacher", "teacher_revision", "descriptor", "solver", "solver_steps", "noise_seed", "num_noises"):
        values = frame[name].dropna().unique()
        facts[name] = (int(values[0]) if name in ("solver_steps", "noise_seed", "num_noises") else values[0]) if len(values) == 1 else None
    facts["student_seeds"] = sorted(frame["student_seed"].dropna().unique())
    return facts


def noises(frame: pd.DataFrame) -> str:
    """Name the numbers of noises where they differ between rows; empty where all are equal."""
    low, high = frame["num_noises"].min(), frame["num_noises"].max()
    return "" if low == high or low != low else f"M = {int(low):,} to {int(high):,} noises"


def empty() -> None:
    """Say how to get results."""
    if is_demo():
        st.info("Nothing is published here yet.")
        return
    st.info("There is no result yet. Measure a pair on the Evaluate page, distil a student, or run a sweep; every student appears here.")
    st.page_link(EVALUATE, label="Go to Evaluate")
    st.code("python -m pfd_engine sweep scaling", language="bash", wrap_lines=True)


with page("Trade-offs"):
    show()
