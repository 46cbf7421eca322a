"""One visitor's query over a snapshot file, in a process of its own with nothing to lose: `python -m pfd_engine.store.sql.child`.

It reads `{"path": ..., "query": ...}` from stdin and writes one line of JSON to stdout: `{"refused": sentence}`, or
`{"seconds": ..., "cut": ...}` followed by the result as an Arrow stream. It opens the file read-only, without access to other files, to the
network or to settings; whoever starts it kills it when it takes too long.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from pfd_engine.store.schema import TABLES

ROWS, BYTES, COLUMNS = 10_000, 4 * 2**20, 200
SECONDS = 10
MEMORY = "256MB"  # of DuckDB; the process may use more, for what DuckDB does not count
MEMORY_BYTES = 768 * 2**20
LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": MEMORY,
    "threads": "1",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "lock_configuration": "true",
}
# Functions in FROM that read no file, no setting and no other process; all others are refused by name.
TABLE_FUNCTIONS = frozenset(("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary"))
REFUSED_FUNCTIONS = frozenset(
    (
        "getenv", "current_setting", "getvariable", "json_serialize_plan", "json_serialize_sql", "json_deserialize_sql", "write_log",
        "nextval", "currval", "setval",
    )
)  # fmt: skip
ALLOWED = "a query here is one SELECT (or WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE) over the tables of this page"
OUT_OF_MEMORY = "the query needs more memory than this page allows: filter, aggregate, or limit it"
KEPT = re.compile(r"(BOOLEAN|U?(TINYINT|SMALLINT|INTEGER|BIGINT)|FLOAT|DOUBLE|VARCHAR|DATE|TIMESTAMP)(\[\])?")
NUMBERS = re.compile(r"(DECIMAL\(\d+,\d+\)|U?HUGEINT)(\[\])?")
INTERNAL = re.compile(r"(duckdb|pg|sqlite|pragma)_")  # DuckDB's own views: a WITH of such a name, in another scope, must not open them
PATH = re.compile(r"(?<![\w.])(?:\.?/[\w.@+-]+){2,}")


class Refused(Exception):
    """The query gets no result; the message is one sentence."""


def open_snapshot(path: str) -> duckdb.DuckDBPyConnection:
    """Open a snapshot file for reading, with everything else locked; raises Refused."""
    try:
        return duckdb.connect(path, read_only=True, config=LOCKED)
    except duckdb.Error as error:
        raise Refused(f"the copy of the results cannot be opened, run the query again: {_first_line(error)}") from None


def answer(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[pa.Table, str]:
    """Return the result of a query, `ROWS` rows and `BYTES` bytes at most, and what cut it ("", "rows" or "bytes"); raises Refused."""
    try:
        query.encode()  # a lone surrogate is no text
        _check_kind(connection, query)
        _check_names(connection, query)
        return _fetched(_plain(connection.sql(query)))
    except (duckdb.OutOfMemoryException, MemoryError):
        raise Refused(OUT_OF_MEMORY) from None
    except UnicodeError:
        raise Refused("the query holds characters that are no text") from None
    except RecursionError:
        raise Refused("the query is nested too deeply") from None
    except duckdb.PermissionException:
        raise Refused(f"{ALLOWED}: it reads no file and no setting") from None
    except (duckdb.Error, pa.ArrowException, OSError) as error:  # an Arrow stream tells of DuckDB's errors in its own way
        raise Refused(OUT_OF_MEMORY if "Out of Memory" in str(error) else _first_line(error)) from None


def _check_kind(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse all but one SELECT."""
    statements = connection.extract_statements(query)
    if not statements:
        raise Refused(f"there is no query in this text: {ALLOWED}")
    if len(statements) > 1:
        raise Refused(f"these are {len(statements):,} statements: {ALLOWED}")
    try:
        kind = statements[0].type.name
    except ValueError:  # one that DuckDB's Python package has no name for
        kind = "UNKNOWN"
    if kind == "MULTI":
        raise Refused("name the values of a PIVOT, as in PIVOT ... ON metric IN ('E_gen', 'E_mem'): without them it is several statements")
    if kind != "SELECT":
        raise Refused(ALLOWED)


