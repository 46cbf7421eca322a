"""A visitor's SQL: a snapshot file of all results, and a child process (`sql_child.py`) that answers one query over it."""

from __future__ import annotations

import atexit
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pfd_engine.errors import InputError
from pfd_engine.store.database import Store
from pfd_engine.store.sql.child import BYTES, ROWS, SECONDS
from pfd_engine.workspace import REPOSITORY

MAX_QUERY = 4000
AT_ONCE, WAIT_SECONDS = 2, 5.0
WRITING_SHARE = 5  # a snapshot is written anew when it is at least so many times as old as writing it took
NO_ANSWER = "the query ended without an answer, most likely because it needs more memory than this page allows: filter, or aggregate"
_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Snapshot:
    """A database file with the results as they were: `version` is the store's, `written` a unix time, `seconds` what writing took."""

    path: Path
    version: str
    written: float
    seconds: float

    def age(self, store: Store) -> float:
        """Return how many seconds old the rows are, 0 where they are the store's present ones."""
        return 0.0 if self.version == store.version else max(0.0, time.time() - self.written)


@dataclass(frozen=True)
class Answer:
    """The result of a query; `cut` says what ended it early: "rows", "bytes", or "" where it is complete."""

    data: bytes
    rows: int
    seconds: float
    cut: str

    @property
    def table(self) -> pa.Table:
        """The result as an Arrow table."""
        return pa.ipc.open_stream(self.data).read_all()

    @property
    def cut_note(self) -> str:
        """One sentence about what is missing, empty where nothing is."""
        if self.cut == "rows":
            return f"These are the first {ROWS:,} rows, and there are more: aggregate, or filter."
        return f"These are the first {BYTES // 2**20} MiB, and there is more: aggregate, or choose fewer columns." if self.cut else ""

    def csv(self) -> bytes:
        """Return the result as CSV with a heading; lists are written as JSON, and what is missing is empty."""
        from pyarrow import csv

        table = self.table
        for position, field in enumerate(table.schema):
            if pa.types.is_list(field.type):
                texts = [None if value is None else json.dumps(_finite(value), default=str) for value in table.column(position).to_pylist()]
                table = table.set_column(position, field.name, pa.array(texts, pa.string()))
        stream = io.BytesIO()
        csv.write_csv(table, stream)
        return stream.getvalue()

    def parquet(self) -> bytes:
        """Return the result as a Parquet file."""
        from pyarrow import parquet

        stream = io.BytesIO()
        parquet.write_table(self.table, stream)
        return stream.getvalue()

    def json(self) -> bytes:
        """Return the result as a JSON array of objects; what is no finite number is null."""
        return json.dumps(_finite(self.table.to_pylist()), default=str, ensure_ascii=False, indent=1, allow_nan=False).encode()


class Snapshots:
    """The snapshot files of one server: at most two, the present one and the one that queries may still be reading.

    `folder` belongs to this object alone, and what lies there is removed; None: a temporary one, which goes with the process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._ready = False
        self._last: Snapshot | None = None

    def current(self, store: Store) -> Snapshot:
        """Return a snapshot of the present rows, or of a moment ago; written where data changed. Raises InputError where it cannot be."""
        with self._lock:
            last = self._last
            if last is not None and last.path.exists():
                age = time.time() - last.written
                if last.version == store.version or 0 <= age < WRITING_SHARE * last.seconds:
                    return last
            try:
                self._last = self._write(store)
            except (OSError, duckdb.Error) as error:
                raise InputError("the results cannot be copied for a query, the disk is full or not writable: free space") from error
            return self._last

    def _write(self, store: Store) -> Snapshot:
        folder = self._prepared()
        version, started = store.version, time.time()
        path = folder / f"{version}.duckdb"
        draft = folder / f".{version}.duckdb"
        for leftover in (draft, draft.with_name(f"{draft.name}.wal")):
            leftover.unlink(missing_ok=True)
        try:
            store.snapshot(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        kept = {path, self._last.path if self._last else path}
        for other in folder.iterdir():
            if other not in kept:
                other.unlink(missing_ok=True)
        return Snapshot(path, version, started, time.time() - started)

    def _prepared(self) -> Path:
        """Return the folder, made where there is none, and emptied of what an earlier server left."""
        if self._ready and self._folder is not None and self._folder.is_dir():
            return self._folder
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                for leftover in self._folder.glob("*duckdb*"):
                    leftover.unlink()
            except OSError:
                self._folder = None
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pfd-sql-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._ready = True
        return self._folder


def run_query(path: Path, query: str, seconds: float = SECONDS) -> Answer:
    """Answer one query over a snapshot file in a child process, which is gone afterwards; raises InputError with one sentence.

    At most `AT_ONCE` children live at once in this process; a query that finds no place for a few seconds is told so.
    """
    if len(query) > MAX_QUERY:
        raise InputError(f"the query has {len(query):,} characters, and {MAX_QUERY:,} are allowed")
    if not query.strip():
        raise InputError("there is no query in this text: write one, or choose an example")
    if not _places.acquire(timeout=WAIT_SECONDS):
        raise InputError("other visitors' queries are running, and this server runs only a few at once: try again in a few seconds")
    try:
        return _asked({"path": str(path), "query": query}, seconds)
    finally:
        _places.release()


def _asked(request: dict[str, str], seconds: float) -> Answer:
    """Start the child without any of our environment, ask it, and kill it when its time is over."""
    child = subprocess.Popen(
        [sys.executable, "-m", "pfd_engine.store.sql.child"], cwd=REPOSITORY, env={}, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(child)

    watch = threading.Timer(seconds, end)
    watch.start()
    try:
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps(request).encode())
            child.stdin.close()
        said = child.stdout.read(4 * BYTES + 2**20)
    finally:
        watch.cancel()
        _kill(child)
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()
        child.wait()
    head, _, data = said.partition(b"\n")
    try:
        told: dict[str, Any] = json.loads(head)
        if "refused" in told:
            raise InputError(str(told["refused"]))
        rows = pa.ipc.open_stream(data).read_all().num_rows
    except (ValueError, OSError):  # it ended before it had said everything
        if late.is_set():
            raise InputError(f"the query took longer than {seconds:g} seconds and was stopped: filter, aggregate, or limit it") from None
        raise InputError(NO_ANSWER) from None
    return Answer(data, rows, float(told["seconds"]), str(told["cut"]))


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it may have started; it leads a process group of its own until it is waited for."""
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def _finite(value: Any) -> Any:
    """Return a value with None for every number that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return {name: _finite(item) for name, item in value.items()} if isinstance(value, dict) else value
