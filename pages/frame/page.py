"""The first call of every page: page setup, navigation, and a boundary that turns any exception into one sentence."""

from __future__ import annotations

import atexit
import functools
import gc
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from pfd_engine.errors import PFDError
from pfd_engine.jobs.access import mode
from pfd_engine.workspace import Workspace

HERE = Path(__file__).parent
LOG = logging.getLogger("pfd_engine.pages")

HOME, EVALUATE, DISTILL, SWEEP, RUNS, RESULT, CHECKPOINTS = (
    "app.py",
    "pages/evaluate.py",
    "pages/distill.py",
    "pages/sweep.py",
    "pages/runs.py",
    "pages/result.py",
    "pages/checkpoints.py",
)
SCALING, DYNAMICS, BIAS_VARIANCE, TRADE_OFFS = (
    "pages/scaling.py",
    "pages/dynamics.py",
    "pages/bias_variance.py",
    "pages/trade_offs.py",
)
METHODS = "pages/methods.py"
SHARED = "pages/shared.py"
EXPLORE = "pages/explore.py"
COMPARE = "pages/compare.py"
SQL = "pages/sql.py"
NAVIGATION = {
    "Results": (
        (HOME, "Home"),
        (RESULT, "Result"),
        (EXPLORE, "Explore"),
        (COMPARE, "Compare"),
        (SQL, "SQL"),
        (SHARED, "Shared results"),
    ),
    "Findings": ((SCALING, "Scaling"), (DYNAMICS, "Training dynamics"), (BIAS_VARIANCE, "Bias-variance"), (TRADE_OFFS, "Trade-offs")),
    "Measure": ((EVALUATE, "Evaluate"), (DISTILL, "Distill"), (SWEEP, "Sweep"), (RUNS, "Runs")),
    "Models": ((CHECKPOINTS, "Checkpoints"),),
    "About": ((METHODS, "Methods"),),
}

SPARE_EVERY_SECONDS = 60.0


class _Spared(NamedTuple):
    modules: int
    at: float


_spared = _Spared(0, 0.0)


def is_demo() -> bool:
    """Say whether this server is a read-only demo (`PFD_MODE=demo`): nothing can be launched and there is no workspace."""
    return mode() == "demo"


@contextmanager
def page(title: str) -> Iterator[None]:
    """Set the page up, draw the navigation, and run the body of the `with` block inside the error boundary.

    A page relies on nothing else: its own URL may be the first thing that a fresh server serves.
    """
    st.set_page_config(page_title=f"{title} · Probability flow distance", page_icon=str(HERE / "icon.svg"), layout="wide")
    st.html(HERE / "style.css")
    if st.session_state.get("shown") != title:
        st.session_state.update(shown=title, visit=st.session_state.get("visit", 0) + 1)
    with st.sidebar:
        st.markdown("**Probability flow distance**")
        for caption, links in NAVIGATION.items():
            st.caption(caption)
            for path, label in links:
                st.page_link(path, label=label, width="stretch")
        if is_demo():
            st.caption("Read-only demo: published results only.")
    if mode() == "hosted":
        from pages.frame.sign_in import sign_in

        with st.sidebar, boundary("sign-in"):
            sign_in()
    st.html(HERE / "every_page.html", unsafe_allow_javascript=True)
    if not is_demo() and (problem := workspace_problem()):
        st.html(alert(problem))
    with boundary():
        yield
        if "choices" in st.session_state:
            from pages.frame.address import finish

            finish()
    _spare_what_stays()


def _spare_what_stays() -> None:
    """Take libraries and what pages keep out of garbage collection: when more of them are imported, and once a minute.

    Streamlit collects after every run of a page; looking through half a million objects that stay takes longer than drawing it. What
    has become garbage since is collected here.
    """
    global _spared
    now, modules = time.monotonic(), len(sys.modules)
    if modules <= _spared.modules and now - _spared.at < SPARE_EVERY_SECONDS:
        return
    if not _spared.modules:
        atexit.register(gc.unfreeze)  # or DuckDB's bindings report as lost what nobody collects at the end
    _spared = _Spared(modules, now)
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def workspace_problem() -> str | None:
    """Say in one sentence that the workspace cannot be written; None where it can. Nothing is created."""
    root = nearest = str(Workspace.from_environment().root)
    while not os.path.exists(nearest):
        nearest = os.path.dirname(nearest)
    if os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return None
    return f"the workspace {root} cannot be written, so nothing can be measured: set PFD_HOME to a folder that can, and start the app again"


@contextmanager
def boundary(what: str = "page") -> Iterator[None]:
    """Show any exception as one sentence; its details go to the server's log under a short reference."""
    try:
        yield
    except PFDError as error:
        st.html(alert(str(error)))
    except Exception:
        reference = secrets.token_hex(3)
        LOG.exception("a %s failed (reference %s)", what, reference)
        st.error(f"This {what} could not be drawn. Reload it; if that does not help, look for reference {reference} in the server's log.")


def live(seconds: float | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a function as a fragment that reruns every so many seconds (None: only when asked) inside its own boundary."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*args: object, **kwargs: object) -> None:
            with boundary():
                function(*args, **kwargs)

        fragment: Callable[..., None] = st.fragment(run_every=seconds)(guarded)
        return fragment

    return decorate


def alert(message: str) -> str:
    """Return one sentence as an alert in HTML, whatever characters it holds."""
    from html import escape

    return f'<p class="field-error" role="alert">{escape(message)}</p>'


def repeated(message: str) -> str:
    """Return a sentence that stands as an alert elsewhere on the page: looks the same, and is not announced twice."""
    from html import escape

    return f'<p class="field-error repeated">{escape(message)}</p>'
