"""Reading run folders into the database: what is new in each event file, and the byte offset it reaches to, in one transaction."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from pfd_engine.errors import InputError
from pfd_engine.runs.events import LINE_LIMIT, parse_lines, read_whole_lines
from pfd_engine.runs.folder import Run, list_runs, parse_config
from pfd_engine.runs.status import Status
from pfd_engine.store.schema import RUNS, TABLES, Table, event_row
from pfd_engine.workspace import Workspace

_ARROW = {
    "VARCHAR": pa.string(),
    "JSON": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DOUBLE[]": pa.list_(pa.float64()),
    "BLOB": pa.binary(),
}
_log = logging.getLogger(__name__)


def ingest(cursor: duckdb.DuckDBPyConnection, workspace: Workspace, settled: set[str], warnings: list[str]) -> int:
    """Read everything new in the run folders into the attached database `workspace`; returns how many rows were written.

    Runs in `settled` are passed over; those that have finished, and so write nothing more, are added to it.
    Damaged lines are left out, with a sentence in `warnings`. A run that cannot be read does not keep the others out.
    """
    runs = list_runs(workspace, settled)
    if not runs:
        return 0
    known = {run_id: (offset, stamp) for run_id, offset, stamp in cursor.execute(_KNOWN).fetchall()}
    finished = {run_id for (run_id,) in cursor.execute("select run_id from workspace.runs where state = 'finished'").fetchall()}
    rows = 0
    for run in runs:
        offset, stamp = known.get(run.id, (0, None))
        try:
            rows += _ingest_run(cursor, run, offset, stamp, warnings)
        except OSError as error:
            _log.warning("run %s could not be read: %s", run.id, error)
        else:
            if run.id in finished:  # seen to have finished before this read, so that nothing came after it
                settled.add(run.id)
    return rows


def arrow_schema(table: Table) -> pa.Schema:
    """Return the columns of a table as Arrow, and so Parquet, has them."""
    return pa.schema([(name, _ARROW[kind]) for name, kind in table.columns.items()])


def upsert(cursor: duckdb.DuckDBPyConnection, database: str, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write typed rows with their keys, the last of equal ones; `database` is an attached name of ours, never user input."""
    unique = {row["key"]: row for row in rows}
    if not unique:
        return 0
    schema = arrow_schema(table).insert(0, pa.field("key", pa.string()))
    cursor.register("incoming_rows", pa.Table.from_pylist(list(unique.values()), schema=schema))
    try:
        cursor.execute(f"insert or replace into {database}.{table.name} by name select * from incoming_rows")
    finally:
        cursor.unregister("incoming_rows")
    return len(unique)


def roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    """End a transaction that failed, without hiding why it did."""
    with suppress(duckdb.Error):
        cursor.execute("rollback")


_KNOWN = 'select run_id, "offset", status_stamp from workspace.ingested'


def _ingest_run(cursor: duckdb.DuckDBPyConnection, run: Run, offset: int, known_stamp: str | None, warnings: list[str]) -> int:
    """Bring one run up to date, in transactions of at most one block of its event file each."""
    rows, first = 0, True
    if not _ends_a_line(run, offset):
        offset = 0
    while True:
        stamp = _stamp(run)
        data = read_whole_lines(run.events_path, offset) if run.events_path.is_file() else b""
        too_long = not data and run.events_path.is_file() and run.events_path.stat().st_size - offset >= LINE_LIMIT
        if not data and (stamp == known_stamp or not first):
            if too_long:
                _log.warning("run %s has a line of more than %d bytes: what follows it is left out", run.id, LINE_LIMIT)
            return rows
        by_table, result, damaged = _rows_of(data, run.id)
        offset += len(data)
        cursor.execute("begin")
        try:
            for name, table_rows in by_table.items():
                rows += upsert(cursor, "workspace", TABLES[name], table_rows)
            if result is None:
                kept = cursor.execute("select result from workspace.runs where run_id = ?", [run.id]).fetchall()
                result = json.loads(kept[0][0]) if kept and kept[0][0] else None
            rows += upsert(cursor, "workspace", RUNS, [_run_row(run, result)])
            cursor.execute("insert or replace into workspace.ingested values (?, ?, ?, ?)", [run.id, offset, stamp, damaged])
            cursor.execute("commit")
        except BaseException:
            roll_back(cursor)
            raise
        if damaged:
            warnings.append(_left_out(damaged, run.id))
        known_stamp, first = stamp, False
        if not data:
            return rows


def _rows_of(data: bytes, run_id: str) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any] | None, int]:
    """Return the rows of each table, the last result, and how many lines were damaged."""
    by_table: dict[str, list[dict[str, Any]]] = {}
    result, damaged = None, 0
    for event in parse_lines(data):
        if event is None:
            damaged += 1
            continue
        try:
            if event["type"] == "result" and isinstance(event.get("result"), dict):
                json.dumps(event["result"], allow_nan=False)
                result = event["result"]
            elif (found := event_row(event, run_id)) is not None:
                by_table.setdefault(found[0], []).append(found[1])
        except (ValueError, TypeError, OverflowError, RecursionError):
            damaged += 1
    return by_table, result, damaged


def _left_out(damaged: int, run_id: str) -> str:
    what, verb, held = ("1 damaged line", "was", "it") if damaged == 1 else (f"{damaged} damaged lines", "were", "they")
    return f"{what} in the events of run {run_id} {verb} left out: start the run again to measure what {held} held"


def _run_row(run: Run, result: dict[str, Any] | None) -> dict[str, Any]:
    status, values, command = run.status, run.config_values, None
    with suppress(InputError):
        command = parse_config(values).command()
    found = result or {}
    row = {
        **status.model_dump(include={"state", "created", "started", "finished", "attempt", "exit_code", "message"}),
        "run_id": run.id,
        "kind": run.id.split("-")[0],
        "teacher": values.get("teacher"),
        "student": values.get("student"),
        "seconds": found.get("seconds"),
        "device": found.get("device"),
        "git_commit": found.get("git_commit"),
        "versions": found.get("versions"),
        "command": command,
        "config": values or None,
        "result": result,
    }
    try:
        return RUNS.row(row)
    except (ValueError, TypeError, OverflowError, RecursionError):
        sound = Status(state=status.state, message="the files of this run are damaged")
        return RUNS.row({"run_id": run.id, "kind": run.id.split("-")[0], "state": sound.state, "message": sound.message})


def _stamp(run: Run) -> str:
    """Return what changes whenever status.json is replaced."""
    try:
        found = os.stat(run.path / "status.json")
    except OSError:
        return "none"
    return f"{found.st_mtime_ns}-{found.st_ino}-{found.st_size}"


def _ends_a_line(run: Run, offset: int) -> bool:
    """Tell whether the offset still is the end of a line: not so where a power failure took unsynced lines away."""
    if offset == 0:
        return True
    try:
        with run.events_path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False
