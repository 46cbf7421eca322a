"""The rows of a stranger's bundle, one by one: typed, within limits, their images and JSON written anew; ValueError says what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from pfd_engine.errors import InputError
from pfd_engine.runs.folder import RUN_ID, parse_config
from pfd_engine.seeds import SEED_LIMIT
from pfd_engine.sharing.bundle.format import MAX_NAME, MAX_TEXT, PROVENANCE_FILE
from pfd_engine.sharing.bundle.images import COLUMNS, clean_png
from pfd_engine.sharing.bundle.result import strict_result
from pfd_engine.store.schema import REQUIRED, Table

LABELS = ("experiment", "family", "size", "objective", "metric", "band", "descriptor", "solver", "group", "role", "weights", "license")
FORMULA = ("=", "+", "@")
OF_NO_RUN = ("checkpoints", "training_sets")


def checked_row(values: dict[str, Any], table: Table, run_ids: set[str]) -> dict[str, Any]:
    """Return the typed row with its key, its images and JSON written anew; raises ValueError for what does not belong into the table."""
    long = () if table.name not in ("runs", "checkpoints") else ("command", "message", "config", "result", "versions", "metadata")
    for name, value in values.items():
        if isinstance(value, str) and name not in long:
            _check_name(name.replace("_", " "), value, name in LABELS)
    run_id = values.get("run_id")
    if (run_id is not None or table.name not in OF_NO_RUN) and (not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id)):
        raise ValueError("a run has no proper id")
    if table.name not in OF_NO_RUN and run_id not in run_ids:
        raise ValueError(f"run {run_id} is not named in {PROVENANCE_FILE}")
    if table.name in _CLEANED:
        values = _CLEANED[table.name](values)
    row = table.row(values)
    if negative := [name for name, kind in table.columns.items() if kind == "BIGINT" and name != "exit_code" and (row[name] or 0) < 0]:
        raise ValueError(f"a {negative[0].replace('_', ' ')} is negative")
    for name in REQUIRED.get(table.name, ()):
        if row[name] is None:
            raise ValueError(f"a {name.replace('_', ' ')} is missing")
    return row


def _check_name(what: str, value: str, label: bool) -> None:
    """Raise ValueError for a name that is too long, steers a terminal or a spreadsheet, or, of a label, which plots draw, has markup."""
    if len(value) > MAX_NAME:
        raise ValueError(f"a {what} has more than {MAX_NAME:,} characters")
    if "\0" in value:
        raise ValueError("a text holds a NUL character")
    if not value.isprintable() or (label and ("<" in value or ">" in value)):
        raise ValueError(f"a {what} holds characters that no name has")
    if value.lstrip()[:1] in FORMULA:
        raise ValueError(f"a {what} starts as a formula of a spreadsheet does")


def _run(values: dict[str, Any]) -> dict[str, Any]:
    """Keep of a run what is known; its command line is not believed but made anew from its configuration."""
    if values.get("state") != "finished":
        raise ValueError("a run is not finished")
    config, command = _object(values.get("config")), None
    if config is not None:
        try:
            parsed = parse_config(config)
            config, command = parsed.model_dump(mode="json"), parsed.command()
        except InputError:
            config = None
    result = _object(values.get("result"))
    versions = _object(values.get("versions"))
    if versions is not None and not all(isinstance(version, str) for version in versions.values()):
        raise ValueError("a version is no text")
    if isinstance(values.get("message"), str) and len(values["message"]) > MAX_TEXT:
        raise ValueError("a message is too long")
    now = time.time()
    times = {name: _moment(values.get(name), now) for name in ("created", "started", "finished")}
    kind = str(values["run_id"]).split("-")[0]
    parts = {"config": config, "command": command, "versions": versions, "result": None if result is None else strict_result(result)}
    return values | parts | times | {"kind": kind}


def _moment(value: Any, now: float) -> float | None:
    """Return a unix time as it is, one in the future as now, so that nothing from elsewhere stays on top of one's own results."""
    return min(value, now) if isinstance(value, float) and value > 0 else None


def _checkpoint(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"shape": _shape(values.get("shape")), "metadata": _object(values.get("metadata"))}


def _training_set(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"shape": _shape(values.get("shape"))}


def _distances(values: dict[str, Any]) -> dict[str, Any]:
    start, stop, distances = values.get("seeds_start"), values.get("seeds_stop"), values.get("values")
    if not isinstance(start, int) or not isinstance(stop, int) or not 0 <= start < stop <= SEED_LIMIT:
        raise ValueError("a range of seeds is none")
    if not isinstance(distances, list) or len(distances) != stop - start:
        raise ValueError("a block of distances does not match its seeds")
    if None in distances or min(distances) < 0:
        raise ValueError("a squared distance is missing or negative")
    return values


def _pair(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: clean_png(values[name]) if values.get(name) else None for name in COLUMNS}


_CLEANED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "runs": _run,
    "checkpoints": _checkpoint,
    "training_sets": _training_set,
    "noise_distances": _distances,
    "pairs": _pair,
}


def _json(text: Any) -> Any:
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > 2**20:
        raise ValueError("a JSON text is too long")
    return json.loads(text, parse_constant=no_constant)


def _object(text: Any) -> dict[str, Any] | None:
    found = _json(text)
    if found is not None and not isinstance(found, dict):
        raise ValueError("a JSON text is no object")
    return found


def _shape(text: Any) -> list[int] | None:
    found = _json(text)
    if found is not None and not (isinstance(found, list) and len(found) <= 8 and all(type(n) is int and 0 < n < 2**31 for n in found)):
        raise ValueError("a shape is no list of numbers")
    return found


def no_constant(name: str) -> float:
    """Refuse NaN and the infinities, which JSON does not have; for `json.loads`."""
    raise ValueError(f"{name} is not a finite number")
