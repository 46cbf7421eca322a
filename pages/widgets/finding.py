"""What the finding pages draw in common: which sweep, the sentence, what stands under a plot, the CSV, and one student's wall."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.address import Choices
from pages.frame.page import COMPARE, RESULT, is_demo
from pages.reads.findings import PAGES, TITLES, Sweep, find_sweep, sweeps
from pages.widgets import code as folded
from pages.widgets import html as words
from pfd_engine.findings.tables import shared_line, students_table

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MOST_ROWS = 100
COMMANDS = {"scaling": "sweep scaling", "training-dynamics": "sweep training-dynamics", "bias-variance": "sweep bias-variance"}


def choose_sweep(choices: Choices, experiment: str) -> Sweep | None:
    """Let the visitor choose a sweep of an experiment, in the order of `sweep_queries.sweep_runs`.

    Says how to get one and returns None where there is none.
    """
    found = sweeps(experiment)
    sent_elsewhere(experiment)
    if not found:
        st.info(
            "Nothing is published here yet."
            if is_demo()
            else f"No {TITLES[experiment].lower()} sweep has been measured in this workspace yet."
        )
        st.caption("On your own machine, this command trains and measures the students; the page fills while it runs.")
        st.code(f"python -m pfd_engine {COMMANDS[experiment]}", language="bash", wrap_lines=True)
        return None
    by_id = {sweep.run_id: sweep for sweep in found}
    labels = {sweep.run_id: _label(sweep) for sweep in found}
    if len(found) > 1 or st.query_params.get("run", found[0].run_id) != found[0].run_id:
        chosen = choices.pick("run", "Sweep", labels, found[0].run_id, always=True)
    else:
        chosen = found[0].run_id
    sweep = by_id[chosen or found[0].run_id]
    choices.keep("run", sweep.run_id)  # a link names its sweep even where that is the one shown without one
    return sweep


def sent_elsewhere(experiment: str) -> None:
    """Say where the sweep that the link asks for is shown, if it is one of another experiment, and take it out of the address."""
    asked = find_sweep(st.query_params.get("run", ""))
    if asked is None or asked[0] == experiment:
        return
    other, sweep = asked
    name = f" ({sweep.name})" if sweep.name and sweep.name != other else ""
    st.warning(words.markdown(f"The link asks for a {TITLES[other].lower()} sweep{name}, which has a page of its own."))
    st.page_link(PAGES[other], label=f"See this sweep under {TITLES[other]}", query_params={"run": sweep.run_id})
    del st.query_params["run"]


def headline(sentence: str, color: str) -> None:
    """Draw the one sentence that the data say."""
    st.html(f'<p class="verdict" style="--mark:{color}">{escape(sentence)}</p>')


def unfinished(sweep: Sweep) -> None:
    """Say that a sweep still grows, never finished, or is somebody else's."""
    if sweep.is_pulled:
        st.caption(words.markdown(f"Results of others, {words.source(sweep.source)}. The sentence was computed here, from their rows."))
    if sweep.state in ("queued", "running"):
        st.caption("This sweep is still running: what is shown is what it has measured so far.")
    elif sweep.state != "finished":
        st.caption(f"This sweep is {sweep.state}: what is shown is what it had measured before.")


def under_plot(facts: Mapping[str, Any], *more: str) -> None:
    """Name what all numbers of a plot share: noises, descriptor, solver, teacher, students."""
    st.caption(words.markdown(shared_line(facts, *more)))


def plot(
    figure: go.Figure, key: str, alt: str, on_point: Callable[[list[Any]], None], hint: str = "Select a point to see its images below."
) -> None:
    """Draw a figure; `on_point` is called with the `customdata` of a point that the visitor selects, which `hint` tells."""
    from pfd_engine.figures import CONFIG

    def selected() -> None:
        points = st.session_state[key].get("selection", {}).get("points", [])
        data = next((point["customdata"] for point in points if point.get("customdata")), None)
        if data is not None:
            on_point([data[name] for name in sorted(data, key=int)] if isinstance(data, Mapping) else list(data))

    st.plotly_chart(figure, key=key, config=CONFIG, alt=alt, on_select=selected, selection_mode="points")
    st.caption(hint)


def cite(experiment: str, facts: Mapping[str, Any], run_id: str | None = None) -> None:
    """Draw how to report a finding."""
    from pages.reads.store import the_store
    from pages.widgets.exports import citation
    from pfd_engine.store.queries import runs as store_queries
    from pfd_engine.wording.citation import bibtex, methods_of_finding

    run = (store_queries.run(the_store(), run_id) if run_id else None) or {}
    citation(methods_of_finding(experiment, facts, run), bibtex(run))


