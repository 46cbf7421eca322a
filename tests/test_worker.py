"""The worker: one run a device at a time, each in its own process, none lost to a death of any kind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pfd_engine.jobs import worker as worker_module
from pfd_engine.jobs.worker import Worker, ensure_worker, worker_lives
from pfd_engine.runs.folder import Run, claim_new_run, create_run, list_runs, retry
from pfd_engine.runs.status import Status
from pfd_engine.store.database import read_run_folders
from pfd_engine.workspace import Workspace
from tests.run_processes import call, environment, start, wait_until
from tests.run_samples import a_config


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose children evaluate with the stand-in; what still runs at the end is stopped."""
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir()
    for name, value in environment(workspace.root, stand_in=True).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(worker_module, "BUSY_SECONDS", 0.05)
    yield workspace
    for run in list_runs(workspace):
        if run.is_locked and run.status.pid:
            os.kill(run.status.pid, signal.SIGKILL)


def queue(workspace: Workspace, behavior: str, **changes: object) -> Run:
    return create_run(workspace, a_config(student=f"test/{behavior}", **changes))


def drain(workspace: Workspace, cancel_grace: float = 30) -> None:
    assert Worker(workspace, cancel_grace=cancel_grace).serve(drain=True)


def starts(workspace: Workspace, run: Run) -> int:
    return sum(path.read_text() == run.id for path in (workspace.root / "marks").glob("start-*"))


def test_queued_runs_are_executed_in_order_and_one_at_a_time(workspace: Workspace) -> None:
    queued = [queue(workspace, "brief", seed=seed) for seed in range(3)]
    drain(workspace)
    for run in queued:
        status = run.status
        assert (status.state, status.exit_code, status.attempt, status.message) == ("finished", 0, 1, None)
        assert run.result is not None
    marks = sorted((workspace.root / "marks").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name.split("-")[0] for path in marks] == ["start", "stop"] * 3
    assert [path.read_text() for path in marks[::2]] == [run.id for run in queued]


def test_different_devices_work_side_by_side(workspace: Workspace) -> None:
    slow, quick = queue(workspace, "slow", device="cuda:7"), queue(workspace, "finish", device="cpu")
    worker = start(workspace.root, "worker", stand_in=True)
    wait_until(lambda: quick.status.state == "finished" and slow.status.state == "running", what="the quick run beside the slow one")
    slow.cancel()
    wait_until(lambda: slow.status.state == "cancelled")
    worker.kill()
    worker.wait()


@pytest.mark.parametrize(
    ("behavior", "exit_code", "sentence"),
    [
        ("input-error", 2, "teacher is 3x64x64"),
        ("run-error", 1, "hold NaN"),
        ("exception", 1, "unexpected error (ZeroDivisionError)"),
        ("prepare-exception", 1, "unexpected error (ZeroDivisionError)"),
        ("no-result", 1, "without a result"),
        ("os-disk-full", 1, "the disk is full"),
    ],
)
def test_a_failure_is_one_sentence_and_the_queue_goes_on(workspace: Workspace, behavior: str, exit_code: int, sentence: str) -> None:
    bad, good = queue(workspace, behavior), queue(workspace, "finish", seed=1)
    drain(workspace)
    assert (bad.status.state, bad.status.exit_code) == ("failed", exit_code)
    assert sentence in (bad.status.message or "")
    assert "\n" not in (bad.status.message or "")
    assert "Traceback" in bad.log_tail() or behavior in ("input-error", "run-error", "no-result")
    assert good.status.state == "finished"


def test_a_segfault_is_resumed_and_its_measurements_count_once(workspace: Workspace) -> None:
    run = queue(workspace, "segfault-once")
    drain(workspace)
    assert (run.status.state, run.status.attempt) == ("finished", 2)
    assert len(list(run.events("measurement"))) == 3
    with read_run_folders(workspace, None) as store:
        assert sorted(store.frame("select metric from measurements")["metric"]) == ["E_mem", "PFD"]


def test_a_run_that_always_dies_fails_after_three_attempts(workspace: Workspace) -> None:
    bad, good = queue(workspace, "segfault"), queue(workspace, "finish", seed=1)
    drain(workspace)
    assert (bad.status.state, bad.status.attempt, bad.status.exit_code) == ("failed", 3, -signal.SIGSEGV)
    assert "SIGSEGV in 3 attempts" in (bad.status.message or "")
    assert starts(workspace, bad) == 3
    assert good.status.state == "finished"