def _check_names(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse functions and tables that are not of this page, wherever in the query they stand."""
    ((serialized,),) = connection.execute("select json_serialize_sql(?::varchar)", [query]).fetchall()
    tree = json.loads(serialized)
    if tree.get("error"):
        raise Refused(ALLOWED)
    nodes = list(_nodes(tree))
    named = {name.lower() for node in nodes if "cte_map" in node for name in _cte_names(node)}
    known = {name for name in named if not INTERNAL.match(name)} | set(TABLES)
    for node in nodes:
        kind, function, table = node.get("type"), _name(node, "function_name"), _name(node, "table_name")
        if kind == "TABLE_FUNCTION" and _name(node["function"], "function_name") not in TABLE_FUNCTIONS:
            raise Refused(f"{_name(node['function'], 'function_name')} is no function that a query here may read from: {ALLOWED}")
        if function in REFUSED_FUNCTIONS:
            raise Refused(f"{function} is not allowed: {ALLOWED}")
        if kind == "BASE_TABLE" and table not in known and _name(node, "schema_name") != "information_schema":
            raise Refused(f"there is no table {_name(node, 'table_name')[:60]} here: the tables are {', '.join(TABLES)}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a tree of JSON."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _cte_names(node: dict[str, Any]) -> list[str]:
    return [str(entry.get("key")) for entry in node["cte_map"].get("map", [])]


def _name(node: dict[str, Any], field: str) -> str:
    return str(node.get(field) or "").lower()


def _plain(relation: duckdb.DuckDBPyRelation | None) -> duckdb.DuckDBPyRelation:
    """Return the same rows with a name of its own for each column, and types that every reader knows."""
    if relation is None:
        raise Refused(ALLOWED)
    if len(relation.columns) > COLUMNS:
        raise Refused(f"the result has {len(relation.columns):,} columns, and {COLUMNS} are allowed")
    parts, taken = [], set[str]()
    for position, (name, kind) in enumerate(zip(relation.columns, map(str, relation.types), strict=True), start=1):
        unique, number = name or "column", 1
        while unique.lower() in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique.lower())
        number_kind = NUMBERS.fullmatch(kind)
        target = "" if KEPT.fullmatch(kind) else f"::double{number_kind[2] or ''}" if number_kind else "::varchar"
        quoted = unique.replace('"', '""')
        parts.append(f'#{position}{target} as "{quoted}"')
    return relation.project(", ".join(parts)).limit(ROWS + 1)


def _fetched(relation: duckdb.DuckDBPyRelation) -> tuple[pa.Table, str]:
    """Fetch rows until there are none, or a limit is reached; returns them and the limit."""
    batches: list[pa.RecordBatch] = []
    rows, size, cut = 0, 0, ""
    with relation.to_arrow_reader(1000) as reader:
        for batch in reader:
            kept = batch.slice(0, ROWS - rows)
            cut = "rows" if kept.num_rows < batch.num_rows else ""
            if size + kept.nbytes > BYTES:
                kept, cut = kept.slice(0, _fitting(kept, BYTES - size)), "bytes"
            batches.append(kept)
            rows, size = rows + kept.num_rows, size + kept.nbytes
            if cut:
                break
        if cut == "bytes" and rows == 0:
            raise Refused(f"the first row alone has more than {BYTES // 2**20} MiB: choose fewer columns or shorter texts")
        return pa.Table.from_batches(batches, reader.schema), cut


def _fitting(batch: pa.RecordBatch, budget: int) -> int:
    """Return how many of the first rows of a batch have at most so many bytes."""
    low, high = 0, batch.num_rows
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if batch.slice(0, middle).nbytes <= budget else (low, middle - 1)
    return low


def _first_line(error: Exception) -> str:
    """Return the first line of an error, without the paths of this machine and of whatever length."""
    line = (str(error).strip().splitlines() or ["the query failed"])[0]
    return PATH.sub("a file", line)[:300]


def limit_this_process() -> None:
    """Bound memory, processor time and open files of this process, let it write no file, and end it when its parent forgot it."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource
        import signal

        signal.alarm(SECONDS + 2)
        limits = {
            resource.RLIMIT_DATA: MEMORY_BYTES,
            resource.RLIMIT_CPU: SECONDS + 1,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_NOFILE: 64,
        }
        for kind, most in limits.items():
            resource.setrlimit(kind, (most, most))


def main() -> int:
    """Answer the one request on stdin."""
    limit_this_process()
    request = json.load(sys.stdin)
    started = time.perf_counter()
    try:
        with open_snapshot(request["path"]) as connection:
            table, cut = answer(connection, request["query"])
    except Refused as error:
        print(json.dumps({"refused": str(error)}), flush=True)
        return 0
    print(json.dumps({"seconds": time.perf_counter() - started, "cut": cut}), flush=True)
    with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
