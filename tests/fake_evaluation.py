"""Stands in for `pfd_engine.evaluation.prepare` in child processes of tests: the student's name says what the evaluation does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pfd_engine.errors import Cancelled, InputError, RunError
from tests.run_samples import events, measurement


class FakeEvaluation:
    device = "cpu"

    def __init__(self, behavior: str, workspace: Any) -> None:
        self.behavior, self.marks = behavior, workspace.root / "marks"

    def run(self, run_id: str, should_stop: Any = lambda: False) -> Any:
        self.marks.mkdir(parents=True, exist_ok=True)
        name = f"{self.behavior}-{os.getpid()}-{time.time_ns()}"
        (self.marks / f"start-{name}").write_text(run_id)
        yield measurement(metric="E_mem", value=2.5)
        if self.behavior == "segfault" or (self.behavior == "segfault-once" and len(list(self.marks.glob("start-segfault-once*"))) == 1):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.behavior == "slow":
            for done in range(600):
                time.sleep(0.05)
                yield {"type": "progress", "phase": "noises", "done": done, "total": 600, "unit": "noises"}
                if should_stop():
                    raise Cancelled("cancelled")
        if self.behavior == "deaf":
            while True:
                time.sleep(0.1)
        if self.behavior == "brief":
            time.sleep(0.4)
        if self.behavior == "exception":
            raise ZeroDivisionError("nobody foresaw this")
        if self.behavior == "run-error":
            raise RunError("the weights of the student hold NaN: choose another checkpoint")
        if self.behavior == "disk-full":
            raise RunError("x") from OSError(28, "No space left on device")
        if self.behavior == "os-disk-full":
            Path("/dev/full").write_text("x")
        if self.behavior == "no-result":
            return
        yield from events(run_id)
        (self.marks / f"stop-{name}").write_text(run_id)


def prepare(config: Any, workspace: Any, report: Any = None) -> FakeEvaluation:
    behavior = config.student.split("/")[1]
    if behavior == "input-error":
        raise InputError("teacher is 3x64x64 but student is 3x32x32: choose a pair of one size", "student")
    if behavior == "prepare-exception":
        raise ZeroDivisionError("nobody foresaw this")
    if behavior == "deaf-in-prepare":
        time.sleep(60)
    return FakeEvaluation(behavior, workspace)
