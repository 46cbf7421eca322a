"""What the database holds: columns and types of each table, which of them identify a row, and the migrations between versions.

Every table has a `key`: the sha256 over its identifying columns, never NULL, so that a row written twice is stored once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

IMAGE_LIMIT = 4 * 2**20
TEXT_LIMIT = 2**20


@dataclass(frozen=True)
class Table:
    """A table: DuckDB type of each column, and the columns that identify a row (the others may change when a row is written again)."""

    name: str
    columns: dict[str, str]
    identity: tuple[str, ...]
    later_identity: tuple[str, ...] = ()

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the typed row with its key; raises ValueError for a value that does not fit its column. Unknown names are left out.

        Identifying columns that a later version added count only where they have a value, so that older rows keep their keys.
        """
        row = {name: _READERS[kind](values.get(name)) for name, kind in self.columns.items()}
        later = [[name, row[name]] for name in self.later_identity if row[name] is not None]
        identity = json.dumps([*(row[name] for name in self.identity), *later], separators=(",", ":"))
        return {"key": hashlib.sha256(identity.encode()).hexdigest(), **row}


def _integer(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or abs(value) >= 2**63:
        raise ValueError(f"{value!r} is not a whole number of 64 bits")
    return int(value)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXT_LIMIT or "\0" in value:
        raise ValueError("a text is missing, too long or holds a NUL character")
    value.encode()  # a lone surrogate is no text
    return value


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of numbers is missing")
    return [number for item in value if (number := _number(item)) is not None]


def _json(value: Any) -> str | None:
    return None if value is None else _text(value if isinstance(value, str) else json.dumps(value, sort_keys=True, allow_nan=False))


def _png(value: Any) -> bytes | None:
    """Read a PNG given as bytes or in base64."""
    if value is None:
        return None
    try:
        data = value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError("an image is not base64") from error
    if len(data) > IMAGE_LIMIT or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("an image is no PNG, or larger than 4 MiB")
    return data


_READERS: dict[str, Callable[[Any], Any]] = {
    "VARCHAR": _text,
    "BIGINT": _integer,
    "DOUBLE": _number,
    "DOUBLE[]": _numbers,
    "JSON": _json,
    "BLOB": _png,
}

MEASUREMENT_IDENTITY = {
    "experiment": "VARCHAR",
    "run_id": "VARCHAR",
    "teacher": "VARCHAR",
    "teacher_revision": "VARCHAR",
    "student": "VARCHAR",
    "student_revision": "VARCHAR",
    "family": "VARCHAR",
    "size": "VARCHAR",
    "parameters": "BIGINT",
    "objective": "VARCHAR",
    "training_set": "VARCHAR",
    "num_samples": "BIGINT",
    "student_seed": "BIGINT",
    "step": "BIGINT",
    "student_steps": "BIGINT",
    "metric": "VARCHAR",
    "band": "VARCHAR",
    "noise_seed": "BIGINT",
    "num_noises": "BIGINT",
    "descriptor": "VARCHAR",
    "descriptor_sha256": "VARCHAR",
    "solver": "VARCHAR",
    "solver_steps": "BIGINT",
    "sigma_min": "DOUBLE",
    "sigma_max": "DOUBLE",
}

# Identifying columns of version 4; those that conditional models and guidance need are there before them.
MEASUREMENT_LATER_IDENTITY = {
    "rho": "DOUBLE",
    "outside_range": "VARCHAR",
    "conditions": "VARCHAR",
    "teacher_guidance": "DOUBLE",
    "student_guidance": "DOUBLE",
}

MEASUREMENTS = Table(
    "measurements",
    {
        **MEASUREMENT_IDENTITY,
        "value": "DOUBLE",
        "stderr": "DOUBLE",
        "ci_low": "DOUBLE",
        "ci_high": "DOUBLE",
        "shuffled": "DOUBLE",
        **MEASUREMENT_LATER_IDENTITY,
        "spread": "DOUBLE",
        "solver_error": "DOUBLE",
        "tail_share": "DOUBLE",
        "covers": "VARCHAR",
    },
    tuple(MEASUREMENT_IDENTITY),
    later_identity=tuple(MEASUREMENT_LATER_IDENTITY),
)

RUNS = Table(
    "runs",
    {
        "run_id": "VARCHAR",
        "kind": "VARCHAR",
        "state": "VARCHAR",
        "teacher": "VARCHAR",
        "student": "VARCHAR",
        "created": "DOUBLE",
        "started": "DOUBLE",
        "finished": "DOUBLE",
        "seconds": "DOUBLE",
        "attempt": "BIGINT",
        "exit_code": "BIGINT",
        "message": "VARCHAR",
        "device": "VARCHAR",
        "git_commit": "VARCHAR",
        "versions": "JSON",
        "command": "VARCHAR",
        "config": "JSON",
        "result": "JSON",
    },
    ("run_id",),
)

CHECKPOINTS = Table(
    "checkpoints",
    {
        "reference": "VARCHAR",
        "revision": "VARCHAR",
        "role": "VARCHAR",
        "family": "VARCHAR",
        "weights": "VARCHAR",
        "shape": "JSON",
        "parameters": "BIGINT",
        "sigma_min": "DOUBLE",
        "sigma_max": "DOUBLE",
        "license": "VARCHAR",
        "metadata": "JSON",
        "run_id": "VARCHAR",
    },
    ("reference", "revision", "role", "weights"),
)

TRAINING_SETS = Table(
    "training_sets",
    {
        "name": "VARCHAR",
        "content_hash": "VARCHAR",
        "num_samples": "BIGINT",
        "shape": "JSON",
        "seed_start": "BIGINT",
        "seed_stop": "BIGINT",
        "run_id": "VARCHAR",
    },
    ("name", "content_hash"),
)

NOISE_DISTANCES = Table(
    "noise_distances",
    {
        "run_id": "VARCHAR",
        "metric": "VARCHAR",
        "seeds_start": "BIGINT",
        "seeds_stop": "BIGINT",
        "values": "DOUBLE[]",
        "student": "VARCHAR",
        "student_seed": "BIGINT",
        "num_samples": "BIGINT",
        "size": "VARCHAR",
        "step": "BIGINT",
        "outside_range": "VARCHAR",
    },
    ("run_id", "metric", "seeds_start", "seeds_stop"),
    later_identity=("student", "step", "outside_range"),
)

TRAINING_CURVES = Table(
    "training_curves",
    {
        "run_id": "VARCHAR",
        "student": "VARCHAR",
        "student_seed": "BIGINT",
        "metric": "VARCHAR",
        "step": "BIGINT",
        "value": "DOUBLE",
    },
    ("run_id", "student", "student_seed", "metric", "step"),
)

PAIRS = Table(
    "pairs",
    {
        "run_id": "VARCHAR",
        "group": "VARCHAR",
        "rank": "BIGINT",
        "seed": "BIGINT",
        "distance": "DOUBLE",
        "teacher_png": "BLOB",
        "student_png": "BLOB",
        "nearest_png": "BLOB",
        "student": "VARCHAR",
        "step": "BIGINT",
        "empirical_png": "BLOB",
    },
    ("run_id", "group", "rank", "seed"),
    later_identity=("student", "step"),
)

TABLES = {table.name: table for table in (RUNS, MEASUREMENTS, CHECKPOINTS, TRAINING_SETS, NOISE_DISTANCES, TRAINING_CURVES, PAIRS)}
BY_EVENT = {
    "measurement": MEASUREMENTS,
    "checkpoint": CHECKPOINTS,
    "training_set": TRAINING_SETS,
    "distances": NOISE_DISTANCES,
    "training_curve": TRAINING_CURVES,
    "pair": PAIRS,
}
REQUIRED = {
    "measurements": ("experiment", "teacher", "student", "metric", "value"),
    "checkpoints": ("reference", "role"),
    "training_sets": ("name", "content_hash"),
    "noise_distances": ("metric", "seeds_start", "seeds_stop"),
    "training_curves": ("metric", "step", "value"),
    "pairs": ("group", "rank", "seed", "distance"),
}


def event_row(event: Mapping[str, Any], run_id: str) -> tuple[str, dict[str, Any]] | None:
    """Return the table and the row that an event stands for, None for events that are not stored; raises ValueError for a bad one."""
    table = BY_EVENT.get(event["type"])
    if table is None:
        return None
    row = table.row({**event, "run_id": run_id})
    for name in REQUIRED[table.name]:
        if row[name] is None:
            raise ValueError(f"{name} is missing from a {event['type']} event")
    if table is NOISE_DISTANCES and row["seeds_stop"] - row["seeds_start"] != len(event["values"]):
        raise ValueError("a block of distances does not match its seeds")
    return table.name, row


# Columns that a later version added. Version 2: the distances and pairs of a sweep's many students can be told apart. Version 3: the
# images of the empirical map beside those of the first noises. Version 4: the baselines and the solver error of a number, the grid's rho,
# and whose denoiser acted outside the trained range.
_ADDED: list[dict[str, tuple[str, ...]]] = [
    {"noise_distances": ("student", "student_seed", "num_samples", "size", "step"), "pairs": ("student", "step")},
    {"pairs": ("empirical_png",)},
    {
        "measurements": (*MEASUREMENT_LATER_IDENTITY, "spread", "solver_error", "tail_share", "covers"),
        "noise_distances": ("outside_range",),
    },
]


def _create_statements() -> list[str]:
    statements = []
    for table in TABLES.values():
        later = {name for added in _ADDED for name in added.get(table.name, ())}
        first = {name: kind for name, kind in table.columns.items() if name not in later}
        columns = ", ".join(f'"{name}" {"VARCHAR" if kind == "JSON" else kind}' for name, kind in first.items())
        source = "source varchar not null default '{database}'"
        statements.append(f"create table {{database}}.{table.name} (key varchar primary key, {columns}, {source})")
    statements.append(
        'create table {database}.ingested (run_id varchar primary key, "offset" bigint not null, status_stamp varchar, warnings bigint)'
    )
    return statements


# One list of statements for each version; a later version is appended and never edited. `{database}` is the attached name.
MIGRATIONS: list[list[str]] = [
    _create_statements(),
    *(
        [
            f"alter table {{database}}.{table} add column {name} {TABLES[table].columns[name]}"
            for table, names in added.items()
            for name in names
        ]
        for added in _ADDED
    ),
]
