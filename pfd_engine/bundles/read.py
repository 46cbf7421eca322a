"""Reading a stranger's bundle, in a process of its own with limits on memory and time: `python -m pfd_engine.bundles.read`.

It reads from FOLDER the files that a bundle may have and writes what passes every check into the database file DRAFT, a new one, under
the name SOURCE. Each line on stdout is a JSON object: progress, then `{"done": {...}}` or `{"refused": sentence}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pfd_engine.bundles.format import (
    FORMAT,
    FORMAT_VERSION,
    MAX_BYTES,
    MAX_DISTANCES,
    MAX_NAME,
    MAX_PROVENANCE_BYTES,
    MAX_ROWS,
    MAX_TEXT,
    PROVENANCE_FILE,
    SCHEMA_VERSION,
    TABLE_FILES,
    Provenance,
)
from pfd_engine.bundles.images import COLUMNS, clean_png
from pfd_engine.bundles.result import strict_result
from pfd_engine.errors import InputError
from pfd_engine.noise_ranges import SEED_LIMIT
from pfd_engine.runs import RUN_ID, parse_config
from pfd_engine.store import OFFLINE, migrate
from pfd_engine.store_ingest import arrow_schema, upsert
from pfd_engine.store_schema import REQUIRED, TABLES, Table

MEMORY_BYTES, SECONDS = 3 * 2**30, 600
MAX_VALUES = 200_000_000
ROWS_AT_A_TIME = {"runs": 64, "noise_distances": 256, "pairs": 64}
LABELS = ("experiment", "family", "size", "objective", "metric", "band", "descriptor", "solver", "group", "role", "weights", "license")
OF_NO_RUN = ("checkpoints", "training_sets")
Rows = list[dict[str, Any]]


class Refused(Exception):
    """A bundle cannot be taken; the message goes on the sentence that begins with its name."""


def read_provenance(folder: Path) -> Provenance:
    """Read and check provenance.json; raises Refused."""
    path = folder / PROVENANCE_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROVENANCE_BYTES + 1)
    except OSError:
        raise Refused(f"holds no results of this program, it has no {PROVENANCE_FILE}") from None
    if len(data) > MAX_PROVENANCE_BYTES:
        raise Refused(f"has a {PROVENANCE_FILE} of more than {MAX_PROVENANCE_BYTES // 2**20} MiB")
    try:
        values = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(f"is damaged: {PROVENANCE_FILE} is no JSON") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise Refused(f"holds no results of this program: {PROVENANCE_FILE} does not say {FORMAT}")
    for name, known in (("format_version", FORMAT_VERSION), ("schema_version", SCHEMA_VERSION)):
        version = values.get(name)
        if isinstance(version, int) and version > known:
            raise Refused(f"was published by a newer version of this program ({name.replace('_', ' ')} {version}, known is {known})")
    try:
        return Provenance.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise Refused(f"is damaged: {PROVENANCE_FILE} is wrong at {where or 'its top'}, {str(first['msg'])[:200].lower()}") from None


def read_bundle(folder: Path, draft: Path, source: str, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Check every file and write the database; returns `rows` (by table), `license` and more of the provenance. Raises Refused."""
    provenance = read_provenance(folder)
    expected = {name: provenance.tables.get(name, 0) for name in TABLE_FILES}
    run_ids = {run.run_id for run in provenance.runs}
    total, done = sum(expected.values()), 0
    with duckdb.connect(":memory:", config=OFFLINE | {"memory_limit": "1GB", "threads": "2"}) as connection:
        connection.execute("attach ? as pulled", [str(draft)])
        migrate(connection, "pulled")
        for name, table in TABLES.items():
            quoted = source.replace("'", "''")
            connection.execute(f"alter table pulled.{name} alter column source set default '{quoted}'")
            for rows in _tables_rows(folder / TABLE_FILES[name], table, provenance, run_ids):
                upsert(connection, "pulled", table, rows)
                done += len(rows)
                report({"type": "progress", "phase": "check", "done": done, "total": total, "unit": "rows"})
        written = {name: connection.execute(f"select count(*) from pulled.{name}").fetchall()[0][0] for name in TABLES}
        connection.execute("checkpoint pulled")
    told = provenance.model_dump(include={"license", "created", "software_version", "git_commit", "schema_version"})
    return told | {"rows": written}


