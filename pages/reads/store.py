"""The data behind the pages: the server's one store, and the reads that pages need."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.page import is_demo
from pages.widgets import html as words
from pages.widgets.result import Number, Result, Summary, warnings_of
from pages.widgets.wall import Pair
from pfd_engine.errors import InputError
from pfd_engine.findings.verdicts import Judged, badge_of, is_diagnostic, judge_runs
from pfd_engine.planning.evaluation import Model, PastRun
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace

if TYPE_CHECKING:
    import pandas as pd

    from pfd_engine.runs.folder import Run
    from pfd_engine.store.database import Store

LOG = logging.getLogger("pfd_engine.pages")
INGEST_EVERY_SECONDS = 1.0
BORROWED_FOR_SECONDS = 10.0
PAST_RUNS = 50


@dataclass
class Opened:
    """The store of this server process; `borrowed` says why run folders are read instead of the workspace database, if they are."""

    store: Store
    borrowed: str = ""
    opened: float = field(default_factory=time.monotonic)
    ingested: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


def the_store() -> Store:
    """Return this server's store, freshly ingested; one that had to read run folders is opened anew when the lock may be free."""
    root = None if is_demo() else str(Workspace.from_environment().root)
    opened = _open(root)
    if opened.borrowed and time.monotonic() - opened.opened > BORROWED_FOR_SECONDS:
        opened = _open(root, anew=opened)
    if time.monotonic() - opened.ingested > INGEST_EVERY_SECONDS and opened.lock.acquire(blocking=False):
        try:
            opened.store.ingest(ended=False)
            opened.ingested = time.monotonic()
        finally:
            opened.lock.release()
    return opened.store


def refresh() -> None:
    """Read what is new in the run folders now, for a run that has ended this moment."""
    root = None if is_demo() else str(Workspace.from_environment().root)
    _open(root).store.ingest(ended=False)


def caption_of_source() -> None:
    """Say so where the workspace database belongs to another process, or needed a repair."""
    root = None if is_demo() else str(Workspace.from_environment().root)
    opened = _open(root)
    if opened.borrowed:
        st.caption(f"{opened.borrowed}, so these numbers were read from the run folders.")
    for warning in opened.store.warnings:
        st.caption(words.markdown(f"{warning[:1].upper()}{warning[1:]}."))


def latest_results(limit: int) -> list[Summary]:
    """Return the newest finished evaluations, those of others last."""
    return _latest(the_store().version, limit)


def read_pairs(run_id: str, student: str | None = None) -> list[Pair]:
    """Return the same-noise pairs of a run, or of one student of a sweep at its last step, that have both images."""
    from pfd_engine.store.queries import runs as store_queries

    return [
        Pair(row["seed"], row["group"], row["distance"], row["teacher_png"], row["student_png"], row["nearest_png"])
        for row in store_queries.pairs(the_store(), run_id, student)
        if row["teacher_png"] and row["student_png"]
    ]


def read_result(run_id: str) -> Result | None:
    """Return one finished evaluation with everything its page shows; None where there is none of that id."""
    from pfd_engine.store.queries import runs as store_queries

    run = store_queries.run(the_store(), run_id)
    if run is None or not isinstance(run["result"], dict):
        return None
    judged = judge_runs(the_store(), {run_id: run["result"]})[run_id]
    summaries = _summaries([run], {run_id: judged})
    if not summaries:
        return None
    folder = find_run(run_id)
    told = [] if folder is None else [event.get("message") for event in folder.events("warning")]
    summary = replace(summaries[0], warnings=warnings_of(run["result"], told))
    return Result(summary, judged.details, _config(run["config"]), judged.distances, judged.seeds, read_pairs(run_id))


def find_run(run_id: str) -> Run | None:
    """Return the run folder of that id in the workspace, None where there is none."""
    from pfd_engine.runs.folder import open_run

    if is_demo():
        return None
    try:
        return open_run(Workspace.from_environment(), run_id)
    except InputError:
        return None


def see_to_worker(run: Run) -> None:
    """Start a worker where a run waits for one, or lies as a process that died left it, and none lives."""
    from pfd_engine.jobs.worker import ensure_worker

    state = run.status.state
    if state == "queued" or (state == "running" and not run.is_locked):
        ensure_worker(run.workspace)


def past_runs() -> list[PastRun]:
    """Return what the latest evaluations on this machine teach about speed."""
    from pfd_engine.store.queries import runs as store_queries

    past = []
    for timing in store_queries.past_timings(the_store(), PAST_RUNS):
        shape = tuple(timing["shape"] or ())
        flops = 0.0
        for role in ("teacher", "student"):
            side = timing[role]
            model = Model(side["parameters"] or 0, shape, side["family"] or "")
            flops += (side["calls"] or 0) * model.flops_per_call
        past.append(PastRun(flops, float(timing["seconds"] or 0.0), str(timing["device"] or "")))
    return past


