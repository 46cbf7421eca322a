"""Executing a run in this process: what the command line does at once and the worker's child does for a queued run."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from pfd_engine.configs.base import RunConfig
from pfd_engine.errors import Cancelled, InputError, PFDError, RunError, is_disk_full
from pfd_engine.jobs.kinds import prepare
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.runs.status import ENDED, State
from pfd_engine.workspace import Workspace

Event = dict[str, Any]
PROGRESS_SECONDS = 0.5
REUSE_SECONDS = 1.0
NOT_MINE = 3


class ActiveRun:
    """A run that this process executes: it holds the folder's lock, writes the events and keeps status.json up to date."""

    def __init__(self, run: Run, lock: FileLock) -> None:
        self.run = run
        self.status = run.status
        self._lock = lock
        self._last_progress = self._phase_started = 0.0
        try:
            self._events = EventLog(run.events_path)
        except OSError as error:
            state, exit_code, message = outcome(error, run.log_path)
            with suppress(OSError):
                self._update(state=state, message=message, exit_code=exit_code, finished=time.time())
            lock.release()
            raise

    def begin(self) -> None:
        """Enter state running as one more attempt of this process."""
        self._update(
            state="running", started=self.status.started or time.time(), finished=None, pid=os.getpid(),
            attempt=self.status.attempt + 1, message=None, exit_code=None, phase=None,
        )  # fmt: skip

    def report(self, event: Event) -> None:
        """Store an event: progress at most twice a second, everything else on disk before this returns."""
        if event["type"] != "progress":
            self._events.append(event)
            return
        now, phase = time.time(), event.get("phase")
        new_phase, complete = phase != self.status.phase, event.get("done") == event.get("total")
        if not (new_phase or complete) and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        self._events.append(event, durable=False)
        progress = {key: event.get(key) for key in ("phase", "done", "total", "unit")}
        if new_phase:
            self._phase_started = now
        if new_phase or now - self._phase_started < REUSE_SECONDS:  # end points that were cached come at once: they tell no speed
            progress |= {"pace_started": now, "pace_done": event.get("done")}
        self._update(durable=False, **progress)

    def end(self, state: State, message: str | None, exit_code: int) -> None:
        """Record the end on disk, the exit status included, and free the folder."""
        try:
            self._update(state=state, message=message, exit_code=exit_code, finished=time.time())
        finally:
            self._events.close()
            self._lock.release()

    def _update(self, *, durable: bool = True, **changes: Any) -> None:
        self.status = self.status.model_copy(update=changes)
        self.run.write_status(self.status, durable=durable)


def execute_here(config: RunConfig, workspace: Workspace, on_event: Callable[[Event], None], log: LogBuffer) -> tuple[Run, int, str | None]:
    """Execute a configuration at once, as a run of its own; returns it with its exit status and, if it failed, the sentence.

    What cannot start raises InputError before a folder exists. `on_event` sees every event, progress included.
    """
    early: list[Event] = []

    def report_early(event: Event) -> None:
        if event["type"] != "progress":
            early.append(event)
        on_event(event)

    job = prepare(config, workspace, report_early)
    run, lock = claim_new_run(workspace, config)
    active = ActiveRun(run, lock)

    def report(event: Event) -> None:
        active.report(event)
        on_event(event)

    try:
        log.attach(run.log_path)
        for event in early:
            active.report(event)
        _consume(job.run(run.id, should_stop=lambda: run.cancel_requested), report)
    except BaseException as error:
        return run, *_end_with(active, error)
    active.end("finished", None, 0)
    return run, 0, None


def execute_folder(run: Run) -> int:
    """Execute a queued or interrupted run as the worker's child; returns the exit status, which status.json records too.

    `NOT_MINE` where another process executes it; 0 where it had ended meanwhile.
    """
    lock = run.lock()
    with suppress(TimeoutError):
        lock.acquire(timeout=10)
    if not lock.is_locked:
        return NOT_MINE
    if run.status.state in ENDED:
        lock.release()
        return 0
    active = ActiveRun(run, lock)

    def report(event: Event) -> None:
        if run.cancel_requested:
            raise Cancelled("cancelled")
        active.report(event)

    try:
        active.begin()
        if run.result is None:
            job = prepare(run.config_here, run.workspace, report)
            _consume(job.run(run.id, should_stop=lambda: run.cancel_requested), report)
    except BaseException as error:
        return _end_with(active, error)[0]
    active.end("finished", None, 0)
    return 0


def outcome(error: BaseException, log_path: Path) -> tuple[State, int, str]:
    """Return the state, the exit status and the one sentence that an error means for a run."""
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return "cancelled", 130, "cancelled"
    if isinstance(error, InputError):
        return "failed", 2, str(error)
    if isinstance(error, PFDError):
        return "failed", 1, str(error)
    if is_disk_full(error):
        return "failed", 1, f"the disk is full: free space where the workspace {log_path.parent.parent.parent} lies and try again"
    if isinstance(error, MemoryError):
        return "failed", 1, "the memory is exhausted: lower the batch size, or close other programs and try again"
    return "failed", 1, f"unexpected error ({type(error).__name__}): the details are in {log_path}"


class LogBuffer(logging.Handler):
    """Keeps log records and Python warnings off the terminal: in memory, then in the run's log.txt once there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        self._lines: list[str] = []
        self._path: Path | None = None

    def attach(self, path: Path) -> None:
        """Write to this file from now on, what has gathered first."""
        self._path = path
        self._write("".join(self._lines))

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record) + "\n"
        if self._path is None:
            self._lines.append(line)
        else:
            self._write(line)

    def _write(self, text: str) -> None:
        if self._path is not None and text:
            write_log(self._path, text)


def write_log(path: Path, text: str) -> None:
    """Append text to a log file; a disk that is full loses it in silence, since the sentence for the user matters more."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def _consume(events: Iterable[Event], report: Callable[[Event], None]) -> None:
    last = None
    for event in events:
        report(event)
        last = event["type"]
    if last != "result":
        raise RunError("the run ended without a result: try again, and report it with its log if that happens twice")


def _end_with(active: ActiveRun, error: BaseException) -> tuple[int, str]:
    """End a run by the error that stopped it; the traceback goes to log.txt where it is not a plain sentence already."""
    if not isinstance(error, (PFDError, KeyboardInterrupt)):
        write_log(active.run.log_path, "".join(traceback.format_exception(error)))
    state, exit_code, message = outcome(error, active.run.log_path)
    try:
        active.end(state, message, exit_code)
    except OSError as second:
        write_log(active.run.log_path, f"the end of the run could not be recorded: {second}\n")
    return exit_code, message