def _tables_rows(path: Path, table: Table, provenance: Provenance, run_ids: set[str]) -> Iterator[Rows]:
    """Yield the checked rows of one Parquet file, a bounded number at a time; raises Refused with the name of the file."""
    name, expected, found, values = table.name, provenance.tables.get(table.name, 0), 0, 0
    if not path.is_file():
        if expected:
            raise Refused(f"is not complete: it has no {path.name}")
        return
    try:
        with pq.ParquetFile(path, pre_buffer=False, thrift_string_size_limit=2**24, thrift_container_size_limit=2**20) as file:
            _check_file(file, table, expected, provenance.schema_version)
            for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME.get(name, 4096), use_threads=False):
                found += batch.num_rows
                if found > expected:
                    raise Refused(f"is damaged: {path.name} has more rows than it says")
                rows = [_checked(row, table, run_ids) for row in batch.to_pylist()]
                values += sum(len(row["values"]) for row in rows) if name == "noise_distances" else 0
                if values > MAX_DISTANCES:
                    raise Refused(f"is too large: {path.name} holds more than {MAX_DISTANCES:,} distances")
                yield rows
    except Refused:
        raise
    except MemoryError:
        raise
    except (pa.ArrowException, OSError):
        raise Refused(f"is damaged: {path.name} cannot be read") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = "a value is wrong" if isinstance(error, ValidationError) else str(error).splitlines()[0][:200]
        raise Refused(f"is damaged: {path.name} does not fit the table of {name.replace('_', ' ')}, {reason}") from None
    if found != expected:
        raise Refused(f"is damaged: {path.name} has {found:,} rows where {PROVENANCE_FILE} says {expected:,}")


def _check_file(file: pq.ParquetFile, table: Table, expected: int, schema_version: int) -> None:
    """Check what a Parquet file says of itself: rows, bytes, columns and types. Raises ValueError or Refused."""
    metadata = file.metadata
    if metadata.num_rows > MAX_ROWS[table.name]:
        raise Refused(f"is too large: {TABLE_FILES[table.name]} says {metadata.num_rows:,} rows, and {MAX_ROWS[table.name]:,} are allowed")
    if metadata.num_rows != expected:
        said = f"{metadata.num_rows:,} rows where {PROVENANCE_FILE} says {expected:,}"
        raise Refused(f"is damaged: {TABLE_FILES[table.name]} has {said}")
    if sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)) > MAX_BYTES:
        raise Refused(f"is too large: {TABLE_FILES[table.name]} holds more than {MAX_BYTES // 2**30} GiB")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    if sum(group.column(j).num_values for group in groups for j in range(group.num_columns)) > MAX_VALUES:
        raise Refused(f"is too large: {TABLE_FILES[table.name]} holds more values than a set of results may")
    known, schema = arrow_schema(table), file.schema_arrow
    if len(schema.names) != len(set(schema.names)):
        raise ValueError("a column is there twice")
    if extra := [name for name in schema.names if name not in known.names]:
        raise ValueError(f"it has an unknown column {extra[0][:40]!r}")
    missing = [name for name in known.names if name not in schema.names]
    if missing and schema_version >= SCHEMA_VERSION:
        raise ValueError(f"it has no column {missing[0]!r}")
    for field in schema:
        if field.type != known.field(field.name).type:
            raise ValueError(f"its column {field.name!r} is of type {str(field.type)[:40]}, not {known.field(field.name).type}")


