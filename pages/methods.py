"""Methods: what every number here means and where it ends, with two Gaussians to try it on (`?shift=&spread=&steps=&noises=`)."""

from __future__ import annotations

import streamlit as st

from pages.frame.page import BIAS_VARIANCE, DYNAMICS, SCALING, page
from pfd_engine.wording.methods import (
    BIBTEX,
    DECOMPOSITION,
    DISTANCE,
    FINDINGS,
    FLOW,
    INTRODUCTION,
    NO_VERDICTS,
    NOTATION,
    NUMBERS,
    VERDICT_LIST,
    VERDICTS,
)


def show() -> None:
    """Draw the page."""
    from pages.widgets import code as folded
    from pages.widgets import html as words

    st.title("Methods")
    st.markdown(INTRODUCTION)
    st.latex(DISTANCE)
    st.latex(FLOW)
    st.markdown(NOTATION)
    example()
    st.header("The numbers, and what they do not say")
    st.html(words.facts([(name, f"{what[0].upper()}{what[1:]}. What it does not say: {limit}.") for name, what, limit in NUMBERS]))
    st.header("What the verdicts mean")
    for text in (VERDICTS, VERDICT_LIST, NO_VERDICTS):
        st.markdown(text)
    findings()
    st.header("Citation")
    st.markdown("If you use these numbers, cite the paper that introduced them:")
    folded.code("BibTeX", BIBTEX, "bibtex", "bibtex")


def example() -> None:
    """Draw the live example: two Gaussians in one dimension."""
    import numpy as np

    from pages.frame.address import Choices
    from pages.widgets import html as words
    from pfd_engine import figures
    from pfd_engine.flow.gaussian_example import SIGMA_MAX, SIGMA_MIN, Gaussian, heun, measure
    from pfd_engine.flow.solvers import sigma_grid

    st.header("Try it: two Gaussians")
    st.markdown("The teacher is N(0, 0.5²). Move the student away, and compare what a solver measures with the formula.")
    choices = Choices("methods")
    first, second = st.columns(2, gap="medium")
    with first:
        shift = choices.slide("shift", "Mean of the student", -1.0, 1.0, 0.05, 0.3)
        spread = choices.slide("spread", "Standard deviation of the student", 0.1, 1.0, 0.05, 0.7)
    with second:
        steps = round(choices.slide("steps", "Steps of the solver (Heun)", 2.0, 64.0, 1.0, 18.0, format="%d"))
        noises = round(choices.slide("noises", "Number of noises M", 16.0, 2048.0, 16.0, 256.0, format="%d"))
    teacher, student = Gaussian(0.0, 0.5), Gaussian(shift, spread)
    found = measure(teacher, student, noises, steps)
    st.html(
        words.numbers(
            [
                (
                    "PFD measured",
                    words.number(found.value),
                    f"{words.number(found.ci_low)} to {words.number(found.ci_high)}\n95 % interval",
                ),
                ("PFD by formula", words.number(found.exact), "exact flows"),
                ("Shuffled ceiling", words.number(found.shuffled), "the same end points\npaired at random"),
            ]
        )
    )
    x_T = SIGMA_MAX * np.array([-1.6, -0.9, -0.3, 0.3, 0.9, 1.6])
    sigmas = np.array(sigma_grid(steps, SIGMA_MIN, SIGMA_MAX))
    figure = figures.trajectories(sigmas, heun(teacher, x_T, steps), heun(student, x_T, steps))
    st.plotly_chart(figure, key="trajectories", config=figures.CONFIG)
    st.caption(
        "Six noises, each through both flows. Fewer noises widen the interval; fewer steps move both sides, and the distance less than "
        "either, because one solver serves both."
    )


def findings() -> None:
    """Explain the three findings."""
    st.header("The three findings")
    st.markdown(FINDINGS)
    st.latex(DECOMPOSITION)
    with st.container(horizontal=True):
        for target, label in ((SCALING, "Scaling"), (DYNAMICS, "Training dynamics"), (BIAS_VARIANCE, "Bias-variance")):
            st.page_link(target, label=label)


with page("Methods"):
    show()
