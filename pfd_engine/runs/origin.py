"""Where a run comes from: when it was made, and the folder and words of its relative paths. Written once, and never changed."""

from __future__ import annotations

import calendar
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfd_engine.errors import InputError
from pfd_engine.files import read_object

ORIGIN_FILE = "origin.json"
REFERENCES = ("teacher", "student", "training_set")
FILES = ("descriptor_file", "output")


@dataclass(frozen=True)
class Origin:
    """`created` in unix seconds, the `folder` that relative paths start from (None: not known), and the paths as they were `typed`."""

    created: float = 0.0
    folder: str | None = None
    typed: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps({"created": self.created, "folder": self.folder, "typed": dict(self.typed)}).encode()


def read_origin(path: Path) -> Origin:
    """Return the origin of a run folder; of one from before there was such a file, what its status and its name still tell."""
    for name in (ORIGIN_FILE, "status.json"):
        values = read_object(path / name)
        created, folder, typed = values.get("created"), values.get("folder"), values.get("typed", {})
        if isinstance(created, (int, float)) and created > 0 and isinstance(folder, (str, type(None))) and isinstance(typed, dict):
            return Origin(float(created), folder, {k: v for k, v in typed.items() if isinstance(k, str) and isinstance(v, str)})
    return Origin(_time_in(path.name))


def absolute(values: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a configuration's values with every path absolute, and those that changed as they were typed, by their fields."""
    found, typed = dict(values), {}
    for name in (*REFERENCES, *FILES):
        value = values.get(name)
        if isinstance(value, str) and (name in FILES or value.startswith((".", "~"))):
            found[name] = str(folder / os.path.expanduser(value))
            if found[name] != value:
                typed[name] = value
    return found, typed


def as_typed(values: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
    """Return a stored configuration's values with paths as they were typed, where these lead to what is stored."""
    typed = {name: text for name, text in origin.typed.items() if name in values}
    led_to, _ = absolute(typed, Path(origin.folder or "/"))
    return dict(values) | {name: text for name, text in typed.items() if led_to[name] == values[name]}


def seen_from(here: Path, values: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
    """Return a stored configuration's values for a process in the folder `here`, so that they name what they named where it was made.

    Paths stay as typed in the folder of origin, and are absolute elsewhere.
    """
    typed = as_typed(values, origin)
    if origin.folder is None or _is_same(here, Path(origin.folder)):
        return typed
    return absolute(typed, Path(origin.folder))[0]


def check_folder(values: Mapping[str, Any], origin: Origin) -> None:
    """Raise InputError where relative paths of a stored configuration start from a folder that is gone, or no longer known."""
    changed = absolute(as_typed(values, origin), Path("/"))[1]
    relative = [text for text in changed.values() if not os.path.isabs(os.path.expanduser(text))]
    if relative and origin.folder is None:
        raise InputError(f"the folder that {relative[0]} starts from is no longer known: start the run again from the form or command line")
    if relative and not Path(str(origin.folder)).is_dir():
        raise InputError(
            f"the folder {origin.folder}, which {relative[0]} starts from, is gone: put it back, or start the run again from elsewhere"
        )


def _is_same(first: Path, second: Path) -> bool:
    with suppress(OSError):
        return first.samefile(second)
    return False


def _time_in(run_id: str) -> float:
    """Return the time that a run's id states; 0 for what is no id."""
    with suppress(ValueError):
        return float(calendar.timegm(time.strptime("-".join(run_id.split("-")[1:3]), "%Y%m%d-%H%M%S")))
    return 0.0
