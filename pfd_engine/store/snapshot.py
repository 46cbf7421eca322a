"""A copy of all results as one database file, for readers that must never come near the store's own connection."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

import duckdb

from pfd_engine.store.schema import TABLES


def write_snapshot(cursor: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the rows of all sources, as of one moment, into a new file: a table for each view, without the bytes of images."""
    alias = f"snapshot_{secrets.token_hex(4)}"
    path.unlink(missing_ok=True)
    cursor.execute(f"attach ? as {alias}", [str(path)])
    try:
        cursor.execute("begin")
        for table in TABLES.values():
            columns = ", ".join(f'"{name}"' for name, kind in table.columns.items() if kind != "BLOB")
            cursor.execute(f"create table {alias}.{table.name} as select {columns}, source from main.{table.name}")
        cursor.execute("commit")
    except BaseException:
        with suppress(duckdb.Error):
            cursor.execute("rollback")
        raise
    finally:
        cursor.execute(f"detach {alias}")
