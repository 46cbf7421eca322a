"""The append-only event file of a run: whole lines with a checksum and fsync on the writing side, tolerant reading on the other."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LINE_LIMIT = 32 * 2**20
_CHECKSUM = re.compile(rb',"sum":"([0-9a-f]{16})"}\Z')


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
        line = _with_checksum(json.dumps({**event, "time": time.time()}, separators=(",", ":")).encode()) + b"\n"
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
    """Yield the event on each whole line of `data`, None for a line that is not one (damaged, or written by a stranger).

    Readers see the event as it was reported, with its time and without the checksum. Lines from before there were checksums are read.
    """
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        if line.strip():
            yield _event_on(line)


def read_whole_lines(path: Path, offset: int = 0, limit: int = LINE_LIMIT) -> bytes:
    """Return the bytes of `path` from `offset` up to the last newline within `limit` bytes; empty where there is none."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(limit)
    return data[: data.rfind(b"\n") + 1]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every readable event of a file in order; damaged lines and an unfinished last one are left out."""
    return (event for event in read_lines(path) if event is not None)


def read_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the event of every whole line of a file in order, None for a damaged one."""
    offset = 0
    while path.is_file() and (data := read_whole_lines(path, offset)):
        offset += len(data)
        yield from parse_lines(data)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _with_checksum(text: bytes) -> bytes:
    """Return a JSON object's text with the checksum of that text as its last member."""
    return b'%b,"sum":"%b"}' % (text[:-1], _checksum(text))


def _event_on(line: bytes) -> dict[str, Any] | None:
    """Return the event of one line; None where it is not an event, or not the one that was written."""
    found = _CHECKSUM.search(line)
    text = line if found is None else line[: found.start()] + b"}"
    if found is not None and found[1] != _checksum(text):
        return None
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        return None
    if found is None and "time" in event and next(reversed(event)) != "time":
        return None  # the time is the last member of a line without a checksum: this one's checksum was damaged
    return event


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).hexdigest().encode()


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
