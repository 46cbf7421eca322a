"""The commands `publish` and `pull`: results to others, as a dataset repository or folder, and theirs beside one's own."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from pfd_engine.cli.push import QUIET
from pfd_engine.cli.results import open_results
from pfd_engine.errors import InputError
from pfd_engine.workspace import Workspace


def add_publish_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `publish`."""
    parser.add_argument("repository", nargs="?", metavar="owner/name", help="the dataset repository; made where there is none")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="run_ids", action="append", metavar="ID", help="a run to publish; may be given again")
    which.add_argument("--all", action="store_true", help="publish every finished run of this workspace")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--license", dest="license_name", metavar="ID", default="cc-by-4.0", help="license of the numbers and figures")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write a folder that `pull` opens, and send nothing to the Hub")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def add_pull_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `pull`."""
    parser.add_argument("reference", nargs="?", metavar="REF", help="owner/name[@revision] on the Hub, or a path that starts with . / or ~")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="list what has been pulled")
    other.add_argument("--remove", metavar="SOURCE", help="forget what was pulled from a source, as --list names it")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def publish(options: argparse.Namespace) -> int:
    """Publish the runs and print where they went; raises InputError for what cannot be published."""
    if (options.repository is None) == (options.output is None):
        raise InputError("name either a repository, as owner/name, or --output with a folder")
    _quieten()
    from pfd_engine.cli.output import ProgressBar
    from pfd_engine.sharing.publish import publish_folder, publish_results

    run_ids = None if options.all else options.run_ids
    with open_results() as store, ProgressBar() as bar:
        if options.output is not None:
            shared = publish_folder(store, run_ids, options.output.expanduser(), options.license_name)
        else:
            settings = {"private": options.private, "license_name": options.license_name}
            shared = publish_results(store, run_ids, options.repository, **settings, report=bar.show)
    if options.json:
        print(json.dumps(shared._asdict()))
    else:
        at = f" at commit {shared.commit}" if shared.commit else ""
        print(f"{shared.where}{at}: {_counts(shared.rows)}, license {options.license_name}")
    return 0


def pull(options: argparse.Namespace) -> int:
    """Pull, list or remove; raises InputError with one sentence."""
    if sum(map(bool, (options.reference, options.list, options.remove))) != 1:
        raise InputError("name what to pull, owner/name[@revision] or ./folder, or give --list or --remove SOURCE")
    _quieten()
    from pfd_engine.cli.output import ProgressBar
    from pfd_engine.sharing import pull as pulling

    workspace = Workspace.from_environment()
    if options.remove:
        pulling.remove(workspace, options.remove)
        print(json.dumps({"removed": options.remove}) if options.json else f"removed {options.remove}")
    elif options.list:
        found = pulling.list_pulled(workspace)
        if options.json:
            print(json.dumps([pulled.model_dump() for pulled in found]))
        for pulled in () if options.json else found:
            day = time.strftime("%Y-%m-%d", time.localtime(pulled.pulled))
            print(f"{pulled.source}  {pulled.runs:,} runs  license {pulled.license or 'not stated'}  pulled {day}")
        if not found and not options.json:
            print("nothing has been pulled yet: `python -m pfd_engine pull owner/name` opens published results")
    else:
        with ProgressBar() as bar:
            pulled = pulling.pull(workspace, options.reference, bar.show)
        print(json.dumps(pulled.model_dump()) if options.json else f"{pulled.source}: {_counts(pulled.rows)}")
    return 0


def _counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in rows.items() if count)


def _quieten() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
