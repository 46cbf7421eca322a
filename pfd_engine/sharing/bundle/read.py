"""Reading a stranger's bundle, in a process of its own with limits on memory and time: `python -m pfd_engine.sharing.bundle.read`.

It reads from FOLDER the files that a bundle may have and writes what passes every check into the database file DRAFT, a new one, under
the name SOURCE. Each line on stdout is a JSON object: progress, then `{"done": {...}}` or `{"refused": sentence}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from pfd_engine.sharing.bundle.format import (
    FORMAT,
    FORMAT_VERSION,
    MAX_BYTES,
    MAX_DISTANCES,
    MAX_PROVENANCE_BYTES,
    MAX_ROWS,
    PROVENANCE_FILE,
    SCHEMA_VERSION,
    TABLE_FILES,
    Provenance,
    RunProvenance,
)
from pfd_engine.sharing.bundle.rows import checked_row, no_constant
from pfd_engine.store.database import OFFLINE, migrate
from pfd_engine.store.ingest import arrow_schema, upsert
from pfd_engine.store.schema import TABLES, Table

MEMORY_BYTES, SECONDS = 3 * 2**30, 600
MAX_VALUES, MAX_NAMES = 200_000_000, 1000
ROWS_AT_A_TIME = {"runs": 64, "noise_distances": 256, "pairs": 64}
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
        values = json.loads(data, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Refused(f"is damaged: {PROVENANCE_FILE} is no JSON") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise Refused(f"holds no results of this program: {PROVENANCE_FILE} does not say {FORMAT}")
    for name, known in (("format_version", FORMAT_VERSION), ("schema_version", SCHEMA_VERSION)):
        version = values.get(name)
        if isinstance(version, int) and version > known:
            shown = version if version < 10**9 else f"{str(version)[:9]}…"
            raise Refused(f"was published by a newer version of this program ({name.replace('_', ' ')} {shown}, known is {known})")
    _check_names(values)
    try:
        return Provenance.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _wrong(first["loc"], str(first["msg"])[:200].lower()) from None


def _check_names(values: dict[str, Any]) -> None:
    """Refuse names that no provenance has, and too many of them: the checks that follow write a message for each."""
    runs = values.get("runs")
    parts: list[tuple[tuple[str | int, ...], type[BaseModel], Any]] = [((), Provenance, values)]
    parts += [(("runs", i), RunProvenance, run) for i, run in enumerate(runs if isinstance(runs, list) else [])]
    for where, model, part in parts:
        if isinstance(part, dict):
            for name, value in part.items():
                if name not in model.model_fields:
                    raise _wrong((*where, name), "it is not known")
                if name != "config" and isinstance(value, dict) and len(value) > MAX_NAMES:
                    raise _wrong((*where, name), f"it has more than {MAX_NAMES:,} names")


def _wrong(place: Sequence[str | int], what: str) -> Refused:
    where = ".".join("".join(filter(str.isprintable, str(part)))[:40] for part in place[:4])
    return Refused(f"is damaged: {PROVENANCE_FILE} is wrong at {where or 'its top'}, {what}")


def read_bundle(folder: Path, draft: Path, source: str, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Check every file and write the database; returns `rows` (by table), `license` and more of the provenance. Raises Refused."""
    provenance = read_provenance(folder)
    expected = {name: provenance.tables.get(name, 0) for name in TABLE_FILES}
    run_ids = {run.run_id for run in provenance.runs}
    total, done, work = sum(expected.values()), 0, draft.with_name(f"{draft.name}.work")
    with duckdb.connect(":memory:", config=OFFLINE | {"memory_limit": "1GB", "threads": "2"}) as connection:
        connection.execute("attach ? as work", [str(work)])
        migrate(connection, "work")
        for name, table in TABLES.items():
            quoted = source.replace("'", "''")
            connection.execute(f"alter table work.{name} alter column source set default '{quoted}'")
            for rows in _tables_rows(folder / TABLE_FILES[name], table, provenance, run_ids):
                upsert(connection, "work", table, rows)
                done += len(rows)
                report({"type": "progress", "phase": "check", "done": done, "total": total, "unit": "rows"})
        connection.execute("attach ? as pulled", [str(draft)])
        written = {}
        for name in ("migrations", *TABLES):  # keys have done their work, and they and their index take most of the space
            kept = "*" if name == "migrations" else "* replace ('' as key)"
            connection.execute(f"create table pulled.{name} as select {kept} from work.{name}")
            written[name] = connection.execute(f"select count(*) from pulled.{name}").fetchall()[0][0]
        connection.execute("checkpoint pulled")
    work.unlink()
    del written["migrations"]
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
        limits = {"thrift_string_size_limit": 2**24, "thrift_container_size_limit": 2**20}
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True, **limits) as file:
            _check_file(file, table, expected, provenance.schema_version)
            for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME.get(name, 4096), use_threads=False):
                found += batch.num_rows
                if found > expected:
                    raise Refused(f"is damaged: {path.name} has more rows than it says")
                rows = [checked_row(row, table, run_ids) for row in batch.to_pylist()]
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
