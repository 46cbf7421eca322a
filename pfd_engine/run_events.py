"""The append-only event file of a run: whole lines with fsync on the writing side, tolerant reading on the other."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LINE_LIMIT = 32 * 2**20


class EventLog:
    """The one writer of an `events.jsonl`; whoever opens it must hold the lock of the run's folder.

    A line that an earlier writer left unfinished is cut on opening. `append` returns when the event is on disk.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._size = _end_of_last_line(self._file)
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)
            sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, event: dict[str, Any], *, durable: bool = True) -> None:
        """Write one event as one line, with the time added; `durable` waits for the disk (progress need not).

        Raises OSError where the disk refuses; the file then ends with the line before.
        """
        line = json.dumps({**event, "time": time.time()}, separators=(",", ":")).encode() + b"\n"
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            if durable:
                os.fsync(self._file)
        except BaseException:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def parse_lines(data: bytes) -> Iterator[dict[str, Any] | None]:
    """Yield the event on each whole line of `data`, None for a line that is not one (damaged, or written by a stranger)."""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        yield event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def read_whole_lines(path: Path, offset: int = 0, limit: int = LINE_LIMIT) -> bytes:
    """Return the bytes of `path` from `offset` up to the last newline within `limit` bytes; empty where there is none."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(limit)
    return data[: data.rfind(b"\n") + 1]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every readable event of a file in order; damaged lines and an unfinished last one are left out."""
    offset = 0
    while path.is_file() and (data := read_whole_lines(path, offset)):
        offset += len(data)
        yield from (event for event in parse_lines(data) if event is not None)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _end_of_last_line(file: int) -> int:
    """Return the offset just behind the last newline of an open file, 0 where there is none."""
    end, block = os.fstat(file).st_size, 1 << 16
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
