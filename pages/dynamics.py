"""Training dynamics: what does longer training do to a student of few, of just enough and of many samples? (`?run=ID&size=&steps=&n=`)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import page
from pfd_engine.findings.tables import NOTES, baselines_line, verdicts_table

if TYPE_CHECKING:
    from pages.frame.address import Choices
    from pages.reads.findings import Sweep
    from pfd_engine.findings.sweeps import Dynamics


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pages.reads import findings
    from pages.reads.cache import kept
    from pages.widgets import finding as widgets
    from pages.widgets import html as words
    from pages.widgets.exports import exports
    from pfd_engine import figures

    st.title("Training dynamics: what longer training does")
    choices = Choices("dynamics")
    sweep = widgets.choose_sweep(choices, "training-dynamics")
    if sweep is None:
        return
    found = findings.dynamics(sweep.run_id, sweep.stamp)
    widgets.headline(found.sentence, figures.COLORS["E_gen"])
    widgets.unfinished(sweep)
    if found.analysis.curves.empty:
        return
    sizes = {str(size): str(size) for size in found.analysis.curves["size"].unique()}
    size = next(iter(sizes))
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    if len(sizes) > 1 or "size" in st.query_params:
        with left:
            size = choices.pick("size", "Size", sizes, size) or size
    with right if len(sizes) > 1 else left:
        low, high = choices.span(
            "steps", "Part that is drawn: training steps", sorted(int(n) for n in found.analysis.curves["step"].unique())
        )
    unit = words.unit(found.facts.get("descriptor"))
    frame = figures.dynamics_frame(found.analysis.curves, found.analysis.verdicts, found.losses, size).query("@low <= step <= @high")
    on_point = widgets.student_of(choices, found.students)
    beside = findings.baselines(sweep.run_id)
    figure = kept(lambda: figures.dynamics(frame, unit, beside), "dynamics", sweep.run_id, sweep.stamp, size, low, high, *beside.values())
    widgets.plot(figure, "dynamics-plot", f"E_gen and losses along training. {found.sentence}", on_point)
    widgets.under_plot(found.facts, baselines_line(beside), "bands: 95 % at each step by itself, over students and noises")
    exports(frame, figure, "training-dynamics", found.facts | beside | {"run": sweep.run_id}, found.sentence)
    verdicts(found, size)
    bands(choices, sweep, found, size)
    widgets.student_wall(choices, sweep.run_id, found.students[found.students["size"] == size])
    widgets.cite("training-dynamics", found.facts, sweep.run_id)


def verdicts(found: Dynamics, size: str) -> None:
    """Draw the table of verdicts, with the steps and the moves behind each."""
    from pages.widgets import html as words

    st.header("Verdict for each N")
    st.html(words.table(*verdicts_table(found.analysis, size)))
    st.caption(NOTES["verdicts"])


def bands(choices: Choices, sweep: Sweep, found: Dynamics, size: str) -> None:
    """Draw E_gen^2 of one N, split over the bands of principal components."""
    from pages.reads.cache import kept
    from pages.widgets import finding as widgets
    from pages.widgets.exports import exports
    from pfd_engine import figures

    if found.bands.empty:
        return
    st.header("What is learned, or overfitted, when")
    values = {str(n): f"N = {n:,}" for n in sorted(found.bands.loc[found.bands["size"] == size, "num_samples"].unique())}
    turning = found.analysis.verdicts.query("size == @size and peak_step.notna()")["num_samples"]
    default = str(turning.iloc[0]) if len(turning) else next(iter(values), None)
    chosen = choices.pick("n", "Training samples", values, default, width=240)
    if chosen is None:
        return
    frame = figures.bands_frame(found.bands, found.totals, size, int(chosen))
    on_point = widgets.student_of(choices, found.students)
    figure = kept(lambda: figures.bands(frame), "bands", sweep.run_id, sweep.stamp, size, chosen)
    widgets.plot(figure, "bands-plot", f"E_gen squared along training by bands of principal components, N = {int(chosen):,}", on_point)
    st.caption(NOTES["bands"])
    widgets.under_plot(found.facts)
    title = f"E_gen squared along training by bands of principal components, {size}, N = {chosen}"
    exports(frame, figure, f"bands-{size}-{chosen}", found.facts | {"run": sweep.run_id}, title)


with page("Training dynamics"):
    show()
