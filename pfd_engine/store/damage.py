"""A workspace database that is damaged: how that is told from other trouble, and how its file is set aside."""

from __future__ import annotations

import time
from contextlib import suppress

import duckdb

from pfd_engine.store.schema import TABLES
from pfd_engine.store.settings import Settings
from pfd_engine.workspace import Workspace

_SUSPECT = (
    duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException, duckdb.TransactionException, duckdb.ConstraintException
)  # fmt: skip
INGESTED = {"run_id": "VARCHAR", "offset": "BIGINT", "status_stamp": "VARCHAR", "warnings": "BIGINT"}
_OF_THE_MACHINE = ("No space left", "Permission denied", "Could not set lock", "Too many open files", "Read-only file system")


def may_be_damage(error: duckdb.Error, workspace: Workspace) -> bool:
    """Tell whether an error can come from the workspace's database being damaged; a corrupt block is an error of no class of its own."""
    text = str(error)
    if any(reason in text for reason in _OF_THE_MACHINE):
        return False
    said = "corrupt" in text.lower() or (isinstance(error, duckdb.IOException) and workspace.database.name in text)
    return said or type(error) is duckdb.Error or isinstance(error, _SUSPECT)


def check_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise duckdb.Error unless the attached database `workspace` has every table of ours, with its columns and their types."""
    found = connection.execute(
        "select table_name, column_name, replace(data_type, 'JSON', 'VARCHAR') "
        "from duckdb_columns() join duckdb_tables() using (database_name, table_name) where database_name = 'workspace'"
    ).fetchall()
    for name, columns in {**{name: table.columns for name, table in TABLES.items()}, "ingested": INGESTED}.items():
        if not {(name, column, kind.replace("JSON", "VARCHAR")) for column, kind in columns.items()} <= set(found):
            raise duckdb.Error(f"the table {name} is corrupt")


def is_sound(workspace: Workspace, settings: Settings) -> bool:
    """Tell whether every row of a database can be read. No connection of this process may be open to it."""
    try:
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.execute("attach ? as workspace (read_only)", [str(workspace.database)])
            check_tables(connection)
            for name in (*TABLES, "ingested", "migrations"):
                connection.execute(f"select count(*), bit_xor(hash(whole)) from workspace.{name} as whole").fetchall()
    except duckdb.Error as error:
        return not may_be_damage(error, workspace) and not isinstance(error, duckdb.CatalogException)
    return True


def set_aside(workspace: Workspace) -> str:
    """Rename a database, whose lock the caller holds, in place of any that was set aside before; returns what to tell the user."""
    for earlier in workspace.root.glob("results.damaged-*.duckdb"):
        with suppress(OSError):
            earlier.unlink()
    aside = workspace.database.with_name(f"results.damaged-{time.time_ns()}.duckdb")
    workspace.database.replace(aside)
    workspace.database.with_name("results.duckdb.wal").unlink(missing_ok=True)
    return f"the database could not be read and was rebuilt from the run folders; the old file is {aside.name}"
