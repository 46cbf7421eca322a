"""The worker: one process a workspace that takes queued runs, one per device at a time, each in a child process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from pfd_engine.jobs.access import for_others
from pfd_engine.jobs.execute import NOT_MINE, write_log
from pfd_engine.jobs.kinds import KINDS
from pfd_engine.runs.folder import MAX_ATTEMPTS, Run, list_runs, runs_lock
from pfd_engine.runs.status import ENDED, Status
from pfd_engine.workspace import REPOSITORY, Workspace

BUSY_SECONDS, IDLE_SECONDS = 0.25, 1.0
CANCEL_GRACE_SECONDS, KILL_GRACE_SECONDS = 30.0, 5.0
_started: list[subprocess.Popen[bytes]] = []


def ensure_worker(workspace: Workspace) -> bool:
    """Start a detached worker unless one lives; returns whether it started one. The worker outlives its starter."""
    _started[:] = [process for process in _started if process.poll() is None]
    workspace.root.mkdir(parents=True, exist_ok=True)
    if worker_lives(workspace):
        return False
    with (workspace.root / "worker.log").open("ab") as log:
        _started.append(
            subprocess.Popen(
                [sys.executable, "-m", "pfd_engine", "worker"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=_environment(workspace),
            )
        )  # fmt: skip
    return True


def worker_lives(workspace: Workspace) -> bool:
    """Tell whether a worker serves this workspace now."""
    if not workspace.root.is_dir():
        return False
    lock = worker_lock(workspace)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def worker_lock(workspace: Workspace) -> FileLock:
    """Return the lock that a worker holds for as long as it lives."""
    return FileLock(workspace.root / "worker.lock", thread_local=False)


@dataclass
class Child:
    """A process that executes a run: started by this worker, or (`process` None) found running when the worker started."""

    run: Run
    device: str
    process: subprocess.Popen[bytes] | None
    asked_to_stop: float | None = None
    terminated: float | None = None


@dataclass
class Worker:
    """One worker; `serve` is its life. `report` receives one line for what it does, for the terminal or a log."""

    workspace: Workspace
    report: Callable[[str], None] = lambda line: None
    cancel_grace: float = CANCEL_GRACE_SECONDS
    _children: dict[str, Child] = field(default_factory=dict)
    _settled: dict[str, int] = field(default_factory=dict)

    def serve(self, *, drain: bool = False) -> bool:
        """Take runs until the process ends or the workspace is gone, and if `drain` only until nothing is queued or running.

        Returns False where another worker lives.
        """
        self.workspace.runs.mkdir(parents=True, exist_ok=True)
        lock = worker_lock(self.workspace)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            return False
        try:
            while self.workspace.runs.is_dir():
                self._reap()
                waiting = self._scan()
                if drain and not waiting and not self._children:
                    return True
                time.sleep(BUSY_SECONDS if waiting or self._children else IDLE_SECONDS)
            return True
        finally:
            lock.release()

    def _scan(self) -> int:
        """Look at every run that has not ended: adopt, resume, cancel or start it; returns how many wait."""
        waiting, queued = 0, []
        for run in list_runs(self.workspace):
            stamp = _stamp(run)
            if run.id in self._children or self._settled.get(run.id) == stamp:
                continue
            status = run.status
            if status.state in ENDED:
                self._settled[run.id] = stamp
            elif status.state == "queued":
                queued.append((status.created, run.id, run))
            elif not self._adopt(run):
                self._after_death(run, None)
                waiting += 1
        for _, _, run in sorted(queued):
            if run.cancel_requested:
                run.cancel()
            elif self._is_free(_device_of(run)):
                self._start(run)
            else:
                waiting += 1
        return waiting

    def _adopt(self, run: Run) -> bool:
        """Watch over a run that a living process executes; False where that process died."""
        with runs_lock(self.workspace):
            alive = run.is_locked
        if alive:
            self._children[run.id] = Child(run, _device_of(run), None)
            self.report(f"waiting for {run.id}, which another process (pid {run.status.pid}) still executes")
        return alive

    def _is_free(self, device: str) -> bool:
        return all(child.device != device for child in self._children.values())

    def _start(self, run: Run) -> None:
        folder = run.origin.folder  # where that is gone, the child says so
        try:
            with run.log_path.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "pfd_engine", "run", str(run.path)],
                    cwd=folder if folder and Path(folder).is_dir() else None, env=_environment(self.workspace, run),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            self._end(run, "failed", f"the run could not be started ({error.strerror or error}): free space or memory and try again", 1)
            return
        self._children[run.id] = Child(run, _device_of(run), process)
        self.report(f"started {run.id}")

    def _reap(self) -> None:
        """See which children ended, and stop those that were asked to and do not."""
        for child in list(self._children.values()):
            if child.process is None:
                ended, code = not child.run.is_locked, None
            else:
                code = child.process.poll()
                ended = code is not None
            if not ended:
                self._insist(child)
                continue
            del self._children[child.run.id]
            if code == NOT_MINE:
                continue  # another process executes it; the next scan adopts that one
            self._after_death(child.run, code)

    def _insist(self, child: Child) -> None:
        """Terminate a child that was asked to stop and went on for the grace time; kill it if even that is ignored.

        One that has taken all the seconds that its user had left is asked to stop here.
        """
        allowed = child.run.launched.get("seconds")
        if isinstance(allowed, (int, float)) and (child.run.status.seconds or 0.0) > allowed:
            child.run.cancel()
        if not child.run.cancel_requested:
            return
        now = time.monotonic()
        child.asked_to_stop = child.asked_to_stop or now
        if child.terminated is None and now - child.asked_to_stop > self.cancel_grace:
            child.terminated = now
            self._signal(child, signal.SIGTERM)
        elif child.terminated is not None and now - child.terminated > KILL_GRACE_SECONDS:
            self._signal(child, signal.SIGKILL)

    def _signal(self, child: Child, number: signal.Signals) -> None:
        """Signal the process of a run, with its own children where it leads a group."""
        pid = child.process.pid if child.process is not None else child.run.status.pid
        with suppress(OSError, psutil.Error):
            if pid is None or (child.process is None and not _executes(pid, child.run)):
                return
            if os.getpgid(pid) == pid:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)

    def _after_death(self, run: Run, code: int | None) -> None:
        """Settle a run whose process is gone: nothing where it recorded its end, else resume it, or give up after three attempts."""
        with run.try_lock(timeout=1) as held:
            if not held:
                return
            status = run.status
            if status.state in ENDED:
                self.report(f"{status.state} {run.id}")
                return
            if status.state == "queued":  # it died before it could say that it runs
                status = status.model_copy(update={"attempt": status.attempt + 1})
            how = _how_it_died(code)
            if run.cancel_requested:
                self._write(run, status, "cancelled", "cancelled", 130)
            elif run.result is not None:
                self._write(run, status, "finished", None, 0)
            elif status.attempt >= MAX_ATTEMPTS:
                sentence = f"the process of this run {how} in {status.attempt} attempts: see the log, and try a smaller batch size"
                self._write(run, status, "failed", sentence, 1 if code is None else code)
            else:
                write_log(run.log_path, f"the process {how}; the run resumes\n")
                status = status.model_copy(update={"queued": time.time()})
                self._write(run, status, "queued", f"the process {how}; attempt {status.attempt + 1} follows", code)

    def _end(self, run: Run, state: str, message: str, code: int) -> None:
        with run.try_lock(timeout=1) as held:
            if held:
                self._write(run, run.status, state, message, code)

    def _write(self, run: Run, status: Status, state: str, message: str | None, code: int | None) -> None:
        """Record a state; a run whose state cannot be written (disk full) is left alone until the next worker."""
        finished = time.time() if state in ENDED else None
        changes = {"state": state, "message": message, "exit_code": code, "finished": finished, "pid": None}
        try:
            run.write_status(status.model_copy(update=changes))
        except OSError as error:
            self._settled[run.id] = _stamp(run)
            self.report(f"the state of {run.id} cannot be written: {error.strerror or error}")
            return
        self.report(f"{state} {run.id}")


def _environment(workspace: Workspace, run: Run | None = None) -> dict[str, str]:
    """Return the environment of a child: this workspace, and the engine importable from any folder.

    A run that a user of a shared server launched gets nothing of the host's account on the Hub, whoever started this worker.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    child = {**os.environ, "PFD_HOME": str(workspace.root), "PYTHONPATH": path}
    return child if run is None or run.owner is None else for_others("hosted", child)


def _stamp(run: Run) -> int:
    try:
        return (run.path / "status.json").stat().st_mtime_ns
    except OSError:
        return 0


def _device_of(run: Run) -> str:
    """Return the device that a run will use, as far as that is known without loading torch."""
    device = str(run.config_values.get("device", "auto"))
    if device == "auto":
        return "cuda:0" if Path("/dev/nvidia0").exists() else "cpu"
    return "cuda:0" if device == "cuda" else device


def _executes(pid: int, run: Run) -> bool:
    """Tell whether a process is the one that executes a run, and not a later one that got its number."""
    words = psutil.Process(pid).cmdline()
    return "pfd_engine" in " ".join(words) and (str(run.path) in words or not KINDS.keys().isdisjoint(words))


def _how_it_died(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was killed ({name}, often for lack of memory)" if name == "SIGKILL" else f"was ended by {name}"
    return "died" if code in (None, 0) else f"died with exit status {code}"
