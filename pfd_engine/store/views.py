"""The views that unite the sources: the workspace's own rows, the shipped ones and what was pulled from others."""

from __future__ import annotations

from pathlib import Path

import duckdb

from pfd_engine.store.ingest import roll_back
from pfd_engine.store.pulled import PulledDatabases
from pfd_engine.store.schema import MIGRATIONS, TABLES


def attach_published(connection: duckdb.DuckDBPyConnection, published: Path | None) -> tuple[set[str], list[str]]:
    """Attach the shipped results read-only as `published`; returns their tables; none, and a warning, where they cannot be read."""
    if published is None or not published.is_file():
        return set(), []
    try:
        connection.execute("attach ? as published (read_only)", [str(published)])
        ((version,),) = connection.execute("select max(version) from published.migrations").fetchall()
        if version is None or version > len(MIGRATIONS):
            raise duckdb.Error("written by a newer version")
    except duckdb.Error as error:
        return set(), [f"the shipped results {published.name} cannot be read and are left out: {str(error).splitlines()[0]}"]
    found = connection.execute("select table_name from duckdb_tables() where database_name = 'published'").fetchall()
    return {name for (name,) in found}, []


def create_views(connection: duckdb.DuckDBPyConnection, pulled: PulledDatabases, published: set[str]) -> list[str]:
    """Unite what is there now; a reader sees all of the views as they were, or all as they become. Returns warnings."""
    warnings, gone = pulled.update(connection)
    connection.execute("begin")
    try:
        pulled.note_runs(connection, "runs" in published)
        for name in TABLES:
            united = [f"select * exclude (key) from workspace.{name}"]
            united += [f"select * exclude (key) from published.{name}"] if name in published else []
            sql = " union all by name ".join(united + pulled.branches(name))
            connection.execute(f"create or replace view {name} as {sql}")
        connection.execute("commit")
    except BaseException:
        roll_back(connection)
        raise
    for alias in gone:
        connection.execute(f"detach {alias}")
    return warnings
