"""Small files: written so that a crash leaves the old content or the new, and read whatever became of them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pfd_engine.runs.events import sync_folder

OBJECT_LIMIT = 2**20


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty where it cannot be read, or is longer than 1 MiB."""
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(OBJECT_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def replace_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Write a file so that readers see the old content or the new, never a part; `durable` waits for the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)
