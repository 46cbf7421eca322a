"""Opening the results of others beside one's own: fetched, checked in a process of its own, and kept as a database that we wrote."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from pfd_engine.errors import InputError, RunError
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.hub.resolve import resolve
from pfd_engine.hub.snapshot import Snapshot
from pfd_engine.runs.events import sync_folder
from pfd_engine.sharing.bundle.format import MAX_BYTES, PROVENANCE_FILE, PULLED_FILES
from pfd_engine.store.pulled import MAX_PULLED
from pfd_engine.workspace import REPOSITORY, Workspace

SECONDS = 900
LOCK = ".lock"
Report = Callable[[dict[str, Any]], None]


class Pulled(BaseModel):
    """What was pulled: `source` as rows say it, `reference`, full `revision`, `pulled` and `created` (unix times), `rows` by table."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str
    reference: str
    revision: str
    license: str | None
    pulled: float
    created: float
    software_version: str
    rows: dict[str, int]
    bytes: int

    @property
    def runs(self) -> int:
        return self.rows.get("runs", 0)


def pull(workspace: Workspace, reference: str, report: Report = lambda event: None) -> Pulled:
    """Fetch a bundle `owner/name[@revision]` or `./folder`, check all of it and keep it in the workspace; what was pulled before stays.

    Raises InputError with one sentence where the bundle cannot be had or is not sound, and RunError where it cannot be kept; nothing
    has changed then. `report` receives progress events of the phases `download` and `check`.
    """
    snapshot = _fetched(reference, report)
    source, slug = _named(snapshot)
    folder = workspace.pulled
    others = {pulled.source for pulled in list_pulled(workspace)} - {source}
    if len(others) >= MAX_PULLED:
        raise InputError(f"{MAX_PULLED} sets of results were pulled already: remove one with `pull --remove SOURCE` first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=60):
            _clear(folder)  # what a killed pull left: with the lock, nobody else writes here
            return _keep(snapshot, source, folder / f"{slug}.duckdb", report)
    except Timeout:
        raise InputError("another pull is under way in this workspace: try again when it has ended") from None
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}): free space, and check who may write there") from error


def list_pulled(workspace: Workspace) -> list[Pulled]:
    """Return what has been pulled, the newest first."""
    found = [pulled for _, pulled in _records(workspace)]
    return sorted(found, key=lambda pulled: -pulled.pulled)


def remove(workspace: Workspace, source: str) -> None:
    """Forget what was pulled from a source; raises InputError where nothing was."""
    paths = [path for path, pulled in _records(workspace) if pulled.source == source]
    if not paths:
        raise InputError(f"nothing was pulled from {source[:200]!r}: `python -m pfd_engine pull --list` lists what was")
    for path in paths:
        try:
            path.with_suffix(".duckdb").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{path} cannot be removed ({error.strerror}): check who may write there") from None


def _fetched(reference: str, report: Report) -> Snapshot:
    """Return the files of a bundle on this disk, and nothing else of its repository or folder."""
    try:
        parsed = parse_reference(reference)
    except ValueError as error:
        raise InputError(str(error), "reference") from None
    folder = isinstance(parsed, FolderReference)
    if isinstance(parsed, FolderReference):
        _check_files(reference, parsed.path)
    snapshot = resolve(reference, allow=PULLED_FILES, repo_type="model" if folder else "dataset", max_bytes=MAX_BYTES, report=report)
    files = tuple(name for name in snapshot.files if name in PULLED_FILES)
    if PROVENANCE_FILE not in files:
        raise InputError(f"{reference[:200]} holds no results of this program, it has no {PROVENANCE_FILE}", "reference")
    _check_size(reference, sum((snapshot.path / name).stat().st_size for name in files))
    return snapshot


def _check_files(reference: str, folder: Path) -> None:
    """Raise InputError where a folder's file is a link, a device or a pipe, or all are too large; none of them is opened."""
    size = 0
    for name in PULLED_FILES:
        try:
            found = (folder / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise InputError(f"{reference[:200]} cannot be read ({error.strerror}): check its permissions", "reference") from None
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{name} in {reference[:200]} is no ordinary file: put the file itself there, no link", "reference")
        size += found.st_size
    _check_size(reference, size)


def _check_size(reference: str, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(f"{reference[:200]} has {size / 1e9:.3g} GB, and {MAX_BYTES / 1e9:.3g} GB are allowed", "reference")


def _named(snapshot: Snapshot) -> tuple[str, str]:
    """Return the source that rows will name, and the name of the database file."""
    short = snapshot.revision.removeprefix("sha256:")[:7]
    if snapshot.repo_type == "folder":
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", snapshot.path.resolve().name)[:60].strip("-.") or "folder"
        return f"folder:{name}", f"folder--{name}-{short}"
    return f"hub:{snapshot.reference}@{short}", f"{snapshot.reference.replace('/', '--')}-{short}"


def _keep(snapshot: Snapshot, source: str, path: Path, report: Report) -> Pulled:
    """Check the files, write the database, and let it appear; files that held the same source before go."""
    draft, record = path.with_name(f".{path.stem}.{os.getpid()}"), path.with_suffix(".json")
    try:
        told = _checked(snapshot, draft, source, report)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        pulled = Pulled(
            source=source,
            reference=snapshot.reference,
            revision=snapshot.revision,
            license="".join(filter(str.isprintable, snapshot.license or told["license"]))[:100],
            pulled=time.time(),
            bytes=draft.stat().st_size,
            **{name: told[name] for name in ("created", "software_version", "rows")},
        )
        note = record.with_name(f"{draft.name}.json")
        note.write_text(pulled.model_dump_json(indent=1) + "\n", encoding="utf-8")
        note.replace(record)
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        _clear(path.parent)
    for other, earlier in _records_in(path.parent):
        if earlier.source == source and other != record:
            other.with_suffix(".duckdb").unlink(missing_ok=True)
            other.unlink(missing_ok=True)
    return pulled


def _checked(snapshot: Snapshot, draft: Path, source: str, report: Report) -> dict[str, Any]:
    """Run the reader as a process of its own, without our environment's tokens; returns what it says of the bundle."""
    command = [sys.executable, "-m", "pfd_engine.sharing.bundle.read", str(snapshot.path), str(draft), source]
    environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name.upper()}
    reader = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    watch = threading.Timer(SECONDS, reader.kill)
    watch.start()
    last: dict[str, Any] = {}
    try:
        assert reader.stdout is not None
        with reader.stdout as lines:
            for line in lines:
                said = json.loads(line)
                if said.get("type") == "progress":
                    report(said)
                else:
                    last = said
        reader.wait()
    finally:
        watch.cancel()
        reader.kill()
        reader.wait()
    if "done" in last:
        done: dict[str, Any] = last["done"]
        return done
    reason = last.get("refused", "is damaged, or needs more memory or time than a set of results may")
    raise InputError(f"{source.partition(':')[2]} {reason}: nothing was changed", "reference")


def _clear(folder: Path) -> None:
    """Remove drafts."""
    for leftover in folder.glob(".*"):
        if leftover.name != LOCK:
            with suppress(OSError):
                leftover.unlink()


def _records(workspace: Workspace) -> Iterator[tuple[Path, Pulled]]:
    yield from _records_in(workspace.pulled)


def _records_in(folder: Path) -> Iterator[tuple[Path, Pulled]]:
    """Yield each note with its contents that lies beside its database."""
    for path in sorted(folder.glob("[!.]*.json")):
        if path.with_suffix(".duckdb").is_file():
            with suppress(OSError, ValidationError):
                yield path, Pulled.model_validate_json(path.read_bytes())
