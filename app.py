"""The Home page (what this is, the latest results, what to do next), and the server that `streamlit run app.py` finds."""

from __future__ import annotations

from html import escape

import streamlit as st

from pages.frame.page import CHECKPOINTS, DISTILL, EVALUATE, RESULT, is_demo, page

ORIENTATION = (
    "Distilled diffusion models are judged here by <b>probability flow distance</b> (PFD): start teacher and student from the "
    "same noise and see how far apart they end. "
    "A small PFD to the teacher means that the student generalizes; a small distance to the student's own training set means "
    "that it memorizes. "
    "Every number below was measured, with the interval that its noises allow and the images behind it."
)
LATEST = 5


def home() -> None:
    """Draw the page."""
    st.title("Does the student generalize or memorize?")
    st.html(f'<p class="lead">{ORIENTATION}</p>')
    with st.container(horizontal=True):
        if is_demo():
            st.page_link(EVALUATE, label="How to measure your own pair")
        elif st.button("Measure a pair", type="primary"):
            st.switch_page(EVALUATE)
        if not is_demo() and st.button("Distill a student"):
            st.switch_page(DISTILL)
        if not is_demo() and st.button("Inspect a checkpoint"):
            st.switch_page(CHECKPOINTS)

    found = st.container()
    latest()
    with found:  # after the rest of the page, which need not wait for an analysis
        findings()


def findings() -> None:
    """Draw the sentence of each finding that has data, with the way to its page."""
    from pages.reads.findings import PAGES, TITLES, newest_findings

    sentences = newest_findings()
    if sentences:
        st.header("What sweeps of students show")
    for experiment, sweep, sentence in sentences:
        other = f" ({sweep.name})" if sweep.name and sweep.name != experiment else ""
        st.html(f'<p class="verdict"><strong>{TITLES[experiment]}{escape(other)}</strong>: {escape(sentence)}</p>')
        st.page_link(PAGES[experiment], label=f"See {TITLES[experiment].lower()}{other}", query_params={"run": sweep.run_id})


def latest() -> None:
    """Draw the latest results."""
    from pages.reads.store import caption_of_source, latest_results, read_pairs

    results = latest_results(LATEST)
    st.header("Latest results")
    st.caption("In brackets: 95 % intervals over the noises. Distances are in data units, images in [−1, 1], unless a descriptor is named.")
    caption_of_source()
    if not results:
        st.info(
            "Nothing is published here yet."
            if is_demo()
            else "Nothing has been measured yet. Choose **Measure a pair**: the form offers the bundled digits, which take a few seconds."
        )
        return
    from pages.widgets.result import summary_card
    from pages.widgets.wall import wall

    for position, result in enumerate(results):
        with st.container(border=True):
            summary_card(result)
            if position == 0 and (strip := wall(read_pairs(result.run_id), groups=("median",), headings=False)):
                st.html(strip)
            st.page_link(RESULT, label="Open the result", query_params={"run": result.run_id})


if __name__ == "__main__":  # run by Streamlit as the page
    with page("Home"):
        home()
else:  # imported by Streamlit as the server
    from pages.frame.serving import lifespan, middleware

    app = st.App(__file__, middleware=middleware(), lifespan=lifespan)
