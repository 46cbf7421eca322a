"""How far a run is, in one line and one bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.widgets import html as words

if TYPE_CHECKING:
    from pfd_engine.runs.status import Status


def sentence(status: Status) -> str:
    """Return the state of a run in words: phase, count, time left or time taken."""
    if status.state == "queued":
        return f"waiting for the worker for {words.duration(_since(status.queued or status.created))}"
    if status.state == "running":
        parts = [status.phase or "starting"]
        if status.done is not None and status.total:
            parts.append(f"{status.done:,} of {status.total:,} {status.unit or ''}".strip())
        if status.seconds_left is not None and status.fraction is not None and status.fraction < 1:
            parts.append(f"about {words.duration(status.seconds_left)} left")
        if status.attempt > 1:
            parts.append(f"attempt {status.attempt}")
        return " · ".join(parts)
    taken = f" after {words.duration(status.seconds)}" if status.seconds is not None else ""
    return f"{status.state}{taken}, {words.ago(status.finished)}".removesuffix(", ")


def bar(status: Status) -> None:
    """Draw the sentence, with a bar above it while the run is queued or running (always, so that nothing jumps)."""
    if status.state in ("queued", "running"):
        st.progress(status.fraction or 0.0, text=words.markdown(sentence(status)))
    else:
        st.caption(words.markdown(sentence(status)))


def _since(moment: float) -> float:
    import time

    return max(0.0, time.time() - moment)