def student_of(choices: Choices, students: pd.DataFrame) -> Callable[[list[Any]], None]:
    """Return what a selected point does: its size and N, the first two of its `customdata`, choose their first student."""

    def choose(data: list[Any]) -> None:
        size, num_samples = data[:2]
        found = students[(students["size"] == size) & (students["num_samples"] == num_samples)]
        if len(found):
            st.session_state[choices.key("student")] = str(found["student"].iloc[0])

    return choose


def student_wall(choices: Choices, run_id: str, students: pd.DataFrame) -> None:
    """Let the visitor choose a student, here or by a point of a plot, and draw its same-noise wall with a link to its run."""
    st.header("The images behind a point")
    names = {name: words.student(name) for name in students["student"]}
    chosen = choices.pick(
        "student", "Student", names, None, index=None, placeholder="Select a point above, or choose a student here", width=420
    )
    if chosen is not None:
        row = students[students["student"] == chosen].iloc[0]
        alike = students[(students["size"] == row["size"]) & (students["num_samples"] == row["num_samples"])]
        if len(alike) > 1:
            st.caption(f"One of {len(alike)} students of this size and N, which differ in their seed: the list has the others.")
        draw_wall(run_id, chosen)


def draw_wall(run_id: str, student: str | None) -> None:
    """Draw the same-noise wall of a run, or of one student of a sweep, and link to the run."""
    from pages.reads.store import read_pairs
    from pages.widgets.wall import wall

    if drawn := wall(read_pairs(run_id, student)):
        last = " The images are those of its last training step." if student else ""
        st.caption(f"Each column starts from one noise. Below it: the distance between teacher and student.{last}")
        st.html(f'<div class="wall-few">{drawn}</div>' if student else drawn)  # a sweep keeps few pairs of each student
        st.page_link(COMPARE, label="Compare it with others", query_params={"item": f"{run_id}|{student}" if student else run_id})
    else:
        st.info("No images were kept here: this student has not finished, or its samples are not pictures of one or three channels.")
    st.page_link(RESULT, label="Open its run", query_params={"run": run_id})


def _label(sweep: Sweep) -> str:
    parts = [sweep.name or sweep.run_id, words.count(sweep.students, "student"), words.ago(sweep.created)]
    return " · ".join(part for part in (*parts, words.source(sweep.source)) if part)


def students(sweep: Sweep) -> None:
    """Draw the table of a sweep's students, by size and N."""
    from pages.reads.store import the_store
    from pfd_engine.store.queries.sweeps import sweep_distances, sweep_measurements

    table = students_table(sweep_measurements(the_store(), sweep.run_id), sweep_distances(the_store(), sweep.run_id))
    if not table.rows:
        return
    st.header("Its students")
    st.html(words.table(table.headings, table.rows[:MOST_ROWS]))
    more = f" {words.count(len(table.rows) - MOST_ROWS, 'row')} more: see what it found." if len(table.rows) > MOST_ROWS else ""
    st.caption(f"E_gen at the last training step: the mean over the student seeds with its 95 % interval over them.{more}")


def sweep_result(experiment: str, sweep: Sweep) -> None:
    """Draw what a finished sweep measured, where it came from, and the way to its finding."""
    from pages.frame.page import alert
    from pages.reads.store import the_store
    from pfd_engine.store.queries import runs as store_queries

    run = store_queries.run(the_store(), sweep.run_id) or {}
    result = run.get("result") if isinstance(run.get("result"), dict) else {}
    st.markdown(f"**{words.markdown(sweep.name or sweep.run_id)}**: {TITLES[experiment].lower()}, {words.count(sweep.students, 'student')}")
    st.page_link(PAGES[experiment], label="See what it found", query_params={"run": sweep.run_id})
    for group, reason in ((result or {}).get("failed") or {}).items():
        st.html(alert(f"group {group} failed and is left out: {reason}"))
    for student in (result or {}).get("diverged") or ():
        st.html(alert(f"{words.student(student)} is left out: its numbers were not finite"))
    students(sweep)
    rows = [
        ("Teacher", sweep.teacher),
        ("Time taken", words.duration(run.get("seconds"))),
        ("Device", str(run.get("device") or "–")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items()) or "–"),
        ("Git commit", str(run.get("git_commit") or "–")),
        ("Run", sweep.run_id),
    ]
    if pulled := sweep.is_pulled and words.source(sweep.source):
        rows.insert(0, ("Source", pulled))
    st.header("Where this comes from")
    st.html(words.facts(rows))
    if run.get("command"):
        folded.code("The same from the command line", run["command"], "bash", "command")
