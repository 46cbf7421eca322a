"""Scaling: from how many samples on does a student generalize, and how does that move with its size? (`?run=ID&axis=&a=&size=`)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.common.layout import page

if TYPE_CHECKING:
    from pages.common.choices import Choices
    from pages.common.findings import Scaling

AXES = {"n": "N", "rescaled": "N / parametersᵃ"}
LOWEST, HIGHEST, STEP = -0.5, 1.5, 0.01
PAPER = 0.5
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
    default = fitted if fitted == fitted else PAPER
    label = f"Exponent a (fitted: {fitted:.2f}, the paper's: {PAPER})" if fitted == fitted else f"Exponent a (the paper's: {PAPER})"
    return choices.slide("a", label, LOWEST, HIGHEST, STEP, default), size


def collapse(found: Scaling) -> None:
    """Say what exponent was fitted, and how well the curves collapse with it and with the paper's."""
    from pages.common import words

    exponent, scores = found.analysis.exponent, found.analysis.collapse
    st.subheader("Do the curves of all sizes fall onto one another?")
    if exponent.value != exponent.value:
        st.info("An exponent needs at least two sizes whose curves cross.")
        return
    curves = list(dict.fromkeys(scores["curve"]))
    cells = {(row["kind"], row["curve"]): _percent(row["score"], row["ci_low"], row["ci_high"]) for row in scores.to_dict("records")}
    fitted = words.with_interval(exponent.value, exponent.ci_low, exponent.ci_high)
    rows = [
        ["fitted", fitted, *(cells["fitted", curve] for curve in curves)],
        ["the paper's", f"{PAPER:g}", *(cells["paper", curve] for curve in curves)],
        ["no rescaling", "0", *("0 %, by definition" for _ in curves)],
    ]
    st.html(words.table(["", "exponent a of N* ~ parametersᵃ", *(f"collapse of {curve}" for curve in curves)], rows))
    st.caption(
        "Collapse: the share of a curve's variance between sizes, at equal N / parametersᵃ, that rescaling removes, with its 95 % "
        "interval. Below 0, rescaling drives the curves apart."
    )


def crossings(found: Scaling) -> None:
    """Draw the table of N*."""
    from pages.common import words

    says = {"below": "below the smallest N, {n_min:,}", "above": "above the largest N, {n_max:,}", "unknown": "not known"}
    rows = []
    for row in found.analysis.crossings.to_dict("records"):
        value = says[row["censored"]].format(n_min=row["n_min"], n_max=row["n_max"]) if row["censored"] else f"{row['crossing']:,.0f}"
        low = f"{row['ci_low']:,.0f}" if row["ci_low"] > 0 else f"below {row['n_min']:,}"
        high = f"{row['ci_high']:,.0f}" if row["ci_high"] < float("inf") else f"above {row['n_max']:,}"
        interval = "–" if row["censored"] == "unknown" else f"{low} to {high}"
        rows.append([str(row["size"]), words.parameters(_integer(row["parameters"])), value, interval, f"{row['seeds']}"])
    st.subheader("Where E_mem and E_gen cross")
    st.html(words.table(["size", "parameters", "N*", "95 % interval", "student seeds"], rows))
    st.caption("Below N* a student lies closer to its training set, above it to its teacher.")


def _percent(value: float, low: float, high: float) -> str:
    """Write a share with its interval in percent; NaN where it is not defined."""
    if value != value:
        return "–"
    return f"{100 * value:.0f} %" if low != low or high != high else f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _integer(value: float) -> int | None:
    return None if value != value else int(value)


with page("Scaling"):
    show()