@st.cache_data(max_entries=8, show_spinner=False)
def _latest(version: str, limit: int) -> list[Summary]:
    from pfd_engine.store.queries.runs import OWN_FIRST

    return _summaries(
        the_store().rows(
            "select run_id, source, finished, result from runs where result is not null and kind <> 'sweep' "
            "qualify row_number() over (partition by run_id order by source desc) = 1 "
            f"order by {OWN_FIRST}, created desc limit ?",
            [limit],
        )
    )


_stores: dict[tuple[str | None, str], Opened] = {}
_opening = threading.Lock()


def _open(root: str | None, anew: Opened | None = None) -> Opened:
    """Return the one store over a workspace, opened once and, where it is `anew`, again.

    It is not in Streamlit's cache: any visitor's browser can ask the server to clear that.
    """
    key = (root, str(PUBLISHED_DATABASE))
    with _opening:
        if key not in _stores or _stores[key] is anew:
            _stores[key] = _opened(root)
        return _stores[key]


def forget() -> None:
    """Close every store, for a process that goes on with other workspaces."""
    with _opening:
        while _stores:
            _stores.popitem()[1].store.close()


def _opened(root: str | None) -> Opened:
    from pfd_engine.store.database import OwnedElsewhere, Store, Unwritable

    workspace = None if root is None else Workspace.from_environment()
    try:
        return Opened(Store(workspace, PUBLISHED_DATABASE))
    except (OwnedElsewhere, Unwritable) as error:
        LOG.warning("%s", error)
        reason = "Another process owns the workspace database" if isinstance(error, OwnedElsewhere) else "The workspace cannot be written"
        return Opened(Store(workspace, PUBLISHED_DATABASE, in_memory=True), reason)


def _summaries(runs: Sequence[Mapping[str, Any]], judged: Mapping[str, Judged] | None = None) -> list[Summary]:
    """Return a summary for each run that has numbers."""
    if not runs:
        return []
    rows = the_store().rows(
        "select * from measurements where list_contains(?::varchar[], run_id) and band is null", [[run["run_id"] for run in runs]]
    )
    if judged is None:
        found = {run["run_id"]: json.loads(run["result"]) if isinstance(run["result"], str) else run["result"] for run in runs}
        judged = judge_runs(the_store(), found)
    summaries = []
    for run in runs:
        details = judged[run["run_id"]].details
        mine = [row for row in rows if (row["run_id"], row["source"]) == (run["run_id"], run["source"]) and _is_main(row, details)]
        if not mine:
            continue
        first = mine[0]
        numbers = {row["metric"]: Number(row["value"], row["stderr"], row["ci_low"], row["ci_high"]) for row in mine}
        summaries.append(
            Summary(
                run_id=run["run_id"],
                teacher=first["teacher"],
                student=first["student"],
                numbers=numbers,
                descriptor=first["descriptor"] or "pixel",
                num_samples=first["num_samples"],
                num_noises=first["num_noises"],
                finished=run["finished"],
                source=run["source"],
                settings={
                    "solver": first["solver"],
                    "steps": first["solver_steps"],
                    "student_steps": first["student_steps"],
                    "seed": first["noise_seed"],
                    "descriptor": first["descriptor"],
                },
                revisions={role: first[f"{role}_revision"] for role in ("teacher", "student")},
                warnings=warnings_of(details),
                distillation=details.get("distillation") or {},
                loses_coupling=bool(details.get("coupling_note")),
                verdict=badge_of(judged[run["run_id"]].verdict),
                is_twin=judged[run["run_id"]].is_twin,
                is_diagnostic=is_diagnostic(details),
            )
        )
    return summaries


def _is_main(row: Mapping[str, Any], details: Mapping[str, Any]) -> bool:
    """Whether a measurement belongs to the evaluation that a result tells of: a distillation measures at several steps."""
    if not details.get("distillation"):
        return True
    student = (details.get("student") or {}).get("reference")
    return bool((row["student"], row["student_steps"]) == (student, details.get("student_steps")))


def training_curve(run_id: str) -> pd.DataFrame:
    """Return the training curves of a run: `metric`, `step`, `value`."""
    from pfd_engine.store.queries import runs as store_queries

    return store_queries.training_curves(the_store(), run_id)


def _config(values: object) -> Any:
    from pfd_engine.runs.folder import parse_config

    try:
        return parse_config(values) if isinstance(values, dict) else None
    except InputError:
        return None
