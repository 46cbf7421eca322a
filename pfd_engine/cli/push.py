"""The command `push`: a student's folder to a model repository on the Hub."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# A student is small, and plain uploads go through the endpoints that our tests stand in for.
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_VERBOSITY": "error", "HF_HUB_DISABLE_XET": "1"}


def add_push_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a student's folder, as `distill` names it")
    parser.add_argument("repository", metavar="owner/name", help="the model repository; made where there is none")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def push(options: argparse.Namespace) -> int:
    """Push the folder and print where it went; raises InputError for what cannot be pushed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from pfd_engine.hub.upload import push as push_folder

    pushed = push_folder(options.folder.expanduser(), options.repository, options.private)
    if pushed.warning:
        print(f"warning: {pushed.warning}", file=sys.stderr)
    if options.json:
        found = {"repository": pushed.repository, "commit": pushed.commit, "url": pushed.url, "files": list(pushed.files)}
        print(json.dumps(found))
    else:
        print(f"{pushed.url} at commit {pushed.commit}: {', '.join(pushed.files)}")
    return 0
