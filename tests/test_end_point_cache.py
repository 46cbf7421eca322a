"""The cache of end points: what is damaged, exchanged or planted never becomes a number and never runs; it is told once."""

from __future__ import annotations

import os
import pickle
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diskcache import Cache
from safetensors.torch import save as to_bytes
from torch import Tensor

from pfd_engine import EvaluateConfig
from pfd_engine.evaluation.prepare import prepare
from pfd_engine.measure.end_point_cache import DAMAGED, EndPointCache
from pfd_engine.models.bundled import bundled_references
from pfd_engine.workspace import Workspace

REFERENCES = bundled_references()
SEEDS = range(256)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "cache" / "endpoints"


@pytest.fixture
def cache(folder: Path) -> Iterator[EndPointCache]:
    opened = EndPointCache(folder)
    yield opened
    opened.close()


def block(number: int) -> Tensor:
    return torch.randn(256, 64, generator=torch.Generator().manual_seed(number))


def evaluate(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    config = {"teacher": REFERENCES.teacher, "student": REFERENCES.student_memorizes, "num_noises": 64, **changes}
    return list(prepare(EvaluateConfig.parse(config), Workspace(folder.parent.parent)).run("run"))


def value_and_warnings(events: list[dict[str, Any]]) -> tuple[float, list[str]]:
    return events[-1]["result"]["value"], [event["message"] for event in events if event["type"] == "warning"]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.val"))


def sql(folder: Path, statement: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(folder / "cache.db")
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def test_what_was_put_is_found_and_nothing_else(cache: EndPointCache) -> None:
    assert cache.put("map", SEEDS, block(1)) is None
    found = cache.get("map", SEEDS)
    assert found is not None
    assert torch.equal(found, block(1))
    assert cache.get("map", range(256, 512)) is None
    assert cache.get("other", SEEDS) is None
    assert cache.notes == []


def test_bytes_changed_in_cached_end_points_are_computed_again_and_told_once(folder: Path) -> None:
    sound, warnings = value_and_warnings(evaluate(folder))
    assert warnings == []
    for path in files(folder):
        content = bytearray(path.read_bytes())
        content[-1024:-1008] = bytes([0x77, 0x7F] * 8)
        path.write_bytes(content)
    assert value_and_warnings(evaluate(folder)) == (sound, [DAMAGED])
    assert value_and_warnings(evaluate(folder)) == (sound, [])


def test_one_bit_of_an_entry_is_enough(cache: EndPointCache, folder: Path) -> None:
    cache.put("map", SEEDS, block(1))
    (path,) = files(folder)
    content = path.read_bytes()
    for position in (0, 40, 60, 100, 5000, len(content) - 1):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert cache.get("map", SEEDS) is None
    path.write_bytes(content[:-4])
    assert cache.get("map", SEEDS) is None
    assert set(cache.notes) == {DAMAGED}


def test_exchanged_entries_are_computed_again(folder: Path) -> None:
    sound, _ = value_and_warnings(evaluate(folder))
    rows = sql(folder, "select rowid, filename from Cache order by rowid")
    assert len(rows) >= 4
    for (row, _), (_, filename) in zip(rows, [*rows[1:], rows[0]], strict=True):
        sql(folder, "update Cache set filename = ? where rowid = ?", filename, row)
    assert value_and_warnings(evaluate(folder)) == (sound, [DAMAGED])


def test_entries_of_other_seeds_or_another_map_are_not_taken(cache: EndPointCache, folder: Path) -> None:
    cache.put("map", SEEDS, block(1))
    sql(folder, "update Cache set key = ?", "sha256:map:256:512")
    assert cache.get("map", range(256, 512)) is None
    sql(folder, "update Cache set key = ?", "sha256:other:0:256")
    assert cache.get("other", SEEDS) is None
    assert cache.notes == [DAMAGED] * 2


class Planted:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("where", ["value", "file", "key"])
def test_a_planted_pickle_does_not_run(cache: EndPointCache, folder: Path, tmp_path: Path, where: str) -> None:
    cache.put("map", SEEDS, block(1))
    planted, mark = pickle.dumps(Planted(tmp_path / "mark")), tmp_path / "mark"
    pickle.loads(planted)
    assert mark.exists()
    mark.unlink()
    if where == "value":
        sql(folder, "update Cache set mode = 4, filename = null, value = ?", planted)
    elif where == "file":
        sql(folder, "update Cache set mode = 4")
        files(folder)[0].write_bytes(planted)
    else:
        sql(folder, "update Cache set key = ?, raw = 0", planted)
    again = EndPointCache(folder)
    assert again.get("map", SEEDS) is None
    assert again.put("map", SEEDS, block(1)) is None
    list(again._cache)
    again._cache.peekitem()
    again.close()
    assert not mark.exists()


def test_an_entry_cannot_point_out_of_the_cache(cache: EndPointCache, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    cache.put("map", SEEDS, block(1))
    sql(folder, "update Cache set filename = ?", "../../../outside")
    assert cache.get("map", SEEDS) is None
    assert cache.put("map", SEEDS, block(1)) is None  # which removes the file that the entry had
    assert outside.read_text() == "kept"


def test_entries_of_an_earlier_version_count_as_absent_and_are_not_damaged(folder: Path) -> None:
    with Cache(str(folder), eviction_policy="least-recently-used") as earlier:
        earlier.set("map:0:256", to_bytes({"x0": block(1)}))
    cache = EndPointCache(folder)
    assert cache.get("map", SEEDS) is None
    assert cache.put("map", SEEDS, block(1)) is None
    assert cache.get("map", SEEDS) is not None
    assert cache.notes == []
    cache.close()


def damage(folder: Path, how: str) -> None:
    for name in ("cache.db-wal", "cache.db-shm"):
        (folder / name).unlink(missing_ok=True)
    path = folder / "cache.db"
    content = path.read_bytes()
    changed = {
        "not a database": b"not a database" * 100,
        "cut": content[: len(content) // 2],
        "zeros": content[:4096] + bytes(len(content) - 4096),
        "settings": content,
    }
    path.write_bytes(changed[how])
    if how == "settings":
        sql(folder, "insert or replace into Settings values ('get', 5), ('set', 5), ('disk_strange', 1)")


@pytest.mark.parametrize("how", ["not a database", "cut", "zeros", "settings"])
def test_a_damaged_database_is_set_aside_and_told_once(folder: Path, how: str) -> None:
    sound, _ = value_and_warnings(evaluate(folder))
    damage(folder, how)
    value, (warning,) = value_and_warnings(evaluate(folder))
    assert value == sound
    assert warning.startswith("the cache of end points was damaged and starts anew")
    (aside,) = folder.parent.glob("endpoints.damaged-*")
    assert aside.name in warning
    assert (aside / "cache.db").is_file()
    assert files(aside) == []
    events = evaluate(folder)
    assert value_and_warnings(events) == (sound, [])
    assert events[-1]["result"]["network_calls_made"] == {"teacher": 0, "student": 0}


def test_a_database_damaged_while_two_use_it_is_set_aside_by_one(folder: Path) -> None:
    first, second = EndPointCache(folder), EndPointCache(folder)
    first.put("map", SEEDS, block(1))
    assert second.get("map", SEEDS) is not None
    (folder / "cache.db").write_bytes(b"x" * 40_000)
    for name in ("cache.db-wal", "cache.db-shm"):
        (folder / name).unlink(missing_ok=True)
    for cache in (first, second):
        cache.get("map", SEEDS)
        assert cache.put("map", SEEDS, block(1)) is None
    for cache in (first, second):
        found = cache.get("map", SEEDS)
        assert found is not None
        assert torch.equal(found, block(1))
        cache.close()
    assert len(list(folder.parent.glob("endpoints.damaged-*"))) == 1
    assert len(first.notes) + len(second.notes) == 1


def test_random_damage_never_changes_a_number_and_never_ends_the_use_of_the_cache(tmp_path: Path) -> None:
    draw, sound = random.Random(0), tmp_path / "sound"
    cache = EndPointCache(sound)
    for number in range(4):
        cache.put(f"map {number}", SEEDS, block(number))
    cache.close()
    content = (sound / "cache.db").read_bytes()
    for trial in range(25):
        changed = bytearray(content)
        for _ in range(40):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        folder = tmp_path / f"trial-{trial}" / "endpoints"
        folder.parent.mkdir()
        cache = EndPointCache(folder)
        cache.close()
        (folder / "cache.db").write_bytes(changed)
        for path in files(sound):
            copy = folder / path.relative_to(sound)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        cache = EndPointCache(folder)
        for number in range(4):
            found = cache.get(f"map {number}", SEEDS)
            assert found is None or torch.equal(found, block(number))
            assert cache.put(f"map {number}", SEEDS, block(number)) is None
        cache.close()


def hold_the_lock(folder: Path) -> sqlite3.Connection:
    other = sqlite3.connect(folder / "cache.db", isolation_level=None)
    other.execute("begin immediate")
    return other


def test_a_database_that_stays_locked_is_given_up_and_told_once(
    cache: EndPointCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfd_engine.measure.end_point_cache.LOCK_SECONDS", 0.2)
    busy = EndPointCache(folder)
    assert busy.put("map", SEEDS, block(1)) is None
    other = hold_the_lock(folder)
    started = time.monotonic()
    for _ in range(40):
        assert busy.get("map", SEEDS) is None
        busy.put("map", SEEDS, block(1))
    assert time.monotonic() - started < 5
    assert busy.notes == [
        "cached end points could not be read (it cannot be written, or another process does not let it go): they were computed again"
    ]
    other.execute("rollback")
    other.close()
    busy.close()
    assert cache.get("map", SEEDS) is not None


@pytest.mark.parametrize("setting", [("sqlite_query_only", 1), ("_directory", "elsewhere"), ("_disk", 0), ("disk__directory", "elsewhere")])
def test_settings_that_are_not_ours_are_not_obeyed(cache: EndPointCache, folder: Path, setting: tuple[str, Any]) -> None:
    cache.put("map", SEEDS, block(1))
    cache.close()
    sql(folder, "insert or replace into Settings values (?, ?)", *setting)
    again = EndPointCache(folder)
    assert again.put("map", SEEDS, block(2)) is None
    assert again.get("map", SEEDS) is not None
    assert len(again.notes) == 1
    again.close()


def test_a_stated_size_that_no_disk_has_does_not_evict_every_entry(cache: EndPointCache, folder: Path) -> None:
    cache.close()
    sql(folder, "update Settings set value = 9000000000000000000 where key = 'size'")
    again = EndPointCache(folder)
    again.put("map", SEEDS, block(1))
    assert again.get("map", SEEDS) is not None
    again.close()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_an_entry_that_is_no_file_is_not_read(cache: EndPointCache, folder: Path, kind: str) -> None:
    cache.put("map", SEEDS, block(1))
    (path,) = files(folder)
    path.unlink()
    {"pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"), "folder": path.mkdir}[kind]()
    assert cache.get("map", SEEDS) is None
    assert cache.notes == [DAMAGED]


@pytest.mark.parametrize("where", ["endpoints", "endpoints/cache.db"])
def test_what_lies_in_the_place_of_the_database_is_set_aside(tmp_path: Path, where: str) -> None:
    if where == "endpoints":
        (tmp_path / where).write_text("no folder")
    else:
        (tmp_path / where).mkdir(parents=True)
    cache = EndPointCache(tmp_path / "endpoints")
    assert cache.put("map", SEEDS, block(1)) is None
    assert cache.get("map", SEEDS) is not None
    assert len(cache.notes) == 1
    cache.close()
