"""`make soak`: a short version of each bundled sweep, killed at random ten times on the way, ends with the rows of an undisturbed one.

Half of the kills end the driver with all its processes, half a single task of it; what is killed goes on in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.sweep_files import load_spec
from pfd_engine.runs.events import parse_lines, read_whole_lines
from pfd_engine.runs.folder import Run, create_run
from pfd_engine.runs.status import ENDED
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.run_processes import command, environment
from tests.sweep_rows import contents

SHORT: dict[str, Any] = {
    "checkpoints": 4, "first_checkpoint": 100, "seeds": [0, 1, 2], "evaluation": {"num_noises": 256}, "device": "cpu",
}  # fmt: skip
SHORTER = {
    "scaling": {"sizes": ["mlp-32", "mlp-64"], "num_samples": [16, 128, 1024], "group_size": 3},
    "training-dynamics": {"sizes": ["mlp-64"], "num_samples": [16, 64, 256, 1024], "group_size": 2},
    "bias-variance": {"sizes": ["mlp-32", "mlp-64"], "num_samples": [16, 128, 1024]},
}


def short(name: str, steps: int) -> SweepConfig:
    """Return a version of a bundled sweep that is about a minute of work."""
    return load_spec(name, SHORT | SHORTER[name] | {"steps": steps})


def drive(run: Run) -> subprocess.Popen[bytes]:
    """Go on with a run in a session of its own, as the worker does."""
    words, variables = command("run", str(run.path)), environment(run.workspace.root)
    return subprocess.Popen(words, env=variables, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL)


def tasks_of(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes in which groups are trained now."""
    try:
        return [child for child in psutil.Process(driver.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def calm(config: SweepConfig, root: Path) -> tuple[Workspace, float]:
    """Run a sweep undisturbed; returns its workspace and seconds."""
    workspace, started = Workspace(root), time.monotonic()
    assert drive(create_run(workspace, config, queued=False)).wait() == 0
    return workspace, time.monotonic() - started


def disturbed(config: SweepConfig, root: Path, seconds: float, kills: int, chance: random.Random) -> tuple[Workspace, list[str]]:
    """Run a sweep with kills spread over `seconds` of work; returns its workspace and what was killed."""
    workspace = Workspace(root)
    run = create_run(workspace, config, queued=False)
    driver, killed = drive(run), []
    single_allowed = True
    while driver.poll() is None or run.status.state != "finished":
        if driver.poll() is not None:
            assert run.status.state not in ENDED, run.log_tail()
            driver = drive(run)
        if len(killed) == kills:
            assert driver.wait() == 0, run.log_tail()
            break
        known, delay = size_of_events(run), chance.uniform(0, seconds / kills)
        while driver.poll() is None and not has_moved(run, known):
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(delay)
        tasks = tasks_of(driver)
        if tasks and single_allowed and chance.random() < 0.5:
            chance.choice(tasks).kill()
            killed.append("task")
            single_allowed = False  # a group that dies twice in one driver's life is left out, and should be
        elif driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            killed.append("driver")
            single_allowed = True
    return workspace, killed


def size_of_events(run: Run) -> int:
    """Return how many bytes of events a run has written."""
    return run.events_path.stat().st_size if run.events_path.is_file() else 0


def has_moved(run: Run, offset: int) -> bool:
    """Tell whether students were trained or measured since the events reached `offset`: a driver that starts only says where it is."""
    if size_of_events(run) == offset:
        return False
    events = [event for event in parse_lines(read_whole_lines(run.events_path, offset)) if event is not None]
    return any(event["type"] == "measurement" for event in events) or len({event.get("done") for event in events if is_training(event)}) > 1


def is_training(event: dict[str, Any]) -> bool:
    return event["type"] == "progress" and event.get("phase") == "students"


def soak(name: str, steps: int, kills: int, seed: int) -> bool:
    """Compare both runs of one sweep; says how it went and returns whether they agree."""
    config = short(name, steps)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, seconds = calm(config, Path(folder) / "calm")
        workspace, killed = disturbed(config, Path(folder) / "disturbed", seconds, kills, random.Random(seed))
        expected, found = contents(undisturbed), contents(workspace)
    different = [table for table in expected if expected[table] != found[table]]
    rows = len(expected["measurements"])
    print(
        f"{name}: {config.num_students} students, {rows} rows in {seconds:.0f} s; {killed.count('driver')} drivers and "
        f"{killed.count('task')} tasks killed: {'the same rows' if not different else 'DIFFERENT rows in ' + ', '.join(different)}",
        flush=True,
    )
    return not different and rows > 0 and len(killed) == kills


def main() -> int:
    """Soak the sweeps that are named, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(SHORTER)}; all where none is named")
    parser.add_argument("--kills", type=int, default=10, help="how often to kill")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of each student")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides when what is killed")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    agreed = [soak(name, options.steps, options.kills, options.seed) for name in options.names or SHORTER]
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
