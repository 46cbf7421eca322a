"""The driver of a sweep: prepares what all tasks share, gives groups to the executor, and turns what comes back into the run's events.

Finished groups are marked in the run's own events, so that a sweep that was killed goes on with the others; a group that was under way
goes on from its last checkpoint. A group that fails twice is reported, and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.training import check_device
from pfd_engine.devices import resolve_device
from pfd_engine.distill.setup import free_memory
from pfd_engine.errors import Cancelled, InputError, RunError
from pfd_engine.evaluation.report import checkpoint_event, described
from pfd_engine.executors.local import Outcome, available_processes, execute
from pfd_engine.measure.memorization import distinct_samples
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.planning.distillation_checks import check_samples
from pfd_engine.planning.evaluation import Model
from pfd_engine.planning.sweep import check_memory
from pfd_engine.provenance import provenance
from pfd_engine.runs.events import read_lines
from pfd_engine.runs.folder import Run
from pfd_engine.sweeps.solver_steps import solver_steps
from pfd_engine.sweeps.task import Setting, Task, run_task, train_config
from pfd_engine.sweeps.trained_range import check_diagnostic_map
from pfd_engine.workspace import Workspace

Event = dict[str, Any]
DONE = "group_done"
REDONE = "damaged lines in the events of this run: {}, so the groups that ended after the first one are trained and measured again"


def prepare(config: SweepConfig, workspace: Workspace, report: Callable[[Event], None] | None = None) -> Sweep:
    """Load and check what every task needs; raises InputError with one sentence for what cannot start."""
    device = resolve_device(config.device)
    report = report or (lambda event: None)
    report({"type": "progress", "phase": "load", "done": 0, "total": 1, "unit": "models"})
    try:
        setting = Setting.open(config, workspace.cache / "endpoints", str(device))
    except InputError as error:
        error.field = error.field or "teacher"
        raise
    teacher, shape = setting.teacher, tuple(setting.teacher.shape)
    for size in config.sizes:
        find_rung(size).check_shape(shape)
        check_device(train_config(config, teacher, size), device.type)
    for num_samples in config.num_samples:
        check_samples(num_samples, shape)
    if config.training.flips and len(shape) != 3:
        raise InputError("flips mirror images, but the teacher makes none: leave them out", "training.flips")
    check_diagnostic_map(config)
    model = Model(teacher.num_parameters, shape, teacher.family)
    check_memory(config, shape, model, available_processes(), free_memory(device), str(device))
    return Sweep(config, workspace, setting, str(device))


@dataclass
class Sweep:
    """A sweep that can start."""

    config: SweepConfig
    workspace: Workspace
    setting: Setting
    device: str

    def run(self, run_id: str, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Yield the events of the sweep, the result last; raises Cancelled once `should_stop()`, RunError where no student is left."""
        started = time.monotonic()
        run = Run(self.workspace.runs / run_id)
        yield checkpoint_event("teacher", self.setting.measuring)
        told = {str(event.get("message")) for event in run.events("warning")}
        for event in self._draw(should_stop):
            if _is_news(event, told):
                yield event
        steps = yield from _until(should_stop, solver_steps(self.setting, run, self.workspace.cache))
        config = self.config.with_solver_steps(steps)
        groups = self.config.groups()
        finished, damaged = _finished_groups(run)
        if damaged:  # the numbers that a checkpoint takes for measured may be on those lines
            for checkpoint in (run.path / "checkpoints").glob("*.safetensors"):
                checkpoint.unlink()
            yield {"type": "warning", "message": REDONE.format(damaged), "damaged_lines": damaged}
        progress = _Progress({group.id: len(group.students) for group in groups}, self.config.steps)
        for group_id in finished:
            progress.reached(group_id, self.config.steps)
        waiting = [group for group in groups if group.id not in finished]
        failed: dict[str, str] = {}
        diverged = {str(event["diverged"]) for event in run.events("warning") if event.get("diverged")}
        # Not by how many groups wait: with other threads a group that goes on would end with other digits.
        processes = 1 if self.device.startswith("cuda") else max(1, min(available_processes(), len(groups)))
        threads = max(1, available_processes() // processes)
        tasks = [Task(config, group, self.workspace.cache / "endpoints", run.path, self.device, threads) for group in waiting]
        yield progress.event()
        with closing(execute(run_task, tasks, processes)) as work:
            for item in work:
                if should_stop():
                    raise Cancelled("the sweep was cancelled")
                if item is None:
                    yield progress.event()
                    continue
                index, found = item
                group = waiting[index]
                if isinstance(found, Outcome):
                    if found.fatal:
                        raise RunError(str(found.error))
                    yield from self._ended(group.id, found, failed, progress)
                    continue
                for event in found:
                    if event["type"] == "progress":
                        progress.reached(group.id, event["step"])
                        yield progress.event()
                    elif event["type"] == "retry":
                        yield {"type": "warning", "message": f"group {group.id} is tried again: {event['message']}"}
                    elif _is_news(event, told):
                        diverged |= {event["diverged"]} if event.get("diverged") else set()
                        yield event
        result = self._result(run_id, failed, sorted(diverged), steps, time.monotonic() - started)
        if result["students"] == 0:
            raise RunError(f"no student could be trained: {next(iter(failed.values()), 'the numbers of all were not finite')}")
        yield {"type": "result", "result": result}

    def _draw(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Draw every training set once, into the cache, so that no two tasks compute the same samples; say once what repeats in them."""
        drawn = self.config.drawn()
        total = sum(map(len, drawn))
        done = distinct = 0
        for seeds in drawn:
            if should_stop():
                raise Cancelled("the sweep was cancelled")
            yield {"type": "progress", "phase": "training sets", "done": done, "total": total, "unit": "samples"}
            distinct += len(distinct_samples(self.setting.draw(seeds).to(self.device)))
            done += len(seeds)
        yield from self.setting.end_points.warnings()
        if distinct < total:
            repeated = f"{total - distinct:,} of {total:,} training samples repeat another one of their set"
            yield {"type": "warning", "message": f"{repeated}: memorization ratios count duplicates once"}
        yield {"type": "progress", "phase": "training sets", "done": total, "total": total, "unit": "samples"}

    def _ended(self, group_id: str, outcome: Outcome, failed: dict[str, str], progress: _Progress) -> Iterator[Event]:
        if outcome.error is None:
            progress.reached(group_id, self.config.steps)
            yield {"type": DONE, "group": group_id}
            yield progress.event()
            return
        failed[group_id] = outcome.error
        message = f"group {group_id} failed twice and is left out: {outcome.error}"
        yield {"type": "warning", "message": message} | ({"details": outcome.details} if outcome.details else {})

    def _result(self, run_id: str, failed: dict[str, str], diverged: list[str], steps: int, seconds: float) -> Event:
        config = self.config
        lost = {student.name for group in config.groups() if group.id in failed for student in group.students}
        return {
            "experiment": config.experiment,
            "name": config.name,
            "teacher": described(self.setting.measuring),
            "students": config.num_students - len(lost.union(diverged)),
            "failed": failed,
            "diverged": diverged,
            "solver_steps": steps,
            "seconds": seconds,
            "run_id": run_id,
        } | provenance(self.setting.measuring.device)


def _until(should_stop: Callable[[], bool], work: Generator[Event, None, int]) -> Generator[Event, None, int]:
    """Pass events on and return what the work returns; raises Cancelled once `should_stop()`."""
    while True:
        if should_stop():
            raise Cancelled("the sweep was cancelled")
        try:
            yield next(work)
        except StopIteration as stop:
            value: int = stop.value
            return value


def _finished_groups(run: Run) -> tuple[set[str], int]:
    """Return the groups that ended with all of their events intact, and how many lines were damaged since that was last told.

    A damaged line may have been of any group that was under way, so that whatever ended after it counts as not finished; a resumed sweep
    tells of that, and what ends after it told is finished again.
    """
    finished: set[str] = set()
    damaged = 0
    for event in read_lines(run.events_path):
        if event is None:
            damaged += 1
        elif event.get("damaged_lines"):
            damaged = 0
        elif event["type"] == DONE and not damaged:
            finished.add(str(event.get("group")))
    return finished, damaged


def _is_news(event: Event, told: set[str]) -> bool:
    """Whether an event is no warning that was `told` before, as tasks repeat where they all meet one trouble; notes it there."""
    if event["type"] != "warning":
        return True
    count = len(told)
    told.add(str(event["message"]))
    return len(told) > count


class _Progress:
    """How many training steps of all students are done."""

    def __init__(self, students: dict[str, int], steps: int) -> None:
        self._students, self._steps = students, steps
        self._reached = dict.fromkeys(students, 0)

    def reached(self, group_id: str, step: int) -> None:
        if group_id in self._reached:
            self._reached[group_id] = max(self._reached[group_id], step)

    def event(self) -> Event:
        done = sum(step * self._students[group] for group, step in self._reached.items())
        total = self._steps * sum(self._students.values())
        return {"type": "progress", "phase": "students", "done": done, "total": total, "unit": "training steps"}
