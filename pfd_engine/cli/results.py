"""The commands that read results and write them out: `results`, `export`, `publish-results` and `export-site`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pfd_engine.errors import InputError
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace

TABLE_ROWS = 50
TABLES = ("measurements", "runs", "noise_distances", "checkpoints", "training_sets", "training_curves")


def add_results_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `results`."""
    _add_filters(parser)
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="show at most N rows; None: 50 in a table, all otherwise")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array of objects")
    form.add_argument("--csv", action="store_true", help="print CSV with all columns")


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `export`."""
    _add_filters(parser)
    parser.add_argument("--table", choices=TABLES, default="measurements", help="what to write; the filters are for measurements")
    parser.add_argument("--format", choices=("csv", "parquet", "json"), default="csv", help="format of the file")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write; replaced as a whole")


def add_publish_results_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `publish-results`."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="run_ids", action="append", metavar="ID", help="a run to publish; may be given again")
    which.add_argument("--all", action="store_true", help="publish every finished run of this workspace")
    parser.add_argument("--output", type=Path, default=PUBLISHED_DATABASE, metavar="FILE", help="the file to rewrite")


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `export-site`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is new, empty or an earlier snapshot")
    parser.add_argument(
        "--run", dest="run_ids", action="append", metavar="ID", help="a run to show; may be given again; None: what Home shows"
    )


def results(options: argparse.Namespace) -> int:
    """Print measurements as a table, CSV or JSON."""
    from pfd_engine.cli.output import print_csv, print_table
    from pfd_engine.store.queries.runs import measurements_query

    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit is {options.limit}: give a whole number from 1")
    filters = {"run_ids": options.run_ids, "metrics": options.metrics, "teacher": options.teacher, "student": options.student}
    total = 0
    few = options.limit is None and not (options.json or options.csv)
    with open_results() as store:
        sql, parameters = measurements_query(**filters, limit=TABLE_ROWS if few else options.limit)
        _check_runs(store, options.run_ids)
        rows, columns = store.rows(sql, parameters), store.columns(sql, parameters)
        if few and len(rows) == TABLE_ROWS:
            everything, parameters = measurements_query(**filters)
            total = store.rows(f"select count(*) as total from ({everything})", parameters)[0]["total"]
    if options.json:
        print(json.dumps(rows))
    elif options.csv:
        print_csv(columns, rows)
    else:
        print_table(rows)
        if total > len(rows):
            more = f"{total - len(rows):,} more rows are not shown: filter by --run or --metric"
            print(f"{more}, or give --limit {total} for all of them as a table, --csv or --json for all columns", file=sys.stderr)
    return 0


def _check_runs(store: Any, run_ids: Sequence[str]) -> None:
    """Raise InputError for a run by name that is not here."""
    known = {row["run_id"] for row in store.rows("select run_id from runs")} if run_ids else set()
    for run_id in run_ids:
        if run_id not in known:
            raise InputError(f"there is no run {run_id[:80]!r} here: the Runs page and `python -m pfd_engine results` list what there is")


def export(options: argparse.Namespace) -> int:
    """Write rows to a file, and print its name."""
    from pfd_engine.sharing.selection import export_file
    from pfd_engine.store.queries.runs import measurements_query

    filters = {"run_ids": options.run_ids, "metrics": options.metrics, "teacher": options.teacher, "student": options.student}
    if options.table != "measurements" and any(filters.values()):
        raise InputError(f"--table is {options.table}: the filters --run, --metric, --teacher and --student are for measurements only")
    sql, parameters = measurements_query(**filters) if options.table == "measurements" else (f"select * from {options.table}", [])
    with open_results() as store:
        _check_runs(store, options.run_ids)
        export_file(store, sql, parameters, options.output, options.format)
    print(options.output)
    return 0


def publish_results(options: argparse.Namespace) -> int:
    """Rewrite the shipped results, and print how many rows they have."""
    from pfd_engine.sharing.selection import publish

    with open_results() as store:
        counts = publish(store, None if options.all else options.run_ids, options.output)
    print(f"{options.output}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    return 0


def export_site(options: argparse.Namespace) -> int:
    """Write the finding pages as a folder of HTML, and print the first page."""
    from pfd_engine.site import export as site

    site.check_folder(options.folder.absolute())
    with open_results() as store:
        _check_runs(store, options.run_ids or ())
        pages = site.export_site(store, options.folder, options.run_ids)
    print(options.folder / pages[0])
    return 0


def open_results() -> Any:
    """Open the store for reading, beside a running app too; what it had to leave out is said on stderr."""
    from pfd_engine.store.database import read_results

    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s", stream=sys.stderr)
    store = read_results(Workspace.from_environment())
    for warning in store.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return store


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="run_ids", action="append", default=[], metavar="ID", help="only this run; may be given again")
    parser.add_argument(
        "--metric", dest="metrics", action="append", default=[], metavar="NAME", help="only this metric; may be given again"
    )
    parser.add_argument("--teacher", default=None, metavar="REF", help="only this teacher")
    parser.add_argument("--student", default=None, metavar="REF", help="only this student")
