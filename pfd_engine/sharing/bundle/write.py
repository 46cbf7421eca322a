"""Writing a bundle: the rows that `publish.selection` allows, as a folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pfd_engine import __version__
from pfd_engine.errors import InputError, RunError
from pfd_engine.findings.verdicts import judge_runs
from pfd_engine.provenance import git_commit, versions
from pfd_engine.sharing.bundle.card import Sweep, result_of, write_card
from pfd_engine.sharing.bundle.figures import figures_page
from pfd_engine.sharing.bundle.format import (
    CARD_FILE,
    FIGURES_FILE,
    MAX_ROWS,
    PROVENANCE_FILE,
    TABLE_FILES,
    WALLS,
    Provenance,
    RunProvenance,
)
from pfd_engine.sharing.bundle.images import COLUMNS, clean_png, wall_png
from pfd_engine.sharing.selection import selection
from pfd_engine.store.database import Store
from pfd_engine.store.ingest import arrow_schema
from pfd_engine.store.schema import TABLES

DEFAULT_LICENSE = "cc-by-4.0"
ROWS_A_GROUP = {"noise_distances": 1_000, "pairs": 1_000}
Report = Callable[[dict[str, Any]], None]
Rows = dict[str, list[dict[str, Any]]]


def write_bundle(
    store: Store,
    run_ids: Sequence[str] | None,
    folder: Path,
    *,
    repository: str | None = None,
    license_name: str = DEFAULT_LICENSE,
    report: Report = lambda event: None,
) -> dict[str, int]:
    """Write finished runs (None: all that can be published) into a new folder and return the rows of each table.

    What is chosen is said at `publish.selection`. Images are decoded and written anew. `repository` is named in the card. Raises
    InputError for a folder that is there already or cannot be made, and for what cannot be chosen; RunError where the disk is full.
    """
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} exists already: name a new folder", "output")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder} cannot be written: name a new folder in one that exists", "output")
    tables = selection(store, run_ids)
    for name, rows in tables.items():
        if len(rows) > MAX_ROWS[name]:
            raise InputError(f"these runs have {len(rows):,} rows of {name}, and a bundle {MAX_ROWS[name]:,} at most: publish fewer runs")
    draft = folder.absolute().parent / f".{folder.name}.{os.getpid()}"
    try:
        draft.mkdir()
        _fill(store, tables, draft, repository, license_name, report)
        draft.rename(folder)
    except OSError as error:
        raise RunError(f"{folder} could not be written ({error.strerror}): free space, and check who may write there") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(draft)
    return {name: len(rows) for name, rows in tables.items()}


def _fill(store: Store, tables: Rows, folder: Path, repository: str | None, license_name: str, report: Report) -> None:
    phases = ("images", "tables", "figures")

    def done(count: int) -> None:
        report({"type": "progress", "phase": "bundle", "done": count, "total": len(phases), "unit": "parts"})

    done(0)
    for pair in tables["pairs"]:
        pair.update({name: clean_png(bytes(pair[name])) if pair[name] else None for name in COLUMNS})
    walls = _write_walls(tables["pairs"], folder / WALLS)
    done(1)
    for name, rows in tables.items():
        _write_table(name, rows, folder / TABLE_FILES[name])
    done(2)
    sweeps = [found for run in tables["runs"] if (found := _sweep(run)) is not None]
    page = figures_page(store, [run["run_id"] for run in tables["runs"]])
    if page is not None:
        (folder / FIGURES_FILE).write_text(page, encoding="utf-8")
    provenance = _provenance(tables, license_name)
    (folder / PROVENANCE_FILE).write_text(provenance.model_dump_json(indent=1) + "\n", encoding="utf-8")
    results = {run["run_id"]: result_of(run) for run in tables["runs"] if run["kind"] != "sweep"}
    judged = judge_runs(store, results)
    card = write_card(provenance, tables, sweeps, walls, repository, page is not None, judged)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    done(3)


def _write_table(name: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    table = TABLES[name]
    schema, many = arrow_schema(table), ROWS_A_GROUP.get(name, 20_000)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, max(len(rows), 1), many):
            typed = [table.row(row) for row in rows[start : start + many]]
            writer.write_table(pa.Table.from_pylist([{k: row[k] for k in table.columns} for row in typed], schema=schema))


def _write_walls(pairs: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """Write a picture for each run that has pairs, of its first student, and return those runs."""
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for pair in pairs:
        by_run.setdefault(pair["run_id"], []).append(pair)
    written = []
    for run_id, mine in by_run.items():
        first = min((str(pair["student"] or ""), -(pair["step"] or 0)) for pair in mine)
        picture = wall_png([pair for pair in mine if (str(pair["student"] or ""), -(pair["step"] or 0)) == first])
        if picture is not None:
            folder.mkdir(exist_ok=True)
            (folder / f"{run_id}.png").write_bytes(picture)
            written.append(run_id)
    return written


def _sweep(run: Mapping[str, Any]) -> Sweep | None:
    result = result_of(run)
    if run["kind"] != "sweep" or not result.get("experiment"):
        return None
    experiment = str(result["experiment"])
    return Sweep(experiment, str(result.get("name") or experiment), str(result.get("finding") or ""))


def _provenance(tables: Rows, license_name: str) -> Provenance:
    revisions: dict[str, dict[str, str]] = {}
    for row in tables["measurements"]:
        for role in ("teacher", "student"):
            if row[f"{role}_revision"]:
                revisions.setdefault(row["run_id"], {})[str(row[role])] = str(row[f"{role}_revision"])
    runs = [
        RunProvenance(
            run_id=run["run_id"],
            kind=run["kind"],
            command=run["command"],
            config=json.loads(run["config"]) if run["config"] else None,
            git_commit=run["git_commit"],
            versions=json.loads(run["versions"]) if run["versions"] else {},
            revisions=dict(sorted(revisions.get(run["run_id"], {}).items())[:1000]),
        )
        for run in tables["runs"]
    ]
    return Provenance(
        software_version=__version__,
        git_commit=git_commit(),
        versions=versions(),
        created=time.time(),
        license=license_name,
        tables={name: len(rows) for name, rows in tables.items()},
        runs=runs,
    )
