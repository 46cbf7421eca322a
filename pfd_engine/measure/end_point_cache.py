"""End points on disk, found by content: every entry says what it is and carries a digest, and nothing in the database is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from diskcache import Cache, Disk, Timeout
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_BINARY, MODE_RAW
from filelock import FileLock
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

CACHE_BYTES = 20 * 2**30
DAMAGED = "cached end points were damaged: they were computed again"
DIGEST_BYTES = 32
LOCK_SECONDS = 60
BUSY = "it cannot be written, or another process does not let it go"
# What SQLite says of the disk, of rights and of other processes; anything else that it refuses to do is the database's own fault.
_OF_THE_MACHINE = (
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
)  # fmt: skip

_OWN_SETTINGS = {*METADATA, "size_limit", "eviction_policy", "sqlite_mmap_size", "disk_pickle_protocol"}
_KNOWN_SETTINGS = {*DEFAULT_SETTINGS, *METADATA}
MOST_STATED = 2**50  # bytes of all entries

T = TypeVar("T")


class EndPointCache:
    """End points on disk, `(map, seeds) -> (n, *shape)`, least recently used ones evicted beyond `max_bytes`.

    Safe between processes. An entry carries its key, seeds, dtype and the sha256 of its bytes; one that is damaged, or is another's,
    counts as absent. A database that is damaged is set aside, and an empty one takes its place. One that stays locked, or refuses to be
    written, is left alone from then on. `notes` collects, in sentences, what the user should hear of.
    """

    def __init__(self, folder: Path, max_bytes: int = CACHE_BYTES) -> None:
        self.notes: list[str] = []
        self._folder, self._max_bytes = folder, max_bytes
        self._opened, self._gave_up = _identity(folder), False
        try:
            self._cache = self._open()
        except Exception as error:
            if not (_is_damage(error) or _is_no_file(folder)):
                raise
            self._set_aside()

    def get(self, key: str, seeds: range) -> Tensor | None:
        """Return the end points of a map over a block of seeds; None where they are not there, or not what was put there."""
        try:
            content = self._on_sound_database(lambda cache: cache.get(_name(key, seeds)))
        except (OSError, sqlite3.Error) as error:
            self.notes.append(f"cached end points could not be read ({error}): they were computed again")
            return None
        if content is None:
            return None
        found = _unpacked(content, key, seeds)
        if found is None:
            self.notes.append(DAMAGED)
        return found

    def put(self, key: str, seeds: range, x0: Tensor) -> str | None:
        """Keep end points; a full disk costs the entry, never the measurement: what went wrong is returned as a sentence."""
        try:
            content = _packed(x0, key, seeds)
            self._on_sound_database(lambda cache: cache.set(_name(key, seeds), content))
        except (OSError, sqlite3.Error) as error:
            return f"end points could not be cached ({error}): later runs will compute them again"
        return None

    def close(self) -> None:
        self._cache.close()

    def _open(self) -> Any:
        _check_settings(self._folder)
        # Without a memory map, a file that is cut while it is read is an error, and not the end of the process.
        cache = Cache(
            str(self._folder), LOCK_SECONDS, disk=_BytesOnly, size_limit=self._max_bytes, eviction_policy="least-recently-used",
            sqlite_mmap_size=0,
        )  # fmt: skip
        self._opened = _identity(self._folder)
        return cache

    def _on_sound_database(self, action: Callable[[Any], T]) -> T | None:
        """Do something with the database; where that is damaged or gone, with the new one in its place. Nothing where it was given up."""
        if self._gave_up:
            return None
        try:
            return action(self._cache)
        except Timeout:
            if _identity(self._folder) == self._opened:
                self._gave_up = True
                raise OSError(BUSY) from None
        except Exception as error:
            if not _is_damage(error):
                raise
        self._set_aside()
        return action(self._cache)

    def _set_aside(self) -> None:
        """Open a database in place of the damaged one, which is renamed unless another process has done so; its entries are removed."""
        with suppress(AttributeError, sqlite3.Error):
            self._cache.close()
        with FileLock(self._folder.with_name(f"{self._folder.name}.lock"), timeout=LOCK_SECONDS, thread_local=False):
            if _identity(self._folder) == self._opened:
                for earlier in self._folder.parent.glob(f"{self._folder.name}.damaged-*"):
                    shutil.rmtree(earlier, ignore_errors=True)
                aside = self._folder.with_name(f"{self._folder.name}.damaged-{time.time_ns()}")
                self._folder.rename(aside)
                for entries in aside.iterdir() if aside.is_dir() else ():
                    if entries.is_dir() and not entries.is_symlink():
                        shutil.rmtree(entries, ignore_errors=True)
                self.notes.append(f"the cache of end points was damaged and starts anew: its database was set aside as {aside.name}")
            self._cache = self._open()


class _BytesOnly(Disk):
    """Keys are text and values are bytes in files of this folder; pickled ones, which could run code, are neither written nor read."""

    _FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")

    def put(self, key: Any) -> Any:
        if not isinstance(key, str):
            raise TypeError(f"a key of the cache is of type {type(key).__name__}: give text")
        return super().put(key)

    def get(self, key: Any, raw: bool) -> Any:
        return super().get(key, True)

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        if not isinstance(value, bytes):
            raise TypeError(f"a value of the cache is of type {type(value).__name__}: give bytes")
        return super().store(value, False, key)

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        """Return an entry's bytes, none for what is not bytes: no entry is empty, so that it counts as damaged."""
        if mode == MODE_RAW and isinstance(value, bytes):
            return value
        if mode == MODE_BINARY and self._is_ours(filename) and stat.S_ISREG((Path(self._directory) / filename).lstat().st_mode):
            content: bytes = super().fetch(mode, filename, value, False)
            return content
        return b""

    def remove(self, file_path: Any) -> None:
        if self._is_ours(file_path):
            super().remove(file_path)

    def _is_ours(self, file_path: Any) -> bool:
        return isinstance(file_path, str) and self._FILE.fullmatch(file_path.replace(os.sep, "/")) is not None


