"""A workspace with real results in it, for the page benchmark and the screenshots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.browser import REPOSITORY
from pfd_engine.models.bundled import bundled_references


def measured_workspace(home: Path, noises: int = 512) -> str:
    """Measure the bundled students in an empty workspace; returns the id of the last run, that of the student that memorizes."""
    teacher, memorizes, generalizes = bundled_references()
    run_id = ""
    for student in (generalizes, memorizes):
        command = [sys.executable, "-m", "pfd_engine", "evaluate", "--teacher", teacher, "--student", student]
        answer = subprocess.run(
            [*command, "--noises", str(noises), "--json"], cwd=REPOSITORY, env=os.environ | {"PFD_HOME": str(home)},
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        run_id = json.loads(answer.stdout)["run_id"]
    return run_id


def pull_results_of_others(home: Path) -> None:
    """Pull what another workspace measured and published as a folder."""
    with tempfile.TemporaryDirectory() as other:
        theirs, folder = Path(other) / "theirs", Path(other) / "digits-results"
        measured_workspace(theirs, 256)
        command = [sys.executable, "-m", "pfd_engine"]
        for place, words in ((theirs, ["publish", "--all", "--output", str(folder)]), (home, ["pull", str(folder)])):
            environment = os.environ | {"PFD_HOME": str(place)}
            subprocess.run([*command, *words], cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, check=True)
