"""Writing results to files: exports for other programs, and the shipped database from named runs. A file appears whole or not at all."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from pfd_engine.errors import InputError, RunError
from pfd_engine.findings.sweeps import finding_sentence
from pfd_engine.runs.events import sync_folder
from pfd_engine.sharing.scrub import in_texts, scrubbed
from pfd_engine.store.database import OFFLINE, Store, migrate
from pfd_engine.store.ingest import upsert
from pfd_engine.store.pulled import PULLED
from pfd_engine.store.queries.runs import OWN
from pfd_engine.store.queries.sweeps import FINDING_RULE
from pfd_engine.store.schema import TABLES
from pfd_engine.workspace import REPOSITORY

ROLES = ("descriptor_file", "training_set", "student", "teacher")
_QUOTE_IN_COMMANDS = """'"'"'"""  # as shlex writes an apostrophe
OF_RUNS = ("runs", "measurements", "noise_distances", "training_curves", "pairs")
_log = logging.getLogger(__name__)


def export_file(store: Store, sql: str, parameters: Sequence[Any], path: Path, format: str) -> None:
    """Write the answer to a query of ours as csv, parquet or json; raises InputError where the file cannot be written."""
    with _replacing(path) as draft:
        store.write(sql, parameters, draft, format)


def publish(store: Store, run_ids: Sequence[str] | None, path: Path) -> dict[str, int]:
    """Rewrite the shipped database from finished runs (None: all that can be published) and return the rows of each table.

    What is chosen, and what of it is written, is said at `selection`, which raises InputError.
    """
    tables = selection(store, run_ids)
    with _replacing(path) as draft, duckdb.connect(":memory:", config=OFFLINE) as connection:
        connection.execute("attach ? as published", [str(draft)])
        migrate(connection, "published")
        counts = {}
        for name, rows in tables.items():
            table = TABLES[name]
            counts[name] = upsert(connection, "published", table, [table.row(row) for row in rows])
        connection.execute("checkpoint published")
        connection.execute("detach published")
    return counts