def _name(key: str, seeds: range) -> str:
    return f"sha256:{key}:{seeds.start}:{seeds.stop}"


def _described(x0: Tensor, key: str, seeds: range) -> dict[str, str]:
    return {"key": key, "seeds": f"{seeds.start}:{seeds.stop}", "dtype": str(x0.dtype)}


def _packed(x0: Tensor, key: str, seeds: range) -> bytes:
    """Return an entry: the sha256 of what follows, and safetensors that say what they are."""
    content = to_bytes({"x0": x0.contiguous().cpu()}, _described(x0, key, seeds))
    return hashlib.sha256(content).digest() + content


def _unpacked(entry: bytes, key: str, seeds: range) -> Tensor | None:
    """Return the end points of an entry; None where its bytes are not those that were written, or are another entry's."""
    content = entry[DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != entry[:DIGEST_BYTES]:
        return None
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        x0 = from_bytes(content)["x0"]
    except Exception:
        return None
    return x0 if header.get("__metadata__") == _described(x0, key, seeds) else None


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells this database file from any other in its place."""
    try:
        found = (folder / "cache.db").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_settings(folder: Path) -> None:
    """Raise ValueError where a database has settings that no cache of ours writes: opening it would obey them."""
    path = folder / "cache.db"
    if not path.is_file():
        return
    connection = sqlite3.connect(path, LOCK_SECONDS, isolation_level=None)
    try:
        with suppress(sqlite3.OperationalError):  # no table of that name: an empty file, as another process leaves it for a moment
            for key, value in connection.execute("select key, value from Settings"):
                known = key in _KNOWN_SETTINGS and (key in _OWN_SETTINGS or value == DEFAULT_SETTINGS[key])
                if not known or (key in METADATA and not (isinstance(value, int) and 0 <= value < MOST_STATED)):
                    raise ValueError(f"the cache has a setting {key!r} that is not ours")
    finally:
        connection.close()


def _is_no_file(folder: Path) -> bool:
    """Tell whether something else than a folder with a file lies where the database belongs."""
    path = folder / "cache.db"
    return (folder.exists() and not folder.is_dir()) or (path.exists() and not path.is_file())


def _is_damage(error: Exception) -> bool:
    """Tell whether a database is damaged, and not merely out of reach."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        return code == sqlite3.SQLITE_IOERR_SHORT_READ or (code & 0xFF) not in _OF_THE_MACHINE
    return isinstance(error, (TypeError, ValueError, KeyError, AttributeError, OverflowError))  # of settings that are not ours
