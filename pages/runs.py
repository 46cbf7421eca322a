"""Runs: what is queued, running and done in this workspace, refreshed while something moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import EVALUATE, RESULT, alert, boundary, is_demo, live, page
from pfd_engine.errors import InputError

if TYPE_CHECKING:
    from pfd_engine.runs.folder import Run
    from pfd_engine.runs.status import Status

PER_PAGE = 15
COLORS = {"queued": "gray", "running": "primary", "finished": "green", "failed": "red", "cancelled": "orange"}


def runs() -> None:
    """Draw the page."""
    st.title("Runs")
    if is_demo():
        st.info(
            "This is a read-only demo, where nothing runs. Here the runs of a workspace would stand, queued, running and done, with their "
            "progress, log and command. On your own machine, the first command opens the app; the second works on queued runs without it."
        )
        st.code("make run\npython -m pfd_engine worker", language="bash", wrap_lines=True)
        st.page_link(RESULT, label="Published results")
        return
    table()


@live(2)
def table() -> None:
    """Draw the runs, newest first; this fragment refreshes itself."""
    from pages.reads.store import see_to_worker
    from pages.widgets import html as words
    from pfd_engine.runs.folder import list_runs
    from pfd_engine.workspace import Workspace

    everything = list_runs(Workspace.from_environment())
    if not everything:
        st.info("No run yet. Name a teacher and a student on the Evaluate page, and it will appear here.")
        st.page_link(EVALUATE, label="Go to Evaluate")
        return
    shown = min(len(everything), st.session_state.get("runs_shown", PER_PAGE))
    of = words.count(len(everything), "run")
    st.caption(f"{shown} of {of}, newest first" if shown < len(everything) else f"{of}, newest first")
    for run in everything[:shown]:
        with st.container(border=True, key=f"card-{run.id}"), boundary("run"):
            see_to_worker(run)
            card(run)
    if shown < len(everything) and st.button("Show more"):
        st.session_state["runs_shown"] = shown + PER_PAGE
        st.rerun(scope="fragment")


def card(run: Run) -> None:
    """Draw one run: what it measures or trains, how far it is, and what can be done about it."""
    from pages.widgets import html as words
    from pages.widgets.progress import bar

    status, values = run.status, run.config_values
    kind = {"distill": " :blue-badge[distillation]", "sweep": " :violet-badge[sweep]"}.get(str(values.get("kind")), "")
    st.markdown(f":{COLORS[status.state]}-badge[{status.state}]{kind} {words.run_title(values)}")
    if apart := words.settings(values):
        st.caption(words.markdown(apart))
    bar(status)
    if status.message and status.state == "failed":
        st.html(alert(status.message))
    with st.container(horizontal=True, vertical_alignment="center"):
        actions(run, status)
    more = st.expander("Command and log" if mine(run) else "Command", type="compact", key=f"more-{run.id}", on_change="rerun")
    if more.open:
        with more:
            details(run)


def actions(run: Run, status: Status) -> None:
    """Draw the buttons that fit the state of a run, those that change it for the one who launched it."""
    from pfd_engine.jobs import launch as launching

    if status.state == "finished":
        st.page_link(RESULT, label="Open the result", query_params={"run": run.id})
    elif status.state in ("queued", "running"):
        st.page_link(RESULT, label="Watch", query_params={"run": run.id})
        if mine(run) and st.button("Cancel", key=f"cancel-{run.id}", disabled=run.cancel_requested):
            change(launching.cancel, run)
    elif readable(run):
        if mine(run) and st.button("Try again", key=f"retry-{run.id}"):
            change(launching.try_again, run)
        from pages.forms.launch import form_link

        page, fields = form_link(run.values_here)
        st.page_link(page, label="Change it", query_params=fields)


def mine(run: Run) -> bool:
    """Whether this visitor may change a run."""
    from pages.frame.sign_in import visitor
    from pfd_engine.jobs.access import Policy, may_change

    return may_change(Policy.from_environment(), visitor(), run.owner)


def change(action: Callable[[Run, str | None], None], run: Run) -> None:
    """Do something to a run on behalf of this visitor, which is asked and noted anew, and draw the runs again."""
    from pages.frame.sign_in import visitor

    try:
        action(run, visitor())
    except InputError as error:
        st.html(alert(str(error)))
        return
    st.rerun(scope="fragment")


def readable(run: Run) -> bool:
    """Whether the configuration of a run can be read, so that it can be tried again."""
    try:
        return run.config is not None
    except InputError:
        return False


def details(run: Run) -> None:
    """Draw the equal command line and the end of the log."""
    from html import escape

    st.caption(f"Run {run.id}")
    try:
        st.code(run.config.command(), language="bash", wrap_lines=True)
    except InputError as error:
        st.html(alert(str(error)))
    if not mine(run):
        return
    log = run.log_tail(30)
    st.html(f'<pre class="log">{escape(log)}</pre>' if log.strip() else "<small>The log is empty.</small>")


with page("Runs"):
    runs()
