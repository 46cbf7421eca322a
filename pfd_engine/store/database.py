"""The database of results: one owner, the workspace's own rows and the shipped ones united by views with a `source` column."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb
from filelock import FileLock, Timeout

from pfd_engine.store.damage import check_tables, is_sound, may_be_damage, set_aside
from pfd_engine.store.errors import OwnedElsewhere, TooLarge, Unwritable
from pfd_engine.store.ingest import ingest, roll_back
from pfd_engine.store.pulled import PulledDatabases
from pfd_engine.store.schema import MIGRATIONS
from pfd_engine.store.settings import OFFLINE, settings
from pfd_engine.store.snapshot import write_snapshot
from pfd_engine.store.views import attach_published, create_views
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace

if TYPE_CHECKING:
    import pandas as pd

MOST_REPAIRS, PLACES = 3, 2  # questions answered at once: each may take half of the memory

__all__ = ["OFFLINE", "OwnedElsewhere", "Store", "TooLarge", "Unwritable", "migrate", "read_results", "read_run_folders"]

Answer = TypeVar("Answer")


class Store:
    """One in-memory DuckDB connection with `workspace` (read-write, as its one owner) and `published` (read-only) attached.

    `workspace` None is the read-only demo. Views in the main schema (`runs`, `measurements`, `checkpoints`, `training_sets`,
    `noise_distances`, `training_curves`, `pairs`) unite both, with `source` = 'workspace' or 'published', and what was pulled from
    others, with `source` = 'hub:owner/name@sha' or 'folder:name'. All methods may be called from any thread. Raises OwnedElsewhere
    where another process owns the workspace database and Unwritable where nobody can write it; `read_run_folders` serves there.
    """

    def __init__(self, workspace: Workspace | None, published: Path | None = PUBLISHED_DATABASE, *, in_memory: bool = False) -> None:
        self.workspace = workspace
        self.warnings: list[str] = []
        self._guard, self._ingesting = threading.Lock(), threading.Lock()
        self._lock: FileLock | None = None
        self._places, self._alone = threading.Semaphore(PLACES), threading.Lock()
        self._settled: set[str] = set()
        self._token, self._changes, self._repairs = secrets.token_hex(4), 0, 0
        self._shipped, self._settings = published, settings()
        self._connection = duckdb.connect(":memory:", config=self._settings)
        try:
            if workspace is not None and not in_memory:
                try:
                    self._own(workspace)
                except OSError:
                    raise _unwritable(workspace) from None
            self._attach()
        except BaseException:
            self.close()
            raise

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Return the answer to a query of ours as a data frame; values enter as `?` parameters only."""
        return self._ask(lambda cursor: cursor.execute(sql, list(parameters)).df())

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the answer to a query of ours as one dictionary a row, without loading pandas."""

        def answer(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            cursor.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        return self._ask(answer)

    def columns(self, sql: str, parameters: Sequence[Any] = ()) -> list[str]:
        """Return the names of the columns in the answer to a query of ours, which there are without rows too."""
        return [row["column_name"] for row in self.rows(f"describe {sql}", parameters)]

    def write(self, sql: str, parameters: Sequence[Any], path: Path, format: str) -> None:
        """Write the answer to a query of ours to a file: `format` is csv, parquet or json (an array of objects)."""
        options = {"csv": "format csv, header", "parquet": "format parquet", "json": "format json, array true"}[format]
        quoted = str(path).replace("'", "''")
        self._ask(lambda cursor: cursor.execute(f"copy ({sql}) to '{quoted}' ({options})", list(parameters)) and None)

    def snapshot(self, path: Path) -> None:
        """Write the rows of all sources into a new database file: a table for each view, without the bytes of images."""
        self._ask(lambda cursor: write_snapshot(cursor, path))

    @property
    def owns_workspace(self) -> bool:
        """Whether the workspace's database, and what is kept for this server beside it, belongs to this store alone."""
        return self._lock is not None

    @property
    def version(self) -> str:
        """A text that changes whenever rows are written or a source is attached: what was asked before holds while it stays."""
        return f"{self._token}-{self._changes}"

    def ingest(self, *, ended: bool = True) -> int:
        """Read what is new in the run folders; returns how many rows were written. Cheap where nothing is new.

        Without `ended`, runs that had finished when they were last read are not looked at again, which is cheap for thousands of runs.
        """
        if self.workspace is None:
            return 0
        with self._ingesting:
            if ended:
                self._settled.clear()
            if self._pulled.changed():
                with self._guard, self._connection.cursor() as cursor:
                    self._unite(cursor)
                self._changes += 1
            try:
                return self._ingest(self.workspace)
            except duckdb.Error as error:
                if not may_be_damage(error, self.workspace) or not self._repaired(self.workspace, self._repairs, always=True):
                    raise
            return self._ingest(self.workspace)

    def close(self) -> None:
        """Close the database and give up owning it; safe to call twice."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ingest(self, workspace: Workspace) -> int:
        with self._guard:
            cursor = self._connection.cursor()
        try:
            rows = ingest(cursor, workspace, self._settled, self.warnings)
        finally:
            cursor.close()
        self._changes += bool(rows)
        return rows

    def _ask(self, answer: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        """Return the answer of a cursor of its own; where the workspace's database is damaged, of the one that takes its place."""
        repairs = self._repairs
        try:
            return self._ask_once(answer)
        except duckdb.Error as error:
            if self.workspace is None or not may_be_damage(error, self.workspace):
                raise
            with self._ingesting:
                if not self._repaired(self.workspace, repairs):
                    raise
        return self._ask_once(answer)

    def _repaired(self, workspace: Workspace, repairs: int, *, always: bool = False) -> bool:
        """Set the workspace's database aside and rebuild it, if it is damaged (`always`: nothing else was read or written).

        Returns False where it is sound, not ours, or damaged over and over. The caller holds `_ingesting`; `repairs` is how many there
        were before the error.
        """
        if self._lock is None or self._repairs >= MOST_REPAIRS:
            return False
        with self._alone, self._places, self._places:  # nobody asks meanwhile
            if self._repairs > repairs:
                return True
            with suppress(duckdb.Error):
                self._connection.close()
            damaged = always or not is_sound(workspace, self._settings)
            self._connection = duckdb.connect(":memory:", config=self._settings)
            try:
                if damaged:
                    self.warnings.append(set_aside(workspace))
                self._attach_workspace(workspace)
            except (OSError, duckdb.Error):  # goes on without a file, as readers beside the owner do
                self._lock.release()
                self._lock, damaged = None, True
                self.warnings.append(str(_unwritable(workspace)))
            self._attach()
            self._repairs += damaged
            if damaged:
                self._settled.clear()
                self._changes += 1
                self._ingest(workspace)
        return damaged

    def _ask_once(self, answer: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        """Few ask at once, and what finds no memory beside others asks again alone."""
        try:
            with self._places:
                return self._answer(answer)
        except duckdb.OutOfMemoryException:
            pass
        with self._alone, self._places, self._places:  # all PLACES
            try:
                return self._answer(answer)
            except duckdb.OutOfMemoryException:
                raise TooLarge("this asks for more memory than the database may take: filter further, or group by less") from None

    def _answer(self, answer: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        with self._guard:
            cursor = self._connection.cursor()
        try:
            return answer(cursor)
        finally:
            cursor.close()

    def _own(self, workspace: Workspace) -> None:
        """Attach the workspace's database behind its lock; one that cannot be read is set aside and rebuilt from the run folders."""
        elsewhere = OwnedElsewhere(f"{workspace.database} is in use by another process: close the app that owns it")
        workspace.root.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{workspace.database}.lock", timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise elsewhere from None
        try:
            self._attach_workspace(workspace)
        except duckdb.Error as error:
            text = str(error)
            if "Could not set lock" in text:
                raise elsewhere from None
            if "No space left" in text or "Permission denied" in text or not workspace.database.exists():
                raise _unwritable(workspace) from None
            self.warnings.append(set_aside(workspace))
            self._attach_workspace(workspace)

    def _attach(self) -> None:
        """Attach what belongs beside the workspace's own database, or an empty one in its place, and unite them all."""
        if self._lock is None:
            self._connection.execute("attach ':memory:' as workspace")
            migrate(self._connection, "workspace")
        self._published, warnings = attach_published(self._connection, self._shipped)
        self._pulled = PulledDatabases(None if self.workspace is None else self.workspace.pulled)
        self._unite(self._connection, warnings)

    def _attach_workspace(self, workspace: Workspace) -> None:
        self._connection.execute("attach ? as workspace", [str(workspace.database)])
        try:
            migrate(self._connection, "workspace")
            check_tables(self._connection)
        except BaseException:
            self._connection.execute("detach workspace")
            raise

    def _unite(self, connection: duckdb.DuckDBPyConnection, warnings: Sequence[str] = ()) -> None:
        found = [*warnings, *create_views(connection, self._pulled, self._published)]
        self.warnings += [warning for warning in found if warning not in self.warnings]


def read_run_folders(workspace: Workspace, published: Path | None = PUBLISHED_DATABASE) -> Store:
    """Return a store over an in-memory index of the run folders, for readers beside the owner of the database."""
    return _ingested(Store(workspace, published, in_memory=True))


def read_results(workspace: Workspace, published: Path | None = PUBLISHED_DATABASE) -> Store:
    """Return an ingested store: as the owner of the database where that can be had, else from the run folders."""
    try:
        store = Store(workspace, published)
    except (OwnedElsewhere, Unwritable):
        return read_run_folders(workspace, published)
    return _ingested(store)


def _unwritable(workspace: Workspace) -> Unwritable:
    return Unwritable(f"the database {workspace.database} cannot be opened: free space, and check who may write there")


def _ingested(store: Store) -> Store:
    try:
        store.ingest()
    except BaseException:
        store.close()
        raise
    return store


def migrate(connection: duckdb.DuckDBPyConnection, database: str) -> None:
    """Bring an attached database of ours to the present version, in one transaction; raises duckdb.Error for one from the future."""
    connection.execute("begin")
    try:
        connection.execute(
            f"create table if not exists {database}.migrations (version integer primary key, applied timestamp default current_timestamp)"
        )
        ((version,),) = connection.execute(f"select coalesce(max(version), 0) from {database}.migrations").fetchall()
        if version > len(MIGRATIONS):
            raise duckdb.Error(f"version {version} of the database is newer than this program")
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement.format(database=database))
            connection.execute(f"insert into {database}.migrations (version) values (?)", [number])
        connection.execute("commit")
    except BaseException:
        roll_back(connection)
        raise
