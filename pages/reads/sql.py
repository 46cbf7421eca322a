"""What the SQL page asks the engine: one snapshot for all visitors, and the answers that they got, kept for the next who asks the same."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import is_demo
from pages.reads.store import the_store
from pfd_engine.errors import PFDError
from pfd_engine.workspace import Workspace

if TYPE_CHECKING:
    from pfd_engine.store.sql.query import Answer, Snapshot, Snapshots

LAST, ASKED, KEPT = "sql-last", "sql-asked", 12  # answers of a few MiB each at most


def ask(query: str) -> None:
    """Run a query over the present results, and remember for this visitor what it brought."""
    try:
        snapshot = _snapshot()
        _answer(snapshot, snapshot.version, query)
    except PFDError as error:
        st.session_state[LAST] = str(error)
        st.session_state[ASKED] = query
    else:
        st.session_state[ASKED] = query
        st.session_state[LAST] = (snapshot, query)


def last() -> tuple[Answer, float] | str | None:
    """Return what this visitor's latest query brought, and how many seconds older than the present results it is (0: not at all).

    A text is the sentence of one that failed; None: none was run. An answer that was given up for newer ones is asked for again.
    """
    known = st.session_state.get(LAST)
    if known is None or isinstance(known, str):
        return known
    snapshot, query = known
    try:
        answer = _answer(snapshot, snapshot.version, query)
    except PFDError:
        ask(query)
        if isinstance(problem := st.session_state[LAST], str):
            return problem
        snapshot, query = st.session_state[LAST]
        answer = _answer(snapshot, snapshot.version, query)
    return answer, snapshot.age(the_store())


def _snapshot() -> Snapshot:
    store = the_store()
    folder = None if is_demo() or not store.owns_workspace else str(Workspace.from_environment().cache / "sql")
    return _snapshots(folder).current(store)


_kept: dict[str | None, Snapshots] = {}  # not in Streamlit's cache, which any visitor's browser can ask the server to clear
_keeping = threading.Lock()


def _snapshots(folder: str | None) -> Snapshots:
    from pathlib import Path

    from pfd_engine.store.sql.query import Snapshots

    with _keeping:
        if folder not in _kept:
            _kept[folder] = Snapshots(None if folder is None else Path(folder))
        return _kept[folder]


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _answer(_snapshot: Snapshot, version: str, query: str) -> Answer:
    from pfd_engine.store.sql.query import run_query

    return run_query(_snapshot.path, query)
