"""What is known of a run at a moment: its state, its progress, and how it ended."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["queued", "running", "finished", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")


class Status(BaseModel):
    """The state of a run; times are unix seconds.

    `done` of `total` `unit`s in `phase` is live progress; its speed is measured from `pace_done` at `pace_started` on. `queued` is when
    it was put back into the queue. `attempt` counts starts; `exit_code` is that of the last one (0 success,
    1 failed, 2 could not start, 130 cancelled, negative: killed by that signal). `folder` is where relative paths start.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: State
    created: float = 0.0
    queued: float | None = None
    started: float | None = None
    finished: float | None = None
    message: str | None = None
    phase: str | None = None
    pace_started: float | None = None
    pace_done: int | None = None
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    pid: int | None = None
    attempt: int = 0
    exit_code: int | None = None
    folder: str | None = None

    @property
    def fraction(self) -> float | None:
        """Progress of the present phase from 0 to 1; None where it is not known."""
        if self.done is None or not self.total:
            return None
        return min(1.0, self.done / self.total)

    @property
    def seconds(self) -> float | None:
        """Seconds from the start to the end, or to now while it runs; None before."""
        if self.started is None:
            return None
        return max(0.0, (self.finished or time.time()) - self.started)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end of the present phase, at this attempt's mean speed so far; None where nothing is known."""
        if self.state != "running" or self.done is None or not self.total or self.pace_started is None or self.pace_done is None:
            return None
        if (gained := self.done - self.pace_done) <= 0:
            return None
        return (time.time() - self.pace_started) * max(0, self.total - self.done) / gained
