"""Shared results: what was pulled from others, a field to pull more, and a form that publishes one's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.page import RESULT, alert, page
from pfd_engine.jobs.access import mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pages.frame.address import Choices
    from pfd_engine.sharing.pull import Pulled

LISTED, OFFERED = 8, 200
FIRST_LICENSE = "cc-by-4.0"
LICENSES = {name: name for name in (FIRST_LICENSE, "cc-by-sa-4.0", "cc0-1.0", "apache-2.0", "mit", "odc-by")}


def shared() -> None:
    """Draw the page."""
    from pages.frame.address import Choices

    st.title("Shared results")
    if mode() != "local":  # a server for others must not lend them its token, its disk or its network
        st.info("This server neither pulls nor publishes. On your own machine, the app and these commands do.")
        st.code("python -m pfd_engine pull owner/name\npython -m pfd_engine publish owner/name --all", language="bash", wrap_lines=True)
        return
    st.caption(
        "Results of others, opened beside your own: checked before they are shown, marked with their source, never mixed with yours."
    )
    choices = Choices("shared")
    pull_form(choices)
    pulled_list()
    publish_form(choices)


def pull_form(choices: Choices) -> None:
    """Draw the field of a reference and the button that pulls it; what cannot be pulled is said beside the field."""
    from pages.reads.store import refresh
    from pages.widgets.html import markdown
    from pfd_engine.errors import PFDError

    st.header("Pull")
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    with left:
        reference = choices.text(
            "reference", "Data set on the Hub, or folder", placeholder="owner/name[@revision], or a path that starts with . / or ~"
        )
    if reference:
        st.code(shlex.join(["python", "-m", "pfd_engine", "pull", reference]), language="bash", wrap_lines=True)
    below = st.container()
    if message := st.session_state.pop("shared-message", None):
        below.success(markdown(message))
    if not right.button("Pull", type="primary", width="stretch", key="pull"):
        return
    from pfd_engine.sharing import pull as pulling
    from pfd_engine.workspace import Workspace

    try:
        with below:
            pulled = pulling.pull(Workspace.from_environment(), reference, progress({"download": "Downloading", "check": "Checking"}))
    except PFDError as error:
        below.html(alert(str(error)))
        return
    refresh()
    st.session_state["shared-message"] = f"{pulled.source} is open now, with {pulled.runs:,} runs."
    st.rerun()


def progress(phases: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    """Draw a bar and return what moves it; `phases` are the names of events as people say them."""
    bar = st.progress(0.0, "Starting…")

    def show(event: dict[str, Any]) -> None:
        if event.get("type") == "progress":
            done, total = event.get("done") or 0, event.get("total") or 0
            bar.progress(min(1.0, done / total) if total else 0.0, f"{phases.get(str(event.get('phase')), 'Working')}…")

    return show


def pulled_list() -> None:
    """Draw what has been pulled, the newest first."""
    from pages.reads.store import caption_of_source
    from pfd_engine.sharing.pull import list_pulled
    from pfd_engine.workspace import Workspace

    found = list_pulled(Workspace.from_environment())
    if not found:
        st.info("Nothing has been pulled yet. Whoever publishes results names a data set as owner/name: put that name above.")
    for position, pulled in enumerate(found):
        with st.container(border=True):
            one_pulled(pulled, position)
    caption_of_source()


def one_pulled(pulled: Pulled, position: int) -> None:
    """Draw one set of results: where it is from, links to its newest runs, and the way to forget it."""
    from pages.reads.store import the_store
    from pages.widgets import html as words

    store = the_store()
    ((visible,),) = (row.values() for row in store.rows("select count(*) as runs from runs where source = ?", [pulled.source]))
    hidden = pulled.runs - visible
    st.markdown(f"**{words.markdown(pulled.source)}**")
    notes = [
        words.count(pulled.runs, "run"),
        f"{pulled.rows.get('measurements', 0):,} numbers",
        f"revision {words.short_revision(pulled.revision)}",
        f"pulled {words.ago(pulled.pulled)}",
        f"license {pulled.license or 'not stated'}",
    ]
    st.caption(words.markdown(" · ".join(notes)))
    if hidden > 0:
        st.caption(f"Not shown of these: {words.count(hidden, 'run')} whose id is here already.")
    rows = store.rows(
        "select run_id, kind, teacher, student, config from runs where source = ? order by created desc nulls last limit ?",
        [pulled.source, LISTED],
    )
    for row in rows:
        st.page_link(RESULT, label=words.markdown(label(row)), query_params={"run": row["run_id"]})
    if visible > len(rows):
        st.caption(f"and {visible - len(rows):,} more, among the results and findings")
    with st.popover("Remove"):
        st.markdown("The rows go from this workspace. What was published stays where it is.")
        if st.button("Remove these results", key=f"remove-{position}"):
            forget(pulled)


def forget(pulled: Pulled) -> None:
    """Remove what was pulled and draw the page anew."""
    from pages.reads.store import refresh
    from pfd_engine.sharing.pull import remove
    from pfd_engine.workspace import Workspace

    remove(Workspace.from_environment(), pulled.source)
    refresh()
    st.session_state["shared-message"] = f"{pulled.source} was removed."
    st.rerun()


def label(row: dict[str, Any]) -> str:
    """Name a run in plain text: its kind, and what it measures or trains."""
    import json

    from pages.widgets import html as words

    config = json.loads(row["config"]) if row["config"] else {}
    models = (str(row["teacher"]), str(row["student"]))
    if row["kind"] == "sweep":
        return f"sweep {str(config.get('name') or row['run_id'])[:60]}"
    teacher, student = (name.rpartition("/")[2] if name.startswith(".") else words.short(name) for name in models)
    if row["kind"] == "distill":
        return f"{str(config.get('size', 'student'))[:30]} distilled from {teacher}"
    return f"{student} against {teacher}"


def publish_form(choices: Choices) -> None:
    """Draw the form that publishes runs, with the equal command; without a token it says how to log in."""
    from pages.reads.store import the_store
    from pages.widgets import html as words
    from pfd_engine.sharing.publish import may_upload

    st.header("Publish")
    rows = the_store().rows(
        "select run_id, kind, teacher, student, config, finished from runs where state = 'finished' and source = 'workspace' "
        "order by created desc nulls last limit ?",
        [OFFERED],
    )
    if not rows:
        st.info("There is no finished run to publish yet: measure a pair on the Evaluate page first.")
        return
    st.caption("A data set with Parquet tables, image walls, figures and a card. Students go to model repositories, by the command push.")
    labels = {row["run_id"]: f"{label(row)} · {words.ago(row['finished'])} · {row['run_id'][-8:]}" for row in rows}
    chosen = choices.pick_many("runs", "Runs", labels, placeholder="Choose what to publish")
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        repository = choices.text("repository", "Repository", placeholder="owner/name")
    with right:
        license_name = choices.pick("license", "License of numbers and figures", LICENSES, FIRST_LICENSE) or FIRST_LICENSE
    private = choices.flag("private", "Private, if it is new")
    below = st.container()
    st.caption("The same from the command line")
    st.code(command(chosen, repository, license_name, private), language="bash", wrap_lines=True)
    if not may_upload():
        st.info("There is no Hub token here: log in with `hf auth login`, or set HF_TOKEN to a token that may write, and reload.")
    elif st.button("Publish", key="publish", disabled=not chosen or not repository):
        send(below, chosen, repository, license_name, private)


def command(run_ids: list[str], repository: str, license_name: str, private: bool) -> str:
    """Return the command line that publishes the same."""
    words = ["python", "-m", "pfd_engine", "publish", repository or "owner/name"]
    words += [word for run_id in run_ids for word in ("--run", run_id)] if run_ids else ["--all"]
    words += ["--private"] if private else []
    return shlex.join(words + ([] if license_name == FIRST_LICENSE else ["--license", license_name]))


def send(below: Any, run_ids: list[str], repository: str, license_name: str, private: bool) -> None:
    """Publish and say where the results are now, or in one sentence why they are not."""
    from pages.reads.store import the_store
    from pages.widgets import html as words
    from pfd_engine.errors import PFDError
    from pfd_engine.sharing.publish import publish_results

    with below:
        report = progress({"bundle": "Writing tables, images and figures", "upload": "Uploading"})
        try:
            shared = publish_results(the_store(), run_ids, repository, private=private, license_name=license_name, report=report)
        except PFDError as error:
            st.html(alert(str(error)))
            return
        runs = words.count(shared.rows["runs"], "run")
        st.success(words.markdown(f"Published {runs} at {shared.where}, commit {shared.commit[:7]}."))


with page("Shared results"):
    shared()