def test_a_child_that_dies_before_its_first_word_does_not_loop(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = queue(workspace, "finish")
    monkeypatch.setattr(worker_module.sys, "executable", "/bin/false")
    drain(workspace)
    assert (run.status.state, run.status.exit_code) == ("failed", 1)
    assert "in 3 attempts" in (run.status.message or "")


def test_a_hostile_configuration_fails_its_run_only(workspace: Workspace) -> None:
    bad, good = queue(workspace, "finish"), queue(workspace, "finish", seed=1)
    (bad.path / "config.json").write_text('{"kind": "evaluate", "device": ["rm", "-rf"], "teacher": 1}')
    drain(workspace)
    assert bad.status.state == "failed"
    assert good.status.state == "finished"


def test_a_run_left_by_a_dead_process_is_resumed_from_its_own_folder(workspace: Workspace, tmp_path: Path) -> None:
    run = create_run(workspace, a_config(student="test/finish"), queued=False, folder=tmp_path)
    assert run.status.state == "running"
    drain(workspace)
    assert (run.status.state, run.status.attempt) == ("finished", 2)


def test_a_run_with_its_result_on_disk_is_not_repeated(workspace: Workspace) -> None:
    run, lock = claim_new_run(workspace, a_config(student="test/finish"))
    run.events_path.write_text('{"type": "result", "result": {"value": 1.0}}\n')
    lock.release()
    drain(workspace)
    assert run.status.state == "finished"
    assert not (workspace.root / "marks").exists()


def test_a_run_that_another_process_executes_is_waited_for(workspace: Workspace) -> None:
    process = start(workspace.root, "evaluate", "--teacher", "someone/teacher", "--student", "test/slow", stand_in=True)
    wait_until(lambda: any(run.status.phase == "noises" for run in list_runs(workspace)))
    (foreign,) = list_runs(workspace)
    mine = queue(workspace, "finish")
    worker = start(workspace.root, "worker", "--drain", stand_in=True)
    time.sleep(1.5)
    assert mine.status.state == "queued"
    foreign.cancel()
    assert process.wait(20) == 130
    assert worker.wait(20) == 0
    assert (foreign.status.state, mine.status.state) == ("cancelled", "finished")
    assert foreign.status.attempt == 1
    said = (workspace.root.parent / "output.txt").read_text()
    assert said.count(f"waiting for {foreign.id}, which another process (pid {process.pid}) still executes") == 1


def test_a_failed_run_that_is_tried_again_is_taken_by_the_same_worker(workspace: Workspace) -> None:
    run = queue(workspace, "exception")
    worker = start(workspace.root, "worker", stand_in=True)
    wait_until(lambda: run.status.state == "failed")
    time.sleep(0.5)
    retry(run)
    wait_until(lambda: run.status.state == "failed" and starts(workspace, run) == 2)
    worker.kill()
    worker.wait()


def test_a_state_that_cannot_be_written_does_not_stop_the_worker(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = create_run(workspace, a_config(student="test/finish"), queued=False)
    good = queue(workspace, "finish", seed=1)
    write = Run.write_status

    def refuse(run: Run, status: Status, *, durable: bool = True) -> None:
        if run == stuck:
            raise OSError(28, "No space left on device")
        write(run, status, durable=durable)

    monkeypatch.setattr(Run, "write_status", refuse)
    drain(workspace)
    assert (stuck.status.state, good.status.state) == ("running", "finished")


def test_cancel_stops_a_running_run_and_drops_a_queued_one(workspace: Workspace) -> None:
    running, queued = queue(workspace, "slow"), queue(workspace, "finish", seed=1)
    worker = start(workspace.root, "worker", "--drain", stand_in=True)
    wait_until(lambda: running.status.phase == "noises")
    queued.cancel()
    asked = time.monotonic()
    running.cancel()
    assert worker.wait(20) == 0
    assert time.monotonic() - asked < 5
    assert (running.status.state, running.status.exit_code) == ("cancelled", 130)
    assert queued.status.state == "cancelled"
    assert starts(workspace, queued) == 0


@pytest.mark.parametrize("behavior", ["deaf", "deaf-in-prepare"])
def test_a_child_that_ignores_cancel_is_terminated(workspace: Workspace, behavior: str) -> None:
    run = queue(workspace, behavior)
    worker = Worker(workspace, cancel_grace=0.5)
    worker._scan()
    wait_until(lambda: run.status.state == "running")
    run.cancel()

    def ended() -> bool:
        worker._reap()
        return not worker._children

    wait_until(ended, what="the end of the deaf child")
    assert run.status.state == "cancelled"
    assert run.status.exit_code == 130


def test_an_adopted_child_that_ignores_cancel_is_terminated_too(workspace: Workspace) -> None:
    run = queue(workspace, "deaf")
    first = start(workspace.root, "worker", stand_in=True)
    wait_until(lambda: starts(workspace, run) == 1 if (workspace.root / "marks").exists() else False)
    first.kill()
    first.wait()
    assert psutil.pid_exists(run.status.pid or 0)
    run.cancel()
    drain(workspace, cancel_grace=0.3)
    assert (run.status.state, run.status.attempt) == ("cancelled", 1)


def test_ensure_worker_starts_one_that_executes_and_only_one(workspace: Workspace) -> None:
    assert not worker_lives(workspace)
    run = queue(workspace, "brief")
    assert ensure_worker(workspace)
    wait_until(lambda: worker_lives(workspace))
    assert not ensure_worker(workspace)
    assert call(workspace.root, "worker", "--drain").stderr.strip() == "another worker serves this workspace"
    wait_until(lambda: run.status.state == "finished")
    (process,) = worker_module._started
    assert os.getsid(process.pid) == process.pid
    process.kill()
    process.wait()
    assert ensure_worker(workspace)
    wait_until(lambda: worker_lives(workspace))


def test_an_idle_worker_costs_little(workspace: Workspace) -> None:
    for seed in range(10):
        queue(workspace, "finish", seed=seed).cancel()
    process = start(workspace.root, "worker", stand_in=True)
    wait_until(lambda: worker_lives(workspace))
    time.sleep(1)
    before, began = psutil.Process(process.pid).cpu_times(), time.monotonic()
    time.sleep(2)
    after = psutil.Process(process.pid).cpu_times()
    share = (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
    process.kill()
    process.wait()
    assert share < 0.05


def test_a_worker_ends_when_its_workspace_is_gone(workspace: Workspace) -> None:
    process = start(workspace.root, "worker", stand_in=True)
    wait_until(lambda: worker_lives(workspace))
    shutil.rmtree(workspace.root)
    assert process.wait(20) == 0
