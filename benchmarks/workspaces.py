"""A workspace with real results in it, for the page benchmark and the screenshots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.browser import REPOSITORY
from pfd_engine.bundled import bundled_references


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
