"""Results of others in the store: the databases that `pull` wrote into the workspace, attached read-only as they come and go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from pfd_engine.store.schema import MIGRATIONS

MAX_PULLED = 20
PULLED = ("hub:", "folder:")  # how the `source` of a pulled row starts; 'workspace' and 'published' sort after both
VISIBLE = "pulled_runs"


@dataclass(frozen=True)
class _Attached:
    alias: str
    tables: frozenset[str]


class PulledDatabases:
    """The attached files of one folder; `branches` are what views add. A run id that is one's own already is not shown from them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: object = ()
        self._attached: dict[tuple[Path, int, int], _Attached] = {}
        self._count = 0

    def changed(self) -> bool:
        """Tell, from the folder's time alone, whether files may have come or gone since the last `update`."""
        return self._folder is not None and self._seen != self._stamp()

    def update(self, cursor: duckdb.DuckDBPyConnection) -> tuple[list[str], list[str]]:
        """Attach the newest files, note which runs each of them shows, and return warnings and the aliases to detach after the views."""
        self._seen, warnings = self._stamp(), []
        files = self._files()
        gone = [self._attached.pop(file).alias for file in set(self._attached) - set(files)]
        for file in files:
            if file not in self._attached:
                try:
                    self._attached[file] = self._attach(cursor, file[0])
                except duckdb.Error as error:
                    reason = str(error).splitlines()[0]
                    warnings.append(f"the pulled results {file[0].stem} cannot be read and are left out ({reason}): pull them again")
        self._attached = {file: self._attached[file] for file in files if file in self._attached}
        return warnings, gone

    def note_runs(self, cursor: duckdb.DuckDBPyConnection, published: bool) -> None:
        """Write which runs each database shows: those that neither the shipped results nor a newer pull have."""
        cursor.execute(f"create or replace table {VISIBLE} (alias varchar, run_id varchar)")
        taken = f"select run_id from {VISIBLE}" + (" union all select run_id from published.runs" if published else "")
        for database in self._attached.values():
            alias = database.alias
            cursor.execute(f"insert into {VISIBLE} select '{alias}', run_id from {alias}.runs where run_id not in ({taken})")

    def branches(self, table: str) -> list[str]:
        """Return a query for each database that has a table: its rows of the runs that it shows, or all where rows are of no run."""
        chosen = []
        for database in self._attached.values():
            if table in database.tables:
                sql = f"select * exclude (key) from {database.alias}.{table}"
                if table not in ("checkpoints", "training_sets"):
                    sql += (
                        f" where run_id in (select run_id from {VISIBLE} where alias = '{database.alias}')"
                        " and run_id not in (select run_id from workspace.runs)"
                    )
                chosen.append(sql)
        return chosen

    def _attach(self, cursor: duckdb.DuckDBPyConnection, path: Path) -> _Attached:
        self._count += 1
        alias = f"pulled_{self._count}"
        cursor.execute(f"attach ? as {alias} (read_only)", [str(path)])
        try:
            ((version,),) = cursor.execute(f"select max(version) from {alias}.migrations").fetchall()
            if version is None or version > len(MIGRATIONS):
                raise duckdb.Error("written by a newer version")
            found = cursor.execute("select table_name from duckdb_tables() where database_name = ?", [alias]).fetchall()
        except BaseException:
            cursor.execute(f"detach {alias}")
            raise
        return _Attached(alias, frozenset(name for (name,) in found))

    def _files(self) -> list[tuple[Path, int, int]]:
        """Return path, inode and time of the newest files, the newest first."""
        found = []
        for path in self._folder.glob("[!.]*.duckdb") if self._folder is not None else ():
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((path, stat.st_ino, stat.st_mtime_ns))
        return sorted(found, key=lambda file: (-file[2], file[0]))[:MAX_PULLED]

    def _stamp(self) -> object:
        try:
            stat = self._folder.stat() if self._folder is not None else None
        except OSError:
            return None
        return stat and (stat.st_ino, stat.st_mtime_ns)
