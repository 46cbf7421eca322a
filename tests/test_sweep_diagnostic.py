"""The diagnostic map of a sweep, what its distances are stored with, few noises, and training sets that hold a sample more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pfd_engine.cli.main import main
from pfd_engine.configs.sweep_files import spec_text
from pfd_engine.findings import sweeps as findings
from pfd_engine.findings.tables import verdicts_table
from pfd_engine.flow.maps import SolverMap
from pfd_engine.flow.outside_range import InsideRange
from pfd_engine.measure.descriptors import load_descriptor
from pfd_engine.measure.end_points import EndPoints, drain, seed_blocks
from pfd_engine.measure.tally import measure, tallied
from pfd_engine.models.families import load_denoiser
from pfd_engine.runs.folder import list_runs
from pfd_engine.store.database import Store
from pfd_engine.store.queries.sweeps import diagnostic_distances, sweep_distances, sweep_measurements, trade_off_rows
from pfd_engine.sweeps import task as tasks
from pfd_engine.sweeps.trained_range import trained_range_of_sweep
from pfd_engine.workspace import Workspace
from tests.sweep_rows import contents
from tests.test_sweep import NOISES, by_metric, config, execute, inline, interrupted, rows_of, teacher, workspace  # noqa: F401  fixtures

RANGED: dict[str, Any] = {
    "experiment": "training-dynamics", "steps": 40, "checkpoints": 3, "first_checkpoint": 10, "training": {"batch_size": 64},
    "diagnostic_map": True,
}  # fmt: skip


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("together", [True, False])
def test_every_measured_step_has_a_row_of_the_diagnostic_map(
    together: bool,
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
) -> None:
    made = config(teacher, together=together, **RANGED)
    run = execute(made, workspace)
    rows = rows_of(workspace)
    diagnostic = [row for row in rows if row["outside_range"] == "teacher"]
    assert {row["metric"] for row in diagnostic} == {"E_gen"}
    assert sorted((row["student"], row["step"]) for row in diagnostic) == sorted((s.name, k) for s in made.students() for k in (10, 20, 40))
    assert {row["outside_range"] for row in rows} == {"student", "teacher"}
    assert all(row["solver_error"] is not None for row in diagnostic if row["step"] == 40)

    student = load_denoiser(str(run.path / "students" / "mlp-32-N8-seed-1"), "cpu")
    model, inside = load_denoiser(teacher, "cpu"), trained_range_of_sweep(made)
    assert inside is not None
    whole = SolverMap(model, steps=3)
    maps = {"teacher": whole, "student": whole.of(InsideRange(student, model, *inside))}
    pixel, blocks = load_descriptor("pixel"), seed_blocks(0, NOISES, model.shape)
    work = measure(maps, {"E": ("teacher", "student")}, blocks, model.shape, pixel, EndPoints())
    expected = drain(tallied(work, ["E"]))["E"]
    (row,) = by_metric(diagnostic, "E_gen", student="mlp-32 N=8 seed 1", step=40)
    assert row["value"] == pytest.approx(expected.value, rel=1e-4)
    (own,) = by_metric(rows, "E_gen", student="mlp-32 N=8 seed 1", step=40, outside_range="student")
    assert row["spread"] == own["spread"]
    assert row["value"] != pytest.approx(own["value"], rel=1e-3)


@pytest.mark.usefixtures("inline")
def test_rows_without_the_diagnostic_map_are_the_same_with_it(teacher: str, workspace: Workspace, tmp_path: Path) -> None:  # noqa: F811
    plain = Workspace(tmp_path / "plain")
    execute(config(teacher, **RANGED), workspace)
    execute(config(teacher, **RANGED | {"diagnostic_map": False}), plain)
    with_map, without = contents(workspace), contents(plain)
    for table in ("measurements", "noise_distances"):
        assert [row for row in with_map[table] if row["outside_range"] != "teacher"] == without[table]
    assert len(with_map["noise_distances"]) == len(without["noise_distances"]) + 4 * 3


@pytest.mark.usefixtures("inline")
def test_analyses_see_students_alone_and_the_diagnostic_map_has_a_query_of_its_own(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
) -> None:
    run = execute(config(teacher, **RANGED), workspace)
    with Store(workspace, None) as store:
        store.ingest()
        measurements, distances = sweep_measurements(store, run.id), sweep_distances(store, run.id)
        diagnostic, students = diagnostic_distances(store, run.id), trade_off_rows(store)
        found = findings.dynamics(store, run.id)
    assert (measurements["metric"] == "E_gen").sum() == 4 * 3
    assert (distances["metric"] == "E_gen").sum() == len(diagnostic) == 4 * 3
    assert {len(squared) for squared in [*distances["squared"], *diagnostic["squared"]]} == {NOISES}
    assert found.analysis.trained_range_checked
    assert "Rise with the teacher outside the trained range" in verdicts_table(found.analysis, "mlp-32").headings
    assert measurements["spread"][measurements["metric"] == "E_gen"].notna().all()
    last = by_metric(rows_of(workspace), "E_gen", outside_range="student", step=40)
    assert dict(zip(students["student"], students["E_gen"], strict=True)) == {row["student"]: row["value"] for row in last}


@pytest.mark.usefixtures("inline")
def test_a_sweep_that_goes_on_has_each_row_of_the_diagnostic_map_once(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
) -> None:
    made = config(teacher, group_size=2, **RANGED)
    run, _ = interrupted(made, workspace, "mlp-32-1")
    assert main(["run", str(run.path)]) == 0
    calm = Workspace(tmp_path / "calm")
    execute(made, calm)
    found, expected = contents(workspace), contents(calm)
    for table in ("measurements", "noise_distances", "training_curves"):
        assert found[table] == expected[table]


def test_a_sweep_without_a_trained_range_refuses_the_diagnostic_map_in_one_sentence(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "spec.toml").write_text(spec_text(config(teacher, diagnostic_map=True)))
    assert main(["sweep", str(tmp_path / "spec.toml"), "--json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the diagnostic map needs a trained range: by its first measured step, 20, training drew 160 noise levels" in line
    assert list_runs(workspace) == []


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("noises", [2, 5, 31])
def test_a_sweep_of_few_noises_has_wide_intervals_with_all_that_is_stored_of_a_distance(
    noises: int,
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
) -> None:
    execute(config(teacher, evaluation={"num_noises": noises, "steps": 3}), workspace)
    rows = rows_of(workspace)
    for metric in ("E_gen", "E_mem", "E_emp"):
        for row in by_metric(rows, metric):
            assert row["num_noises"] == noises
            assert row["ci_high"] - row["ci_low"] > 2 * 1.96 * row["stderr"]
            for name in ("solver_error", "spread", "tail_share", "shuffled"):
                assert row[name] is not None, name
            assert 1 / noises <= row["tail_share"] <= 1
            assert row["covers"] == "noises"
            assert row["outside_range"] is None  # 160 draws are too few for a range


@pytest.mark.usefixtures("inline")
def test_solver_errors_are_found_at_the_last_step_alone_and_what_bias_and_variance_cover_is_stored(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
) -> None:
    execute(config(teacher, experiment="bias-variance", seeds=[0, 1, 2, 3], num_samples=[8], checkpoints=2, first_checkpoint=5), workspace)
    rows = rows_of(workspace)
    for metric in ("E_gen", "E_mem", "E_emp"):
        assert {(row["step"], row["solver_error"] is None) for row in by_metric(rows, metric) if row["student_seed"] is not None} == {
            (5, True),
            (20, False),
        }
    for metric in ("bias2", "variance", "E_gen2"):
        (row,) = by_metric(rows, metric)
        assert row["covers"] == "students and noises", metric
        assert row["ci_low"] <= row["value"] <= row["ci_high"]


def repeat(monkeypatch: pytest.MonkeyPatch, distinct: int) -> None:
    """Let every training set repeat its first samples."""
    draw = tasks.Setting.draw

    def drawn(setting: tasks.Setting, seeds: range) -> torch.Tensor:
        samples = draw(setting, seeds)
        return samples[torch.arange(len(samples)) % distinct]

    monkeypatch.setattr(tasks.Setting, "draw", drawn)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("distinct", [1, 5])
def test_duplicates_in_training_sets_are_told_once_and_one_distinct_sample_has_no_memorization_ratio(
    distinct: int,
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repeat(monkeypatch, distinct)
    made = config(teacher, sizes=["mlp-32", "mlp-48"])
    run = execute(made, workspace)
    repeated = 2 * (32 - distinct)
    assert [event["message"] for event in run.events("warning")] == [
        f"{repeated} of 64 training samples repeat another one of their set: memorization ratios count duplicates once"
    ]
    assert len(by_metric(rows_of(workspace), "memorization_ratio")) == (0 if distinct == 1 else made.num_students)


def test_a_tiny_sweep_ends_with_what_an_exponent_needs(
    teacher: str,  # noqa: F811
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    inline: None,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PFD_HOME", str(workspace.root))
    (tmp_path / "spec.toml").write_text(spec_text(config(teacher, sizes=["mlp-32", "mlp-48"], num_samples=[2, 8, 32])))
    assert main(["sweep", str(tmp_path / "spec.toml")]) == 0
    finding = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("finding "))
    assert "An exponent of N* ~ parameters^a needs at least 3 sizes" in finding
    assert "nan" not in finding
