"""A damaged workspace database: noticed when it is attached, read or filled, set aside, rebuilt from the runs, and told once."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pfd_engine.store import database as store_module
from pfd_engine.store.database import Store
from pfd_engine.workspace import Workspace
from tests.run_samples import a_config, finished_run

NUMBERS = "select run_id, metric, value from measurements order by all"
DISTANCES = 'select run_id, "values" from noise_distances order by all'


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with eight runs in its database."""
    workspace = Workspace(tmp_path / "workspace")
    for seed in range(8):
        finished_run(workspace, a_config(seed=1000 * seed))
    answers(workspace)
    return workspace


def answers(workspace: Workspace) -> tuple[list[Any], list[Any], list[str]]:
    with Store(workspace, None) as store:
        store.ingest()
        return store.rows(NUMBERS), store.rows(DISTANCES), store.warnings


def set_aside(workspace: Workspace) -> list[str]:
    return [path.name for path in workspace.root.glob("results.damaged-*.duckdb")]


def spoil(workspace: Workspace, how: str) -> None:
    content = bytearray(workspace.database.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "zeros":
        content[12288:] = bytes(len(content) - 12288)
    elif how == "garbage":
        content[:] = b"garbage" * 10_000
    elif how == "one bit of every block":
        for start in range(12288, len(content) - 200, 262_144):
            content[start + 200] ^= 4
    workspace.database.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "zeros", "garbage", "one bit of every block"])
def test_a_damaged_database_is_rebuilt_from_the_runs_and_told_once(workspace: Workspace, how: str) -> None:
    numbers, distances, warnings = answers(workspace)
    assert len(numbers) == 8
    assert warnings == []
    spoil(workspace, how)
    found = answers(workspace)
    assert found[:2] == (numbers, distances)
    (aside,) = set_aside(workspace)
    assert found[2] == [f"the database could not be read and was rebuilt from the run folders; the old file is {aside}"]
    assert answers(workspace) == (numbers, distances, [])


def test_one_flipped_bit_never_blocks_and_never_changes_a_number(workspace: Workspace) -> None:
    numbers, distances, _ = answers(workspace)
    content, draw = workspace.database.read_bytes(), random.Random(0)
    for _ in range(12):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        workspace.database.write_bytes(changed)
        found = answers(workspace)
        assert found[:2] == (numbers, distances)
        assert len(found[2]) <= 1


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: duckdb.Error) -> None:
    """Let a function raise an error of DuckDB the first time it is called."""
    whole, errors = getattr(owner, name), [error]

    def failing(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return whole(*arguments)

    monkeypatch.setattr(owner, name, failing)


def test_damage_that_is_met_while_reading_is_mended_for_everybody_who_asks(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, _, _ = answers(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        version = store.version
        monkeypatch.setattr(store_module, "is_sound", lambda *arguments: False)
        fail_once(monkeypatch, store, "_answer", duckdb.FatalException("database has been invalidated"))
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(store.rows(NUMBERS))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [numbers] * 6
        assert store.version != version
        assert len(store.warnings) == len(set_aside(workspace)) == 1
        finished_run(workspace, a_config(seed=5))
        assert store.ingest() > 0
        assert len(store.rows(NUMBERS)) == 9


def test_a_sound_database_is_kept_whatever_else_fails(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, _, _ = answers(workspace)
    with Store(workspace, None) as store:
        fail_once(monkeypatch, store, "_answer", duckdb.FatalException("database has been invalidated"))
        with pytest.raises(duckdb.FatalException):
            store.rows(NUMBERS)
        assert store.rows(NUMBERS) == numbers
        assert store.warnings == set_aside(workspace) == []
        fail_once(monkeypatch, store_module, "ingest", duckdb.IOException(f"{workspace.database}: No space left on device"))
        with pytest.raises(duckdb.IOException, match="No space"):
            store.ingest()
        assert store.warnings == set_aside(workspace) == []


def test_damage_that_is_met_while_filling_is_mended_and_tried_once_more(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, _, _ = answers(workspace)
    with Store(workspace, None) as store:
        fail_once(monkeypatch, store_module, "ingest", duckdb.FatalException("database has been invalidated"))
        store.ingest()
        assert store.rows(NUMBERS) == numbers
        assert len(store.warnings) == len(set_aside(workspace)) == 1


def test_what_fails_over_and_over_is_not_rebuilt_for_ever(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> int:
        raise duckdb.FatalException("database has been invalidated")

    with Store(workspace, None) as store:
        monkeypatch.setattr(store_module, "ingest", failing)
        for _ in range(6):
            with pytest.raises(duckdb.FatalException):
                store.ingest()
        assert len(store.warnings) == store_module.MOST_REPAIRS
        assert len(set_aside(workspace)) == 1


FOREIGN = {
    "a table is missing": ["drop table measurements"],
    "a column is missing": ["create table other as select * exclude (value) from measurements", "drop table measurements",
                            "alter table other rename to measurements"],
    "a column is of another type": ["alter table ingested alter status_stamp type blob"],
    "a view is in the place of a table": ["alter table measurements rename to other", "create view measurements as select * from other"],
}  # fmt: skip


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN)
def test_a_database_with_other_tables_than_ours_is_rebuilt(workspace: Workspace, statements: list[str]) -> None:
    numbers, distances, _ = answers(workspace)
    with duckdb.connect(str(workspace.database)) as other:
        for statement in statements:
            other.execute(statement)
    found = answers(workspace)
    assert found[:2] == (numbers, distances)
    assert len(found[2]) == len(set_aside(workspace)) == 1
    assert answers(workspace) == (numbers, distances, [])


def test_a_damaged_database_that_cannot_be_set_aside_does_not_block(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(workspace: Workspace) -> str:
        raise PermissionError("Read-only file system")

    numbers, _, _ = answers(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        monkeypatch.setattr(store_module, "is_sound", lambda *arguments: False)
        monkeypatch.setattr(store_module, "set_aside", refused)
        fail_once(monkeypatch, store, "_answer", duckdb.FatalException("database has been invalidated"))
        assert store.rows(NUMBERS) == numbers
        assert not store.owns_workspace
        (warning,) = store.warnings
        assert "cannot be opened: free space" in warning
        finished_run(workspace, a_config(seed=5))
        assert store.ingest() > 0
        assert len(store.rows(NUMBERS)) == 9
