"""Run folders: what a run is on disk, from queued to finished. The folders are the queue; no second place knows their state."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pfd_engine.configs.base import RunConfig
from pfd_engine.errors import DISK_FULL, InputError
from pfd_engine.files import read_object
from pfd_engine.files import replace_file as replace_file
from pfd_engine.jobs.kinds import parse_config as parse_config
from pfd_engine.runs.events import read_events, sync_folder
from pfd_engine.runs.origin import ORIGIN_FILE, Origin, absolute, as_typed, check_folder, read_origin, seen_from
from pfd_engine.runs.status import ENDED, Status
from pfd_engine.workspace import Workspace

MAX_ATTEMPTS = 3
LAUNCHED_FILE = "launched.json"
RESERVE_BYTES = 16 * 1024
RUN_ID = re.compile(r"[a-z]{2,20}-\d{8}-\d{6}-[0-9a-f]{8}(-\d{1,6})?")


@dataclass(frozen=True)
class Run:
    """One run folder. Reading needs no lock; `status.json` and `events.jsonl` are written by the holder of `lock()` alone."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.path.parent.parent)

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def origin(self) -> Origin:
        """When and where the run was made, whatever became of its status."""
        return read_origin(self.path)

    @property
    def config_values(self) -> dict[str, Any]:
        """The configuration as it was asked for, unchecked; empty where it cannot be read."""
        return as_typed(self._stored_values, self.origin)

    @property
    def values_here(self) -> dict[str, Any]:
        """The same as seen from the folder of this process: paths stay as they were typed in the run's own folder alone."""
        return seen_from(Path.cwd(), self._stored_values, self.origin)

    @property
    def _stored_values(self) -> dict[str, Any]:
        return read_object(self.path / "config.json")

    @property
    def launched(self) -> dict[str, Any]:
        """Who launched the run on a server with users, and how many seconds it may take: `user`, `seconds`; empty for any other run."""
        return read_object(self.path / LAUNCHED_FILE)

    @property
    def owner(self) -> str | None:
        """The e-mail address of the user who launched the run; None for a run of the machine's own."""
        user = self.launched.get("user")
        return user if isinstance(user, str) else None

    @property
    def config(self) -> RunConfig:
        """The checked configuration as it was asked for; raises InputError where the file is damaged or from another version."""
        return self._checked(self.config_values)

    @property
    def config_here(self) -> RunConfig:
        """The checked configuration for this process; raises InputError as `config` does, and where its paths start nowhere any more."""
        check_folder(self._stored_values, self.origin)
        return self._checked(self.values_here)

    def _checked(self, values: Mapping[str, Any]) -> RunConfig:
        if not values:
            raise InputError(f"config.json of run {self.id} cannot be read: start it again from the form or command line")
        return parse_config(values)

    @property
    def status(self) -> Status:
        """The present state; a damaged file reads as a failed run that says so."""
        try:
            return Status.model_validate_json((self.path / "status.json").read_bytes())
        except (OSError, ValidationError):
            origin, message = self.origin, f"status.json of run {self.id} cannot be read: start it again"
            return Status(state="failed", created=origin.created, folder=origin.folder, message=message)

    def events(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the events so far, all or of one type; a resumed run repeats those of its earlier attempts."""
        return (event for event in read_events(self.events_path) if kind is None or event["type"] == kind)

    @property
    def result(self) -> dict[str, Any] | None:
        """The object that `--json` prints, once the run has it."""
        found = None
        for event in self.events("result"):
            if isinstance(event.get("result"), dict):
                found = event["result"]
        return found

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines of log.txt, at most 64 KiB."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - 2**16))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def lock(self) -> FileLock:
        """Return the lock of the folder: held by the process that executes the run, freed by the system when that dies."""
        return FileLock(self.path / "lock", thread_local=False)

    @property
    def is_locked(self) -> bool:
        """Whether a process executes this run now."""
        with self.try_lock() as held:
            return not held

    @contextmanager
    def try_lock(self, timeout: float = 0) -> Iterator[bool]:
        """Hold the folder's lock for the block; yields False, at once or after `timeout` seconds, where another has it."""
        lock = self.lock()
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def write_status(self, status: Status, *, durable: bool = True) -> None:
        """Replace status.json at once; the caller holds the lock. On a full disk the folder's reserve makes room for it."""
        data = status.model_dump_json().encode()
        try:
            replace_file(self.path / "status.json", data, durable=durable)
        except OSError as error:
            if error.errno not in DISK_FULL or not durable:
                raise
            (self.path / "reserve").unlink(missing_ok=True)
            replace_file(self.path / "status.json", data, durable=durable)

    @property
    def cancel_requested(self) -> bool:
        return (self.path / "cancel").exists()

    def cancel(self) -> None:
        """Ask the run to stop: a queued one ends at once, a running one at its next sign of progress, an ended one stays."""
        if self.status.state in ENDED:
            return
        (self.path / "cancel").touch()
        with self.try_lock() as held:
            if held and (status := self.status).state == "queued":
                self.write_status(status.model_copy(update={"state": "cancelled", "finished": time.time(), "message": "cancelled"}))

    def requeue(self) -> None:
        """Put a failed or cancelled run back into the queue, with fresh attempts; raises InputError for any other."""
        with self.try_lock(timeout=1) as held:
            status = self.status
            if not held or status.state not in ("failed", "cancelled"):
                raise InputError(f"run {self.id} is {status.state}: only a failed or cancelled run can be tried again")
            self.config_here  # noqa: B018  a damaged configuration, or a folder that is gone, is refused here, not by the worker
            (self.path / "cancel").unlink(missing_ok=True)
            (self.path / "reserve").write_bytes(os.urandom(RESERVE_BYTES))
            self.write_status(Status(state="queued", created=self.origin.created, queued=time.time(), folder=self.origin.folder))


def create_run(
    workspace: Workspace,
    config: RunConfig,
    *,
    queued: bool = True,
    folder: Path | None = None,
    launched: Mapping[str, Any] | None = None,
) -> Run:
    """Write a new run folder, which appears complete or not at all; relative paths start at `folder` (default: here), now and for good.

    `launched` is what `Run.launched` returns. A worker takes it from there (`worker.ensure_worker` starts one); a process that executes
    it itself uses `claim_new_run`.
    `queued` False leaves it in state running, as a process that died leaves it. Raises InputError where the workspace cannot be written.
    """
    run, held = _create(workspace, config, queued=queued, folder=folder, launched=launched)
    if held is not None:
        held.release()
    return run


def claim_new_run(workspace: Workspace, config: RunConfig) -> tuple[Run, FileLock]:
    """Write a run folder that this process executes at once: in state running and locked before anybody can see it free."""
    run, held = _create(workspace, config, queued=False, folder=None, launched=None)
    assert held is not None
    return run, held


def _create(
    workspace: Workspace, config: RunConfig, *, queued: bool, folder: Path | None, launched: Mapping[str, Any] | None
) -> tuple[Run, FileLock | None]:
    now, folder = time.time(), (folder or Path.cwd()).absolute()
    values, typed = absolute(json.loads(config.canonical), folder)
    stored, origin = parse_config(values), Origin(now, str(folder), typed)
    started: dict[str, Any] = {} if queued else {"started": now, "attempt": 1, "pid": os.getpid()}
    status = Status(state="queued" if queued else "running", created=now, folder=origin.folder, **started)
    try:
        workspace.runs.mkdir(parents=True, exist_ok=True)
        with runs_lock(workspace):
            for leftover in workspace.runs.glob(".new-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            draft = workspace.runs / f".new-{secrets.token_hex(4)}"
            try:
                draft.mkdir()
                (draft / "reserve").write_bytes(os.urandom(RESERVE_BYTES))
                replace_file(draft / "config.json", stored.canonical.encode(), durable=True)
                replace_file(draft / ORIGIN_FILE, origin.to_json(), durable=True)
                replace_file(draft / "status.json", status.model_dump_json().encode(), durable=True)
                if launched is not None:
                    replace_file(draft / LAUNCHED_FILE, json.dumps(launched).encode(), durable=True)
                run = Run(_rename_to_free(draft, f"{config.kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{stored.hash[:8]}"))
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            sync_folder(workspace.runs)
            lock = None if queued else run.lock()
            if lock is not None:
                lock.acquire(timeout=5)
    except OSError as error:
        raise InputError(
            f"the workspace {workspace.root} cannot be written ({error.strerror or error}): free space, or set PFD_HOME to another folder"
        ) from error
    return run, lock


def _rename_to_free(draft: Path, name: str) -> Path:
    """Give a finished draft its name; a second run of one configuration in one second gets a number behind it."""
    for suffix in ("", *(f"-{k}" for k in range(2, 1_000_000))):
        target = draft.with_name(name + suffix)
        if not target.exists():
            return draft.rename(target)
    raise FileExistsError(errno.EEXIST, "too many runs of one name", name)


def open_run(workspace: Workspace, run_id: str) -> Run:
    """Return the run of that id; raises InputError where there is none (an id from a URL can be anything)."""
    path = workspace.runs / run_id
    if not RUN_ID.fullmatch(run_id) or path.is_symlink() or not path.is_dir():
        raise InputError(f"there is no run {run_id[:80]!r} in this workspace: choose one from the list of runs", "run")
    return Run(path)


def list_runs(workspace: Workspace, without: Collection[str] = ()) -> list[Run]:
    """Return all runs, newest first, but those whose id is in `without`; what else lies in the folder is left out."""
    try:
        entries = list(os.scandir(workspace.runs))
    except OSError:
        return []
    new, folder = [entry for entry in entries if entry.name not in without], workspace.runs
    names = [entry.name for entry in new if RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    return [Run(folder / name) for name in sorted(names, key=_age, reverse=True)]


def retry(run: Run) -> Run:
    """Queue the run again: in its own folder if it failed or was cancelled, as a new run of its configuration if it finished."""
    if run.status.state == "finished":
        return create_run(run.workspace, run.config_here)
    run.requeue()
    return run


@contextmanager
def runs_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the lock under which run folders are made and orphans looked for; it is held for milliseconds."""
    with FileLock(workspace.runs / ".lock", timeout=30, thread_local=False):
        yield


def _age(name: str) -> tuple[str, str, int]:
    """Sort key of a run id: time, configuration, number."""
    _, day, clock, config, *number = name.split("-")
    return day + clock, config, int(number[0]) if number else 1
