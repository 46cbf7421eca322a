"""The driver of a sweep: prepares what all tasks share, gives groups to the executor, and turns what comes back into the run's events.

Finished groups are marked in the run's own events, so that a sweep that was killed goes on with the others; a group that was under way
goes on from its last checkpoint. A group that fails twice is reported, and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pfd_engine.devices import resolve_device
from pfd_engine.distill.ladders import find_rung
from pfd_engine.distill.setup import check_memory
from pfd_engine.errors import Cancelled, RunError
from pfd_engine.evaluation_report import checkpoint_event
from pfd_engine.executors.local import Outcome, available_processes, execute
from pfd_engine.experiments.spec import SweepConfig
from pfd_engine.experiments.tasks import Setting, Task, run_task, train_config
from pfd_engine.provenance import provenance
from pfd_engine.runs import Run
from pfd_engine.workspace import Workspace

Event = dict[str, Any]
DONE = "group_done"


def prepare(config: SweepConfig, workspace: Workspace, report: Callable[[Event], None] | None = None) -> Sweep:
    """Load and check what every task needs; raises InputError with one sentence for what cannot start."""
    device = str(resolve_device(config.device))
    report = report or (lambda event: None)
    report({"type": "progress", "phase": "load", "done": 0, "total": 1, "unit": "models"})
    setting = Setting.open(config, workspace.cache / "endpoints", device)
    shape = tuple(setting.teacher.shape)
    for size in config.sizes:
        rung = find_rung(size)
        rung.check_shape(shape)
        train_config(config, setting.teacher, size)
        check_memory(rung, shape, config.training.batch_size, max(config.num_samples), setting.measuring.device, config.students_at_once)
    return Sweep(config, workspace, setting, device)


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
        yield from self._draw(should_stop)
        groups = self.config.groups()
        finished = {event.get("group") for event in run.events(DONE)}
        progress = _Progress({group.id: len(group.students) for group in groups}, self.config.steps)
        for group_id in finished:
            progress.reached(str(group_id), self.config.steps)
        waiting = [group for group in groups if group.id not in finished]
        failed: dict[str, str] = {}
        processes = 1 if self.device.startswith("cuda") else max(1, min(available_processes(), len(waiting)))
        threads = max(1, available_processes() // processes)
        tasks = [Task(self.config, group, self.workspace.cache / "endpoints", run.path, self.device, threads) for group in waiting]
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
                    else:
                        yield event
        if len(failed) == len(groups):
            raise RunError(f"no student could be trained: {next(iter(failed.values()))}")
        yield {"type": "result", "result": self._result(run_id, failed, time.monotonic() - started)}

    def _draw(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Draw every training set once, into the cache, so that no two tasks compute the same samples."""
        longest: dict[int, range] = {}
        for student in self.config.students():
            known = longest.get(student.samples.start)
            if known is None or len(student.samples) > len(known):
                longest[student.samples.start] = student.samples
        total = sum(map(len, longest.values()))
        done = 0
        for seeds in longest.values():
            if should_stop():
                raise Cancelled("the sweep was cancelled")
            yield {"type": "progress", "phase": "training sets", "done": done, "total": total, "unit": "samples"}
            self.setting.draw(seeds)
            done += len(seeds)
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

    def _result(self, run_id: str, failed: dict[str, str], seconds: float) -> Event:
        from pfd_engine.evaluation_report import described

        config = self.config
        lost = sum(len(group.students) for group in config.groups() if group.id in failed)
        return {
            "experiment": config.experiment,
            "name": config.name,
            "teacher": described(self.setting.measuring),
            "students": config.num_students - lost,
            "failed": failed,
            "seconds": seconds,
            "run_id": run_id,
        } | provenance(self.setting.measuring.device)


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
