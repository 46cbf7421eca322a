"""Solver steps "auto" of a sweep: one rung for all of its students, chosen before any of them is trained."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.measure.end_points import seed_blocks
from pfd_engine.measure.rungs import choose_rung, keep_rung, known_rung
from pfd_engine.measure.solver_error import RUNGS
from pfd_engine.runs.folder import Run
from pfd_engine.sweeps.task import Setting

Event = dict[str, Any]
SOLVER_STEPS = "solver_steps"


def solver_steps(setting: Setting, run: Run, folder: Path) -> Generator[Event, None, int]:
    """Return the number of solver steps of a sweep; yields progress while "auto" chooses, and an event that tells what was chosen.

    A sweep that goes on keeps the rung that its own events tell, and a teacher whose rung is known in `folder` keeps that, so that its
    students can be compared. Else it is the smallest rung at which the solver error of E_emp stays below half the interval, for the
    smallest training set: that pair is there before any student is, and of all N its error is the largest (bundled teacher, Heun 18: 0.071
    at N = 1, 0.059 at 16, 0.041 at 256, 0.019 at 4,096, with half an interval of about 0.055 at all of them), as is that of the students
    that memorize the set. Students that generalize follow the teacher, so that most of the solver's error cancels.
    """
    config, teacher, psi = setting.config, setting.measuring, setting.psi
    if config.evaluation.steps != "auto":
        return config.evaluation.steps
    for event in run.events(SOLVER_STEPS):
        if event.get("steps") in RUNGS:
            return int(event["steps"])
    rung = known_rung(folder, teacher, psi.name)
    if rung is None:
        samples = setting.draw(config.samples_of(min(config.num_samples), config.seeds[0])).to(teacher.device)
        pair = {"teacher": teacher, "student": teacher.of(EmpiricalDenoiser(samples))}
        blocks = list(seed_blocks(setting.noises.start, setting.noises.stop, setting.teacher.shape))
        work = choose_rung(pair, blocks, setting.teacher.shape, psi, setting.end_points)
        noises = 0
        while True:
            try:
                noises += next(work).noises
            except StopIteration as stop:
                rung = keep_rung(folder, teacher, psi.name, stop.value)
                break
            yield {"type": "progress", "phase": "solver steps", "done": noises, "total": None, "unit": "noises"}
    yield {"type": SOLVER_STEPS, "steps": rung}
    return rung