def _checked(values: dict[str, Any], table: Table, run_ids: set[str]) -> dict[str, Any]:
    """Return the typed row with its key, its images and JSON written anew; raises ValueError for what does not belong into the table."""
    long = () if table.name not in ("runs", "checkpoints") else ("command", "message", "config", "result", "versions", "metadata")
    for name, value in values.items():
        if isinstance(value, str) and name not in long and len(value) > MAX_NAME:
            raise ValueError(f"a {name.replace('_', ' ')} has more than {MAX_NAME:,} characters")
        if isinstance(value, str) and name in LABELS and (not value.isprintable() or "<" in value or ">" in value):
            raise ValueError(f"a {name.replace('_', ' ')} holds characters that no name has")
    run_id = values.get("run_id")
    if (run_id is not None or table.name not in OF_NO_RUN) and (not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id)):
        raise ValueError("a run has no proper id")
    if table.name not in OF_NO_RUN and run_id not in run_ids:
        raise ValueError(f"run {run_id} is not named in {PROVENANCE_FILE}")
    if table.name in _CLEANED:
        values = _CLEANED[table.name](values)
    row = table.row(values)
    if negative := [name for name, kind in table.columns.items() if kind == "BIGINT" and name != "exit_code" and (row[name] or 0) < 0]:
        raise ValueError(f"a {negative[0].replace('_', ' ')} is negative")
    for name in REQUIRED.get(table.name, ()):
        if row[name] is None:
            raise ValueError(f"a {name.replace('_', ' ')} is missing")
    return row


def _run(values: dict[str, Any]) -> dict[str, Any]:
    """Keep of a run what is known; its command line is not believed but made anew from its configuration."""
    if values.get("state") != "finished":
        raise ValueError("a run is not finished")
    config, command = _object(values.get("config")), None
    if config is not None:
        try:
            parsed = parse_config(config)
            config, command = parsed.model_dump(mode="json"), parsed.command()
        except InputError:
            config = None
    result = _object(values.get("result"))
    versions = _object(values.get("versions"))
    if versions is not None and not all(isinstance(version, str) for version in versions.values()):
        raise ValueError("a version is no text")
    if isinstance(values.get("message"), str) and len(values["message"]) > MAX_TEXT:
        raise ValueError("a message is too long")
    now = time.time()
    times = {name: _moment(values.get(name), now) for name in ("created", "started", "finished")}
    kind = str(values["run_id"]).split("-")[0]
    parts = {"config": config, "command": command, "versions": versions, "result": None if result is None else strict_result(result)}
    return values | parts | times | {"kind": kind}


def _moment(value: Any, now: float) -> float | None:
    """Return a unix time as it is, one in the future as now, so that nothing from elsewhere stays on top of one's own results."""
    return min(value, now) if isinstance(value, float) and value > 0 else None


def _checkpoint(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"shape": _shape(values.get("shape")), "metadata": _object(values.get("metadata"))}


def _training_set(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"shape": _shape(values.get("shape"))}


def _distances(values: dict[str, Any]) -> dict[str, Any]:
    start, stop, distances = values.get("seeds_start"), values.get("seeds_stop"), values.get("values")
    if not isinstance(start, int) or not isinstance(stop, int) or not 0 <= start < stop <= SEED_LIMIT:
        raise ValueError("a range of seeds is none")
    if not isinstance(distances, list) or len(distances) != stop - start:
        raise ValueError("a block of distances does not match its seeds")
    if None in distances or min(distances) < 0:
        raise ValueError("a squared distance is missing or negative")
    return values


def _pair(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: clean_png(values[name]) if values.get(name) else None for name in COLUMNS}


_CLEANED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "runs": _run,
    "checkpoints": _checkpoint,
    "training_sets": _training_set,
    "noise_distances": _distances,
    "pairs": _pair,
}


def _json(text: Any) -> Any:
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > 2**20:
        raise ValueError("a JSON text is too long")
    return json.loads(text, parse_constant=_no_constant)


def _object(text: Any) -> dict[str, Any] | None:
    found = _json(text)
    if found is not None and not isinstance(found, dict):
        raise ValueError("a JSON text is no object")
    return found


def _shape(text: Any) -> list[int] | None:
    found = _json(text)
    if found is not None and not (isinstance(found, list) and len(found) <= 8 and all(type(n) is int and 0 < n < 2**31 for n in found)):
        raise ValueError("a shape is no list of numbers")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def limit_this_process() -> None:
    """Bound memory and processor time, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Read one bundle; the words are FOLDER DRAFT SOURCE."""
    folder, draft, source = sys.argv[1:]
    limit_this_process()
    said = [0.0]

    def report(event: dict[str, Any]) -> None:
        if time.monotonic() - said[0] > 0.2:
            said[0] = time.monotonic()
            print(json.dumps(event), flush=True)

    try:
        print(json.dumps({"done": read_bundle(Path(folder), Path(draft), source, report)}), flush=True)
    except Refused as error:
        print(json.dumps({"refused": str(error)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
