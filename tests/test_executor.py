"""The local executor: processes that die, fail, fill the disk or are told to stop, and what the driver hears of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pfd_engine.executors.local import Outcome, available_processes, execute
from tests.executor_tasks import Job, work
from tests.run_processes import wait_until

DRIVER = """
import sys
from pfd_engine.executors.local import execute
from tests.executor_tasks import Job, work
if __name__ == "__main__":
    for item in execute(work, [Job("endless", "never")], 1):
        if item:
            print(item[1][0]["pid"], flush=True)
"""


def run(jobs: list[Job], processes: int = 1) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Outcome]]:
    """Run jobs to their end; returns the events and the outcome of each by name."""
    events: dict[str, list[dict[str, Any]]] = {job.name: [] for job in jobs}
    outcomes = {}
    for item in execute(work, jobs, processes):
        if item is None:
            continue
        index, found = item
        if isinstance(found, Outcome):
            assert jobs[index].name not in outcomes
            outcomes[jobs[index].name] = found
        else:
            events[jobs[index].name] += found
    return events, outcomes


def test_every_task_yields_all_of_its_events_in_order_and_ends_once() -> None:
    jobs = [Job(name) for name in ("first", "second", "third")]
    events, outcomes = run(jobs, processes=2)
    assert {name: [event["number"] for event in found] for name, found in events.items()} == {name: [0, 1, 2] for name in events}
    assert outcomes == dict.fromkeys(events, Outcome())
    assert len({event["pid"] for found in events.values() for event in found}) == 3


def test_one_process_takes_the_tasks_in_their_order() -> None:
    order = [item[0] for item in execute(work, [Job("a"), Job("b")], 1) if item is not None]
    assert order == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_process_that_dies_is_tried_once_more(tmp_path: Path) -> None:
    events, outcomes = run([Job("fragile", "dies once", marks=tmp_path)])
    kinds = [event["type"] for event in events["fragile"]]
    assert kinds == ["row"] * 3 + ["retry"] + ["row"] * 3
    assert outcomes["fragile"] == Outcome()


def test_a_process_that_dies_twice_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    events, outcomes = run([Job("dead", "dies", marks=tmp_path), Job("sound")])
    assert len(list(tmp_path.glob("dead-*"))) == 2
    assert outcomes["dead"].error == "its process ended unexpectedly (exit status -9), perhaps for lack of memory"
    assert not outcomes["dead"].fatal
    assert outcomes["sound"] == Outcome()
    assert len(events["sound"]) == 3


@pytest.mark.parametrize(
    ("end", "sentence"),
    [("sentence", "the teacher is gone: name another"), ("memory", "the memory is exhausted: lower the group size")],
)
def test_what_a_task_says_of_its_end_is_reported_as_it_stands(end: str, sentence: str) -> None:
    _, outcomes = run([Job("task", end, count=0)])
    assert outcomes["task"] == Outcome(sentence)


def test_an_unexpected_error_is_one_sentence_with_its_traceback_beside() -> None:
    _, outcomes = run([Job("task", "surprise", count=0)])
    assert outcomes["task"].error == "unexpected error (ZeroDivisionError)"
    assert "a detail for the log" in str(outcomes["task"].details)


def test_a_full_disk_is_fatal_and_not_tried_again(tmp_path: Path) -> None:
    _, outcomes = run([Job("task", "full disk", count=0, marks=tmp_path)])
    assert outcomes["task"].fatal
    assert "the disk is full" in str(outcomes["task"].error)
    assert len(list(tmp_path.glob("task-*"))) == 1


def test_closing_ends_all_processes() -> None:
    running = execute(work, [Job("a", "never", count=1), Job("b", "never", count=1)], 2)
    pids = set()
    while len(pids) < 2:
        item = next(running)
        if item is not None and not isinstance(item[1], Outcome):
            pids.add(item[1][0]["pid"])
    running.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_task_does_not_outlive_a_driver_that_was_killed() -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10, "the end of the task")


@pytest.mark.parametrize(("asked", "expected"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_how_many_tasks_run_at_once_can_be_set(asked: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PFD_PROCESSES", asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert available_processes() == (expected or cores)
