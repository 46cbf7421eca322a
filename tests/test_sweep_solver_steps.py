"""Solver steps "auto" of a sweep: chosen once before any student is trained, told, kept, and used by all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pfd_engine.cli.main import main
from pfd_engine.flow.maps import SolverMap
from pfd_engine.jobs.execute import LogBuffer, execute_here
from pfd_engine.measure.rungs import keep_rung, known_rung
from pfd_engine.models.families import load_denoiser
from pfd_engine.runs.folder import Run, list_runs
from pfd_engine.sweeps import solver_steps
from pfd_engine.sweeps.solver_steps import SOLVER_STEPS
from pfd_engine.workspace import Workspace
from tests.test_sweep import NOISES, by_metric, config, execute, inline, rows_of, teacher, workspace  # noqa: F401  fixtures

AUTO = {"evaluation": {"num_noises": NOISES, "steps": "auto"}}


def told_by(run: Run) -> list[int]:
    return [event["steps"] for event in run.events(SOLVER_STEPS)]


@pytest.mark.usefixtures("inline")
def test_one_rung_is_chosen_for_all_students_and_its_error_is_below_half_the_interval(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
) -> None:
    made = config(teacher, **AUTO)
    run = execute(made, workspace)
    (steps,) = told_by(run)
    assert steps in (18, 36, 72)
    assert run.config.evaluation.steps == "auto"
    rows = rows_of(workspace)
    assert {row["solver_steps"] for row in rows} == {steps}
    assert run.result["solver_steps"] == steps
    events = [event["type"] for event in run.events()]
    assert events.index(SOLVER_STEPS) < events.index("training_set")
    for row in by_metric(rows, "E_emp", num_samples=min(made.num_samples)):
        assert abs(row["solver_error"]) <= (row["ci_high"] - row["ci_low"]) / 2 or steps == 72
    fixed = config(teacher, evaluation={"num_noises": NOISES, "steps": steps})
    execute(fixed, workspace)
    assert told_by(list_runs(workspace)[0]) == []
    values = {}
    for row in rows_of(workspace):
        if row["metric"] != "seconds":
            values.setdefault((row["student"], row["metric"]), set()).add(row["value"])
    assert all(len(found) == 1 for found in values.values())


@pytest.mark.usefixtures("inline")
def test_a_rung_that_was_chosen_for_the_teacher_before_is_taken_and_another_teacher_has_its_own(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
) -> None:
    keep_rung(workspace.cache, SolverMap(load_denoiser(teacher, "cpu")), "pixel", 72)
    run = execute(config(teacher, num_samples=[8], seeds=[0], **AUTO), workspace)
    assert told_by(run) == [72]
    other = Workspace(tmp_path / "other")
    run = execute(config(teacher, num_samples=[8], seeds=[0], **AUTO), other)
    assert told_by(run) == [known_rung(other.cache, SolverMap(load_denoiser(teacher, "cpu")), "pixel")]


@pytest.mark.usefixtures("inline")
def test_a_sweep_that_goes_on_keeps_its_rung_whatever_was_kept_since(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = config(teacher, sizes=["mlp-32", "mlp-48"], **AUTO)
    monkeypatch.setattr(solver_steps, "choose_rung", lambda *arguments: iter_of(36))

    def cancel_at_the_first_row(event: dict[str, Any]) -> None:
        if event["type"] == "measurement":
            list_runs(workspace)[0].cancel()

    run, status, _ = execute_here(made, workspace, cancel_at_the_first_row, LogBuffer())
    assert status == 130
    (workspace.cache / "rungs.json").unlink()
    monkeypatch.setattr(solver_steps, "choose_rung", lambda *arguments: iter_of(18))
    run.requeue()
    assert main(["run", str(run.path)]) == 0
    assert told_by(run) == [36]
    assert {row["solver_steps"] for row in rows_of(workspace)} == {36}


def iter_of(rung: int) -> Any:
    """Return work that yields nothing and returns a rung."""
    return rung
    yield


def test_the_smallest_training_set_decides_since_its_error_is_the_largest(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def choose(maps: Any, *arguments: Any) -> Any:
        seen.append(len(maps["student"].denoiser.samples))
        return 18
        yield

    monkeypatch.setattr(solver_steps, "choose_rung", choose)
    made = config(teacher, num_samples=[32, 8], **AUTO)
    setting = solver_steps.Setting.open(made, workspace.cache / "endpoints", "cpu")
    run = Run(workspace.runs / "none")
    assert [event["type"] for event in solver_steps.solver_steps(setting, run, workspace.cache)] == [SOLVER_STEPS]
    assert seen == [8]
    assert np.isfinite(setting.with_solver_steps(36).measuring.sigmas).all()
