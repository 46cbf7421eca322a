"""Evaluations with baselines, made up, as objects and as finished run folders: for tests of verdicts and of what stands beside a PFD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.verdicts import VERDICT_RULE
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.workspace import Workspace
from tests.run_samples import a_config, measurement, result

NOISES = 256
TEACHER, TWIN = "sha256:" + "a" * 64, "sha256:" + "c" * 64


def squares(distance: float, seed: int, noises: int = NOISES) -> NDArray[np.float64]:
    """Return squared distances around a distance squared, from two thirds to four thirds of it."""
    return distance**2 * np.random.default_rng(seed).uniform(2 / 3, 4 / 3, noises)


def distances(
    gen: float = 1.5,
    mem: float | None = 2.9,
    emp: float | None = 3.0,
    spread: float | None = 4.2,
    spread_of_set: float | None = 4.3,
    noises: int = NOISES,
) -> dict[str, NDArray[np.float64]]:
    """Return squared distances by metric; None leaves one out."""
    values = {"PFD": gen, "E_mem": mem, "E_emp": emp, "spread": spread, "E_emp_spread": spread_of_set}
    return {name: squares(value, seed, noises) for seed, (name, value) in enumerate(values.items()) if value is not None}


def details(**changes: Any) -> dict[str, Any]:
    """Return a result of today's form, with `changes`."""
    known = {
        "value": 1.5, "stderr": 0.05, "ci_low": 1.4, "ci_high": 1.6, "interval_method": "skewness-corrected t", "spread": 4.2,
        "shuffled": 6.0, "num_noises": NOISES, "noise_seed": 0, "steps": 18, "solver": "heun", "descriptor": "pixel", "sigma_min": 0.002,
        "sigma_max": 80.0,
        "verdict_rule": VERDICT_RULE, "outside_range": "student", "rms_per_coordinate": 0.1875,
        "memorization": {"e_mem": 2.9, "ci_low": 2.8, "ci_high": 3.0, "spread": 4.3, "num_samples": 64, "num_distinct_samples": 64},
    }  # fmt: skip
    return known | changes


def judged_run(
    workspace: Workspace,
    student: str = "./student",
    revision: str = "b" * 40,
    metadata: dict[str, Any] | None = None,
    measured: dict[str, NDArray[np.float64]] | None = None,
    teacher: str = TEACHER,
    **changes: Any,
) -> Run:
    """Write a finished evaluation of `./teacher`, whose revision is `teacher`, and a student whose checkpoint says `metadata`."""
    found = details(
        teacher={"reference": "./teacher", "revision": teacher}, student={"reference": student, "revision": revision}, **changes
    )
    run, lock = claim_new_run(workspace, a_config(teacher="./teacher", student=student, num_noises=NOISES))
    shared = {
        "teacher": "./teacher", "teacher_revision": teacher, "student": student, "student_revision": revision, "num_noises": NOISES,
        "outside_range": found["outside_range"], "spread": found["spread"], "shuffled": found["shuffled"],
    }  # fmt: skip
    checkpoint = {"type": "checkpoint", "role": "student", "reference": student, "revision": revision, "family": "mlp", "weights": "ema"}
    with EventLog(run.events_path) as log:
        log.append(checkpoint | {"metadata": metadata or {}})
        for name, values in (distances() if measured is None else measured).items():
            log.append({"type": "distances", "metric": name, "seeds_start": 0, "seeds_stop": NOISES, "values": values.tolist()})
        log.append(measurement(**shared, value=found["value"], stderr=0.05, ci_low=found["ci_low"], ci_high=found["ci_high"]))
        if found["memorization"]:
            memorization = found["memorization"] | shared
            numbers = {"value": memorization["e_mem"], "ci_low": memorization["ci_low"], "ci_high": memorization["ci_high"]}
            log.append(measurement(**shared, metric="E_mem", num_samples=64, **numbers))
        log.append({"type": "result", "result": result(run.id) | found})
    run.write_status(run.status.model_copy(update={"state": "finished", "finished": run.status.created + 2}))
    lock.release()
    return run


def twin_run(workspace: Workspace, teacher: str = TEACHER) -> Run:
    """Write an evaluation of `./teacher` and the same teacher retrained with another seed."""
    told, measured = {"twin_of": {"revision": teacher}}, distances(gen=1.2, mem=None, emp=None, spread_of_set=None)
    return judged_run(workspace, "./twin", TWIN, told, measured, teacher, value=1.2, ci_low=1.1, ci_high=1.3, memorization=None)
