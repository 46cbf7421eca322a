"""Starting the command line as a process, with the real evaluation or with the stand-in of `tests.fake_evaluation`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
STAND_IN = """
import sys, types
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "pfd_engine.evaluation.prepare":
            from importlib.util import spec_from_file_location
            return spec_from_file_location(name, {file!r})
sys.meta_path.insert(0, Finder())
"""


def environment(workspace: Path, *, stand_in: bool = False) -> dict[str, str]:
    """Return the environment of a child process that works in `workspace`."""
    words = {**os.environ, "PFD_HOME": str(workspace), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    if stand_in:
        folder = workspace.parent / "stand-in"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(STAND_IN.format(file=str(REPOSITORY / "tests" / "fake_evaluation.py")))
        words["PYTHONPATH"] = f"{folder}{os.pathsep}{REPOSITORY}"
    return words


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "pfd_engine", *words]


def call(workspace: Path, *words: str, stand_in: bool = False, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    words_of_child = environment(workspace, stand_in=stand_in)
    return subprocess.run(
        command(*words), env=words_of_child, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False
    )  # fmt: skip


def start(workspace: Path, *words: str, stand_in: bool = False) -> subprocess.Popen[bytes]:
    """Start a command and leave it running, its output in a file beside the workspace."""
    with (workspace.parent / "output.txt").open("ab") as output:
        return subprocess.Popen(
            command(*words), env=environment(workspace, stand_in=stand_in), cwd=REPOSITORY, stdout=output, stderr=output
        )


def wait_until(condition: Callable[[], object], seconds: float = 20, what: str = "the condition") -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what} did not come true in {seconds} s"
        time.sleep(0.02)