def selection(store: Store, run_ids: Sequence[str] | None) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table that others may see of finished runs (None: all of this workspace that can be published).

    A sweep's result brings along the sentence that its data show. Per-noise distances keep nine digits: networks compute in float32, so
    that the others are noise, which takes half of the file.

    Paths inside the repository or the workspace become relative ones: a student that a run trained is `./workspace/runs/<run>/student`,
    which the run's command makes again. Of any other path in a text the last name alone is kept, and of a token nothing. A run that
    names a model or training set in a folder elsewhere cannot be published, because a reader could not follow it: it is left out of all
    with a warning in the log. Raises InputError for such a run by name, for an unknown or unfinished one, and where nothing is left.
    """
    chosen = _chosen(store, run_ids)
    for run_id, role in _outside(store, chosen).items():
        sentence = f"the {role} of run {run_id} is a folder outside the repository"
        if run_ids is not None:
            raise InputError(f"{sentence}: publish runs of Hub checkpoints")
        _log.warning("%s: the run is left out", sentence)
        chosen.remove(run_id)
    if not chosen:
        raise InputError("no finished run can be published: publish runs of Hub checkpoints")
    tables = {name: [_portable(store, row) for row in _rows(store, name, chosen)] for name in OF_RUNS}
    for row in tables["runs"]:
        row["result"] = _with_finding(store, row)
    references = {row[role] for row in tables["measurements"] for role in ("teacher", "student")}
    tables["checkpoints"] = _named(store, "checkpoints", "reference", references, chosen)
    sets = {row["training_set"] for row in tables["measurements"]}
    tables["training_sets"] = _named(store, "training_sets", "name", sets, chosen)
    return {name: [{column: scrubbed(value) for column, value in row.items()} for row in rows] for name, rows in tables.items()}


def _chosen(store: Store, run_ids: Sequence[str] | None) -> list[str]:
    """Return the named runs, published ones among them; where none is named, those of this workspace alone."""
    finished = store.rows("select run_id, source from runs where state = 'finished'")
    sources = {row["run_id"]: row["source"] for row in sorted(finished, key=lambda row: row["source"])}
    for run_id in run_ids or ():
        if str(sources.get(run_id)).startswith(PULLED):
            raise InputError(f"run {run_id} was pulled from {sources[run_id]}: publish runs of your own")
        if run_id not in sources:
            raise InputError(f"{run_id!r} is no finished run: `python -m pfd_engine results` lists them")
    chosen = {row["run_id"] for row in finished if row["source"] == "workspace"} if run_ids is None else set(run_ids)
    if not chosen:
        raise InputError("there is no finished run to publish: run `python -m pfd_engine evaluate` first")
    return sorted(chosen)


def _outside(store: Store, run_ids: list[str]) -> dict[str, str]:
    """Return the runs that used a folder or file outside the repository, each with what it was there."""
    rows = [_portable(store, row) for row in _rows(store, "measurements", run_ids)]
    for run in (_portable(store, row) for row in _rows(store, "runs", run_ids)):
        config = json.loads(run["config"]) if run["config"] else {}
        rows.append({role: config.get(role) for role in ROLES} | {"run_id": run["run_id"]})
    return {row["run_id"]: role.replace("_", " ") for role in ROLES for row in rows if str(row.get(role)).startswith(("/", "~"))}


def _rows(store: Store, name: str, run_ids: list[str]) -> list[dict[str, Any]]:
    """Return a table's rows of some runs, the workspace's own where a run is published already."""
    return store.rows(
        f"select t.* from {name} t join (select run_id, max(source) as source from runs group by run_id) r using (run_id, source) "
        "where list_contains(?::varchar[], run_id)",
        [run_ids],
    )


def _named(store: Store, name: str, column: str, names: set[str | None], run_ids: list[str]) -> list[dict[str, Any]]:
    """Return a table's rows of some names; the run that saw one first is named only where it is published too."""
    rows = [_portable(store, row) for row in store.rows(f"select * from {name} where {OWN} order by source")]
    return [row | {"run_id": row["run_id"] if row["run_id"] in run_ids else None} for row in rows if row[column] in names]


def _portable(store: Store, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without `source`, its texts without the paths of this workspace and this checkout."""
    places = {f"{REPOSITORY}{os.sep}": "./"}
    if store.workspace is not None:
        places = {f"{store.workspace.root}{os.sep}": "./workspace/"} | places

    def portable(text: str) -> str:
        for path, name in places.items():
            text = text.replace(path, name).replace(path.replace("'", _QUOTE_IN_COMMANDS), name)
        return text

    shown = {name: in_texts(value, portable) for name, value in row.items() if name != "source"}
    return shown | {"values": _nine_digits(row["values"])} if "values" in row else shown


def _with_finding(store: Store, run: Mapping[str, Any]) -> str | None:
    """Return a run's result, that of a sweep with the sentence that its data show: readers need not analyze it to see it."""
    result = json.loads(run["result"]) if run["result"] else None
    if run["kind"] != "sweep" or not isinstance(result, dict):
        found: str | None = run["result"]
        return found
    sentence = finding_sentence(store, run["run_id"], result["experiment"])
    return json.dumps(result | {"finding": sentence, "finding_rule": FINDING_RULE}, sort_keys=True)


def _nine_digits(values: Sequence[float]) -> list[float]:
    """Round numbers to the last of nine digits of the largest: an error of at most 5e-9 of it, and decimals that compress well."""
    largest = max(map(abs, values))
    decimals = 8 - math.floor(math.log10(largest)) if largest > 0 else 0
    return [round(value, decimals) for value in values]


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a draft beside `path` that takes its place at the end; nothing is left of it where the block fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise InputError(f"{path} cannot be written: name an ordinary file in a folder that exists", "output")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except (OSError, duckdb.IOException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise RunError(f"{path} could not be written ({reason}): free space, and check who may write there") from error
    finally:
        for leftover in (draft, draft.with_name(draft.name + ".wal")):
            with suppress(OSError):
                leftover.unlink()
