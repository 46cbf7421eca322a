"""kill -9 of worker, child and database owner at random moments: nothing acknowledged is lost or counts twice, the bits are the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.models.bundled import MEMORIZES, TEACHER
from pfd_engine.runs.folder import MAX_ATTEMPTS, Run, create_run, list_runs
from pfd_engine.runs.status import ENDED
from pfd_engine.store.database import Store
from pfd_engine.workspace import ASSETS, Workspace
from tests.run_processes import REPOSITORY, call, command, environment, wait_until

OWNER = """
import sys, time
from pathlib import Path
from pfd_engine.store.database import Store
from pfd_engine.workspace import Workspace
store = Store(Workspace(Path(sys.argv[1])), None)
while True:
    store.ingest()
    counts = [store.rows(f"select count(*) as n from {name}")[0]["n"] for name in ("measurements", "noise_distances", "pairs")]
    print(*counts, flush=True)
    time.sleep(0.02)
"""
KILLS = 20
IDENTICAL = ("measurements", "noise_distances", "pairs", "checkpoints", "training_sets")
CONFIGS = [
    EvaluateConfig(teacher=str(ASSETS / TEACHER), student=str(ASSETS / MEMORIZES), num_noises=1024, seed=4096 * k, steps=18)
    for k in range(3)
]


def contents(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of a workspace, runs named by their seed, since ids differ between workspaces."""
    seeds = {run.id: run.config.seed for run in list_runs(workspace)}
    with Store(workspace, None) as store:
        store.ingest()
        tables = {name: store.rows(f"select * from {name}") for name in IDENTICAL}
    for name in ("checkpoints", "training_sets"):
        for row in tables[name]:
            del row["run_id"]
    for rows in tables.values():
        for row in rows:
            if "run_id" in row:
                row["run_id"] = seeds[row["run_id"]]
        rows.sort(key=repr)
    return tables


class Victims:
    """A worker and an owner of the database, started again whenever they are gone, and the child of the moment."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.kills = workspace, {"worker": 0, "owner": 0, "child": 0}
        self.printed: list[Path] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def revive(self) -> None:
        words = {"worker": command("worker"), "owner": [sys.executable, "-c", OWNER, str(self.workspace.root)]}
        for name, line in words.items():
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                if name == "owner":
                    self.printed.append(self.workspace.root / f"owner-{len(self.printed)}.txt")
                with (self.printed[-1] if name == "owner" else Path(os.devnull)).open("wb") as output:
                    self.processes[name] = subprocess.Popen(
                        line, env=environment(self.workspace.root), cwd=REPOSITORY, stderr=subprocess.DEVNULL, stdout=output,
                    )  # fmt: skip

    def kill(self, name: str) -> None:
        if name == "child":
            for run in list_runs(self.workspace):
                status = run.status
                if status.state == "running" and status.pid and status.attempt < MAX_ATTEMPTS and run.is_locked:
                    before = run.events_path.read_bytes()
                    with suppress(ProcessLookupError):
                        os.kill(status.pid, signal.SIGKILL)
                        self.kills[name] += 1
                    wait_until(lambda pid=status.pid: is_gone(pid))  # type: ignore[misc]
                    assert run.events_path.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
        else:
            self.processes[name].kill()
            self.processes[name].wait()
            self.kills[name] += 1

    def check_acknowledged(self) -> None:
        """What an owner printed was committed: no later owner may know less."""
        acknowledged = [0, 0, 0]
        for output in self.printed:
            for line in output.read_bytes().split(b"\n")[:-1]:
                counts = [int(word) for word in line.split()]
                assert all(now >= before for now, before in zip(counts, acknowledged, strict=True)), (counts, acknowledged)
                acknowledged = counts

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.soak
def test_kill_9_anywhere_loses_nothing_doubles_nothing_and_changes_no_bit(tmp_path: Path) -> None:
    quiet, stormy = Workspace(tmp_path / "quiet"), Workspace(tmp_path / "stormy")
    for config in CONFIGS:
        create_run(quiet, config)
        create_run(stormy, config)
    answer = call(quiet.root, "worker", "--drain")
    assert answer.returncode == 0, answer.stderr
    assert [run.status.state for run in list_runs(quiet)] == ["finished"] * len(CONFIGS)

    chance = random.Random(9)
    victims = Victims(stormy)
    limit = time.monotonic() + 90
    try:
        while not all(run.status.state in ENDED for run in list_runs(stormy)):
            assert time.monotonic() < limit, victims.kills
            victims.revive()
            time.sleep(chance.uniform(0.2, 1.0))
            if sum(victims.kills.values()) < KILLS:
                victims.kill(chance.choice(["worker", "owner", "child", "child"]))
            victims.check_acknowledged()
        while sum(victims.kills.values()) < KILLS:
            victims.revive()
            time.sleep(chance.uniform(0.1, 0.5))
            victims.kill("owner")
            victims.check_acknowledged()
    finally:
        victims.stop()
    runs: list[Run] = list_runs(stormy)
    assert [(run.status.state, run.status.message) for run in runs] == [("finished", None)] * len(CONFIGS)
    assert victims.kills["child"] >= 2
    assert max(run.status.attempt for run in runs) > 1
    found, expected = contents(stormy), contents(quiet)
    for name in IDENTICAL:
        assert found[name] == expected[name], name
    assert len(found["measurements"]) == 4 * len(CONFIGS)
    print(victims.kills, [run.status.attempt for run in runs])
