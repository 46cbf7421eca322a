"""What is installed, which device there is, whether the Hub answers and the workspace is sound."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pfd_engine.jobs.worker import worker_lives
from pfd_engine.provenance import versions
from pfd_engine.runs.folder import list_runs
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace

HUB_SECONDS = 5.0
FREE_BYTES = 2**30


class Check(NamedTuple):
    """One finding; `ok` False means that something the product needs is missing or broken."""

    name: str
    ok: bool
    detail: str


def examine(workspace: Workspace) -> list[Check]:
    """Return every finding; takes at most about `HUB_SECONDS` longer than loading torch."""
    checks: dict[str, Callable[[], Check]] = {
        "installed": _installed,
        "device": _device,
        "hub": _hub,
        "workspace": lambda: _writable(workspace),
        "disk": lambda: _disk(workspace),
        "database": lambda: _database(workspace),
        "shipped results": _shipped,
        "worker": lambda: _worker(workspace),
        "runs": lambda: _runs(workspace),
    }
    return [_finding(name, check) for name, check in checks.items()]


def _finding(name: str, check: Callable[[], Check]) -> Check:
    """Make a check; what the system refuses it is its finding."""
    try:
        return check()
    except OSError as error:
        what = f"{error.filename} cannot be used" if error.filename else "it cannot be told"
        return Check(name, False, f"{what} ({error.strerror or error}): check who may read and write there")


def _installed() -> Check:
    found = versions()
    missing = [name for name in ("torch", "diffusers", "huggingface-hub", "numpy") if name not in found]
    detail = ", ".join(f"{name} {version}" for name, version in found.items())
    return Check("installed", not missing, detail + (f"; missing: {', '.join(missing)}, run `make run`" if missing else ""))


def _device() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", False, f"torch cannot be loaded ({error})")
    if torch.cuda.is_available():
        return Check("device", True, ", ".join(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())))
    return Check("device", True, f"cpu, {torch.get_num_threads()} threads (no CUDA device)")


def _hub() -> Check:
    """Ask the Hub for anything: every answer below 500 counts, since mirrors serve only part of it."""
    from huggingface_hub import constants

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    shown = urlsplit(endpoint).hostname or "the Hub"
    if constants.HF_HUB_OFFLINE:
        return Check("hub", True, "offline because HF_HUB_OFFLINE is set: only cached repositories and folders can be used")
    answers: list[str | int] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_SECONDS) as answer:
                answers.append(answer.status)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
        except (OSError, ValueError) as error:
            answers.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
    thread.start()
    thread.join(HUB_SECONDS)
    answer = answers[0] if answers else f"no answer in {HUB_SECONDS:g} s"
    if isinstance(answer, int) and answer < 500:
        return Check("hub", True, f"{shown} answers")
    return Check("hub", False, f"{shown} cannot be reached ({answer}): check the network and HF_ENDPOINT; folders still work")


def _writable(workspace: Workspace) -> Check:
    folder = _existing(workspace.root)
    blocked = next((path for path in (workspace.root, *workspace.root.parents) if path.exists() and not path.is_dir()), None)
    if blocked is not None:
        return Check("workspace", False, f"{blocked} is a file: set PFD_HOME to a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check("workspace", False, f"{folder} cannot be written ({error.strerror}): set PFD_HOME to another folder")
    return Check("workspace", True, str(workspace.root) + ("" if workspace.root.is_dir() else " (made by the first run)"))


def _disk(workspace: Workspace) -> Check:
    free = shutil.disk_usage(_existing(workspace.root)).free
    detail = f"{free / 2**30:,.1f} GiB free"
    return Check("disk", free >= FREE_BYTES, detail if free >= FREE_BYTES else f"{detail}: free at least 1 GiB")


def _database(workspace: Workspace) -> Check:
    import duckdb

    if not workspace.database.exists():
        return Check("database", True, "none yet: made from the run folders when first needed")
    try:
        with duckdb.connect(str(workspace.database), read_only=True) as connection:
            ((count,),) = connection.execute("select count(*) from measurements").fetchall()
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            return Check("database", True, "in use by the app")
        return Check("database", False, "it cannot be read: it is rebuilt from the run folders when the app or `results` opens it next")
    return Check("database", True, f"{count:,} measurements")


def _shipped() -> Check:
    from pfd_engine.store.database import Store

    if not PUBLISHED_DATABASE.is_file():
        return Check("shipped results", True, "none")
    with Store(None) as store:
        count = store.rows("select count(*) as n from measurements")[0]["n"]
        return Check("shipped results", not store.warnings, "; ".join(store.warnings) or f"{count:,} measurements")


def _worker(workspace: Workspace) -> Check:
    queued = sum(run.status.state == "queued" for run in list_runs(workspace))
    worker = "alive" if worker_lives(workspace) else "none: the app starts one, or run `python -m pfd_engine worker`"
    return Check("worker", True, f"{worker}; {queued} queued")


def _runs(workspace: Workspace) -> Check:
    states = [(run, run.status.state) for run in list_runs(workspace)]
    orphans = [run.id for run, state in states if state == "running" and not run.is_locked]
    if orphans and not worker_lives(workspace):
        return Check("runs", False, f"{len(orphans)} interrupted ({', '.join(orphans[:3])}): a worker resumes them")
    return Check("runs", True, f"{len(states)} runs, {sum(state == 'failed' for _, state in states)} failed")


def _existing(path: Path) -> Path:
    """Return the nearest folder that exists."""
    while not path.is_dir():
        path = path.parent
    return path
