"""Sweeps from spec to rows: what is measured, identities that hold exactly, students left out, and runs that are killed and go on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pfd_engine.cli.main import main
from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.sweep_files import spec_text
from pfd_engine.distill.checkpoint import load_state, save_state
from pfd_engine.errors import InputError
from pfd_engine.executors.local import attempt
from pfd_engine.flow.trained_range import trained_range
from pfd_engine.jobs.execute import LogBuffer, execute_here
from pfd_engine.models.families.own import OwnConfig, save_denoiser
from pfd_engine.models.networks.options import UNetOptions
from pfd_engine.models.networks.own import build_network
from pfd_engine.runs.folder import Run, list_runs
from pfd_engine.store.database import Store
from pfd_engine.sweeps import run as sweep
from pfd_engine.sweeps import task as tasks
from pfd_engine.workspace import Workspace
from tests.run_processes import call, start, wait_until
from tests.sweep_rows import contents
from tests.test_distill_run import save_teacher

NOISES = 24
EVALUATION = {"num_noises": NOISES, "steps": 3}
EVERY_STEP = ("E_emp", "E_gen", "E_mem", "held_out_loss", "images_seen", "memorization_ratio", "seconds", "train_loss")
Rows = list[dict[str, Any]]


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return str(save_teacher(tmp_path / "teacher"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every task in this process, once: no process to start, and what a test patches holds in it."""

    def execute(work: Any, jobs: Sequence[Any], processes: int) -> Iterator[tuple[int, Any] | None]:
        for index, job in enumerate(jobs):
            yield None
            for message in attempt(work, job):
                yield index, message

    monkeypatch.setattr(sweep, "execute", execute)
    monkeypatch.setenv("PFD_PROCESSES", "1")


def config(given: str, **changes: Any) -> SweepConfig:
    values = {
        "experiment": "scaling", "name": "tiny", "teacher": given, "sizes": ["mlp-32"], "num_samples": [8, 32], "seeds": [0, 1],
        "steps": 20, "training": {"batch_size": 8}, "evaluation": EVALUATION, "device": "cpu",
    }  # fmt: skip
    return SweepConfig.parse(values | changes)


def execute(made: SweepConfig, workspace: Workspace) -> Run:
    run, status, message = execute_here(made, workspace, lambda event: None, LogBuffer())
    assert status == 0, f"{message} {run.log_tail()} {[e.get('details') for e in run.events('warning')]}"
    return run


def rows_of(workspace: Workspace, query: str = "select * from measurements") -> Rows:
    with Store(workspace, None) as store:
        store.ingest()
        return store.rows(query)


def by_metric(rows: Rows, metric: str, **where: Any) -> Rows:
    return [row for row in rows if row["metric"] == metric and all(row[key] == value for key, value in where.items())]


@pytest.mark.usefixtures("inline")
def test_a_scaling_sweep_has_a_row_for_every_number_of_every_student(teacher: str, workspace: Workspace) -> None:
    made = config(teacher, sizes=["mlp-48", "mlp-32"], num_samples=[1, 8, 32])
    run = execute(made, workspace)
    rows = rows_of(workspace)
    for student in made.students():
        found = [row for row in rows if row["student"] == student.name]
        assert sorted(row["metric"] for row in found) == [m for m in EVERY_STEP if m != "memorization_ratio" or student.num_samples > 1]
        for row in found:
            assert (row["size"], row["num_samples"], row["student_seed"], row["step"]) == (
                student.size,
                student.num_samples,
                student.seed,
                20,
            )
            assert row["covers"] == ("noises" if row["metric"] in ("E_emp", "E_gen", "E_mem", "memorization_ratio") else None)
            assert (row["experiment"], row["objective"], row["run_id"], row["num_noises"]) == ("scaling", "samples", run.id, NOISES)
    assert {row["parameters"] for row in rows if row["size"] == "mlp-32"} == {8656}
    result = run.result
    assert result is not None
    assert (result["students"], result["failed"], result["diverged"]) == (12, {}, [])
    sets = rows_of(workspace, "select * from training_sets")
    assert {(row["num_samples"], row["seed_stop"] - row["seed_start"]) for row in sets} == {(1, 1), (8, 8), (32, 32)}
    assert len({row["content_hash"] for row in sets}) == 6
    assert len(rows_of(workspace, "select * from noise_distances")) == 3 * 12
    assert {row["student"] for row in rows_of(workspace, "select distinct student from pairs")} == {s.name for s in made.students()}
    first = rows_of(workspace, "select * from pairs where \"group\" = 'first'")
    assert {(row["student"], row["seed"]) for row in first} == {(s.name, seed) for s in made.students() for seed in range(8)}
    assert all(row["empirical_png"] == row["nearest_png"] for row in first if " N=1 " in row["student"])
    assert not list((run.path / "checkpoints").iterdir())


@pytest.mark.usefixtures("inline")
def test_distances_keep_the_triangle_inequality_and_a_single_sample_is_its_own_map(teacher: str, workspace: Workspace) -> None:
    execute(config(teacher, num_samples=[1, 8, 32]), workspace)
    rows = rows_of(workspace)
    for row in by_metric(rows, "E_gen"):
        (e_mem,), (e_emp,) = (by_metric(rows, metric, student=row["student"]) for metric in ("E_mem", "E_emp"))
        sides = sorted((row["value"], e_mem["value"], e_emp["value"]))
        assert sides[2] <= sides[0] + sides[1] + 1e-9
        assert 0 < row["ci_low"] <= row["value"] <= row["ci_high"]
    few, many = ([row["value"] for row in by_metric(rows, "E_emp", num_samples=n)] for n in (1, 32))
    assert sum(many) < sum(few)  # the empirical map comes closer to the teacher as its samples grow


@pytest.mark.usefixtures("inline")
def test_a_kept_student_is_what_evaluate_measures(teacher: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = execute(config(teacher, num_samples=[32], seeds=[3], training={"batch_size": 16}), workspace)
    student = run.path / "students" / "mlp-32-N32-seed-3"
    assert main(["evaluate", "--teacher", teacher, "--student", str(student), "--noises", str(NOISES), "--steps", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (e_gen,), (e_mem,) = (by_metric(rows_of(workspace), metric, experiment="scaling") for metric in ("E_gen", "E_mem"))
    assert result["value"] == pytest.approx(e_gen["value"], rel=1e-4)
    assert result["memorization"]["e_mem"] == pytest.approx(e_mem["value"], rel=1e-4)
    assert result["memorization"]["training_set"] == e_gen["training_set"]
    card = (student / "README.md").read_text()
    assert "20 steps" in card
    metadata = json.loads((student / "config.json").read_text())["metadata"]
    assert tuple(metadata["trained_range"]) == trained_range(20, 16, 0.0, 1.4)


@pytest.mark.usefixtures("inline")
def test_bands_of_principal_components_add_up_to_the_squared_error_at_every_step(teacher: str, workspace: Workspace) -> None:
    made = config(teacher, experiment="training-dynamics", checkpoints=3, first_checkpoint=2)
    execute(made, workspace)
    rows = rows_of(workspace)
    assert sorted({row["step"] for row in rows}) == made.measured_steps() == [2, 6, 20]
    assert len(rows) == 4 * 3 * (len(EVERY_STEP) + 2)
    for e_gen in by_metric(rows, "E_gen"):
        bands = by_metric(rows, "E_gen2", student=e_gen["student"], step=e_gen["step"])
        assert {row["band"] for row in bands} == {"pc 1-4", "pc 5-16"}
        assert math.fsum(row["value"] for row in bands) == pytest.approx(e_gen["value"] ** 2, rel=1e-9)
    curves = rows_of(workspace, "select * from training_curves")
    assert len(curves) == 4 * 3 * 2


@pytest.mark.usefixtures("inline")
def test_bias_and_variance_add_up_to_the_squared_error(teacher: str, workspace: Workspace) -> None:
    execute(config(teacher, experiment="bias-variance", seeds=[0, 1, 2], sets="disjoint"), workspace)
    rows = rows_of(workspace)
    for count in (8, 32):
        total = {metric: by_metric(rows, metric, num_samples=count, student_seed=None)[0] for metric in ("bias2", "variance", "E_gen2")}
        parts = total["bias2"]["value"] + total["variance"]["value"]
        assert parts == pytest.approx(total["E_gen2"]["value"], rel=1e-9)
        squares = [row["value"] ** 2 for row in by_metric(rows, "E_gen", num_samples=count)]
        assert math.fsum(squares) / 3 == pytest.approx(total["E_gen2"]["value"], rel=1e-9)
        assert total["variance"]["value"] > 0
        assert total["E_gen2"]["student"] == f"mlp-32 N={count} all"


@pytest.mark.usefixtures("inline")
def test_one_by_one_agrees_with_training_together(teacher: str, workspace: Workspace, tmp_path: Path) -> None:
    execute(config(teacher), workspace)
    alone = Workspace(tmp_path / "alone")
    execute(config(teacher, together=False), alone)
    for metric in ("E_gen", "E_mem", "train_loss", "held_out_loss"):
        for row in by_metric(rows_of(workspace), metric):
            (other,) = by_metric(rows_of(alone), metric, student=row["student"])
            assert other["value"] == pytest.approx(row["value"], rel=1e-4), (metric, row["student"])


@pytest.mark.usefixtures("inline")
def test_convolutional_students_of_an_image_teacher_are_measured(tmp_path: Path, workspace: Workspace) -> None:
    options = UNetOptions(width=8, multipliers=(1, 1), layers=1, attention=())
    shape = (3, 8, 8)
    own = OwnConfig(family="unet", network=options, sigma_data=0.5, shape=shape)
    save_denoiser(tmp_path / "unet", build_network("unet", shape, options.model_dump()), own)
    made = config(
        str(tmp_path / "unet"), sizes=["unet-24"], num_samples=[4], together=False, objective="denoiser", steps=2,
        training={"batch_size": 2, "flips": True}, evaluation={"num_noises": 2, "steps": 1, "solver": "euler"},
    )  # fmt: skip
    run = execute(made, workspace)
    assert len(by_metric(rows_of(workspace), "E_gen", family="unet")) == 2
    assert (run.path / "students" / "unet-24-N4-seed-1" / "model.safetensors").is_file()


def spoil(monkeypatch: pytest.MonkeyPatch, *seeds: int) -> None:
    """Let the students of these seeds start with weights that are no numbers."""

    def spoiled(*arguments: Any, seed: int) -> nn.Module:
        network = build_network(*arguments, seed=seed)
        if seed in seeds:
            with torch.no_grad():
                next(network.parameters()).fill_(float("nan"))
        return network

    monkeypatch.setattr(tasks, "build_network", spoiled)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("together", [True, False])
def test_a_student_that_diverges_is_said_once_and_the_others_are_as_without_it(
    together: bool, teacher: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(teacher, checkpoints=3, first_checkpoint=2, together=together)
    sound = Workspace(tmp_path / "sound")
    execute(made, sound)
    spoil(monkeypatch, 1)
    run = execute(made, workspace)
    warnings = [event["message"] for event in run.events("warning")]
    assert len(warnings) == 2
    assert warnings[0].startswith("mlp-32 N=8 seed 1: its numbers were not finite at step")
    assert run.result is not None
    assert run.result["diverged"] == ["mlp-32 N=32 seed 1", "mlp-32 N=8 seed 1"]
    assert run.result["students"] == 2
    values = [
        {(r["student"], r["metric"], r["step"]): r["value"] for r in rows_of(w) if r["metric"] != "seconds"} for w in (workspace, sound)
    ]
    assert values[0] == {key: value for key, value in values[1].items() if "seed 1" not in key[0]}
    assert sorted(path.name for path in (run.path / "students").iterdir()) == ["mlp-32-N32-seed-0", "mlp-32-N8-seed-0"]


@pytest.mark.usefixtures("inline")
def test_a_decomposition_leaves_diverged_students_out(teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 2)
    execute(config(teacher, experiment="bias-variance", num_samples=[8], seeds=[0, 1, 2]), workspace)
    rows = rows_of(workspace)
    squares = [row["value"] ** 2 for row in by_metric(rows, "E_gen")]
    assert len(squares) == 2
    assert by_metric(rows, "E_gen2", student_seed=None)[0]["value"] == pytest.approx(math.fsum(squares) / 2, rel=1e-9)


@pytest.mark.usefixtures("inline")
def test_a_sweep_of_which_no_student_is_left_fails_in_one_sentence(
    teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 0, 1)
    _, status, message = execute_here(config(teacher), workspace, lambda event: None, LogBuffer())
    assert (status, message) == (1, "no student could be trained: the numbers of all were not finite")


@pytest.mark.usefixtures("inline")
def test_a_group_that_fails_is_reported_and_the_others_go_on(teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tasks.run_task

    def failing(task: tasks.Task) -> Iterator[list[dict[str, Any]]]:
        if task.group.id == "mlp-48-0":
            raise InputError("the teacher is gone")
        yield from whole(task)

    monkeypatch.setattr(sweep, "run_task", failing)
    run = execute(config(teacher, sizes=["mlp-32", "mlp-48"]), workspace)
    assert run.result is not None
    assert (run.result["failed"], run.result["students"]) == ({"mlp-48-0": "the teacher is gone"}, 4)
    assert [event["message"] for event in run.events("warning")] == ["group mlp-48-0 failed twice and is left out: the teacher is gone"]
    assert {row["size"] for row in rows_of(workspace)} == {"mlp-32"}


@pytest.mark.usefixtures("inline")
def test_what_the_cache_has_to_say_is_a_warning_of_the_run_and_said_once(
    teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfd_engine.measure.end_points.EndPointCache.put", lambda *arguments: "end points could not be cached (no room)")
    run = execute(config(teacher, sizes=["mlp-32", "mlp-48"]), workspace)
    assert [event["message"] for event in run.events("warning")] == ["end points could not be cached (no room)"]


@pytest.mark.usefixtures("inline")
def test_a_full_disk_ends_the_sweep_in_one_sentence_and_keeps_what_was_measured(
    teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pfd_engine.distill.cohorts.stacked.save_state", full)
    run, status, message = execute_here(config(teacher, sizes=["mlp-32", "mlp-48"]), workspace, lambda event: None, LogBuffer())
    assert (status, run.status.state) == (1, "failed")
    assert message == "the disk is full: free space and choose Try again on the Runs page, where the sweep goes on from here"
    assert len(by_metric(rows_of(workspace), "E_gen", size="mlp-48")) == 4


@pytest.mark.usefixtures("inline")
def test_cancelling_stops_between_events_and_the_run_goes_on_when_it_is_queued_again(teacher: str, workspace: Workspace) -> None:
    made = config(teacher, sizes=["mlp-32", "mlp-48"])
    events = []

    def cancel_at_the_first_row(event: dict[str, Any]) -> None:
        events.append(event)
        if event["type"] == "measurement":
            list_runs(workspace)[0].cancel()

    run, status, _ = execute_here(made, workspace, cancel_at_the_first_row, LogBuffer())
    assert (status, run.status.state) == (130, "cancelled")
    assert 0 < len(rows_of(workspace)) <= 4 * len(EVERY_STEP)
    run.requeue()
    assert main(["run", str(run.path)]) == 0
    assert run.status.state == "finished"
    assert len(rows_of(workspace)) == 8 * len(EVERY_STEP)


@pytest.mark.usefixtures("inline")
def test_rows_on_damaged_lines_are_measured_again_when_the_sweep_goes_on(teacher: str, workspace: Workspace, tmp_path: Path) -> None:
    made = config(teacher, sizes=["mlp-32", "mlp-48", "mlp-64"])
    run = execute(made, workspace)
    *lines, _ = run.events_path.read_bytes().splitlines(keepends=True)  # without its result
    first_of_second = next(i for i, line in enumerate(lines) if b'"metric":"E_gen"' in line and b'"size":"mlp-48"' in line)
    lines[first_of_second] = lines[first_of_second].replace(b'"metric":"E_gen"', b'"metric":"E_gem"')
    run.events_path.write_bytes(b"".join(lines))
    run.write_status(run.status.model_copy(update={"state": "queued"}))
    assert main(["run", str(run.path)]) == 0
    (warning,) = run.events("warning")
    assert warning["message"].startswith("damaged lines in the events of this run: 1, so the groups")
    sizes = [event["group"] for event in run.events(sweep.DONE)]
    assert sizes == ["mlp-64-0", "mlp-48-0", "mlp-32-0", "mlp-48-0", "mlp-32-0"]
    assert sweep._finished_groups(run) == ({"mlp-64-0", "mlp-48-0", "mlp-32-0"}, 0)
    sound = Workspace(tmp_path / "sound")
    execute(made, sound)
    values = [{(r["student"], r["metric"]): r["value"] for r in rows_of(w) if r["metric"] != "seconds"} for w in (workspace, sound)]
    assert values[0] == values[1]


def interrupted(made: SweepConfig, workspace: Workspace, group: str) -> tuple[Run, Path]:
    """Return a sweep that was cancelled while it measured a group's second step, queued again, and the saved state of that group."""
    (students,) = (about.students for about in made.groups() if about.id == group)

    def cancel(event: dict[str, Any]) -> None:
        if event["type"] == "measurement" and (event["student"], event["step"]) == (students[0].name, made.measured_steps()[1]):
            list_runs(workspace)[0].cancel()

    run, status, _ = execute_here(made, workspace, cancel, LogBuffer())
    assert status == 130
    run.requeue()
    return run, run.path / "checkpoints" / f"{group}.safetensors"


def numbers(workspace: Workspace) -> dict[tuple[Any, ...], float]:
    return {(r["student"], r["metric"], r["step"]): r["value"] for r in rows_of(workspace) if r["metric"] != "seconds"}


def spoil_state(path: Path, how: str, other: Path) -> None:
    """Change a saved state as `how` says, `other` being the state of another group."""
    if how == "one float":
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
    elif how == "another group's":
        path.write_bytes(other.read_bytes())
    elif how == "without a digest":
        save_file(load_file(path), path, {name: text for name, text in metadata(path).items() if name == "values"})
    elif how == "beyond the end":
        tensors, values = load_state(path, metadata(path)["identity"]) or ({}, {})
        save_state(path, tensors, values | {"step": 21}, metadata(path)["identity"])


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("how", ["not at all", "one float", "another group's", "without a digest", "beyond the end"])
def test_a_saved_state_that_is_not_the_groups_own_is_told_and_not_taken(
    how: str, teacher: str, workspace: Workspace, tmp_path: Path
) -> None:
    made = config(teacher, group_size=2, checkpoints=3, first_checkpoint=2)
    run, state = interrupted(made, workspace, "mlp-32-1")
    _, other = interrupted(made, Workspace(tmp_path / "other"), "mlp-32-0")
    spoil_state(state, how, other)
    assert main(["run", str(run.path)]) == 0
    told = [event["message"] for event in run.events("warning")]
    assert told == ([] if how == "not at all" else [tasks.ANEW.format("mlp-32-1")])
    execute(made, Workspace(tmp_path / "sound"))
    assert numbers(workspace) == numbers(Workspace(tmp_path / "sound"))


@pytest.mark.usefixtures("inline")
def test_states_of_students_trained_one_by_one_are_taken_together_or_not_at_all(teacher: str, workspace: Workspace, tmp_path: Path) -> None:
    made = config(teacher, group_size=2, checkpoints=3, first_checkpoint=2, together=False)
    run, state = interrupted(made, workspace, "mlp-32-0")
    first, second = (state.with_name(f"mlp-32-0-{index}.safetensors") for index in range(2))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert main(["run", str(run.path)]) == 0
    assert [event["message"] for event in run.events("warning")] == [tasks.ANEW.format("mlp-32-0")]
    execute(made, Workspace(tmp_path / "sound"))
    assert numbers(workspace) == numbers(Workspace(tmp_path / "sound"))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a size for images": ({"sizes": ["dit-4x64"], "together": False}, "takes square images"),
    "no such folder": ({"teacher": "./nowhere"}, "there is no folder ./nowhere"),
    "mixed precision on the CPU": ({"together": False, "training": {"precision": "bfloat16"}}, "precision is bfloat16 on cpu"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_start_is_one_sentence_and_leaves_no_run(
    name: str, teacher: str, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, part = BAD[name]
    if name == "a size for images":
        teacher = str(save_teacher(tmp_path / "flat", shape=(16,)))
    (tmp_path / "spec.toml").write_text(spec_text(config(teacher, **changes)))
    assert main(["sweep", str(tmp_path / "spec.toml"), "--json"]) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert part in answer.err.splitlines()[-1]
    assert list_runs(workspace) == []


def test_students_that_do_not_fit_into_memory_are_refused(
    teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    free = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    (tmp_path / "spec.toml").write_text(spec_text(config(teacher)))
    assert main(["sweep", str(tmp_path / "spec.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "of memory are free on cpu: choose smaller sizes, smaller groups or a smaller batch size" in line
    assert list_runs(workspace) == []


@pytest.mark.timeout(900)  # four times two processes that import torch
def test_a_sweep_whose_processes_are_killed_ends_with_the_rows_of_an_undisturbed_one(
    teacher: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PFD_PROCESSES", "2")
    made = config(teacher, steps=800, checkpoints=4, first_checkpoint=50, group_size=2)
    spec = tmp_path / "spec.toml"
    spec.write_text(spec_text(made))
    driver = start(workspace.root, "sweep", str(spec), "--json")
    try:
        wait_until(lambda: _count(workspace, "measurement"), 200, "the first rows")
        psutil.Process(driver.pid).children()[-1].kill()
        wait_until(lambda: _count(workspace, "warning") or _count(workspace, "result"), 60, "the retry")
        children = psutil.Process(driver.pid).children() if driver.poll() is None else []
    finally:
        driver.kill()
        driver.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    (run,) = list_runs(workspace)
    assert call(workspace.root, "worker", "--drain", timeout=280).returncode == 0
    assert run.status.state == "finished", run.log_tail()

    calm = Workspace(tmp_path / "calm")
    answer = call(calm.root, "sweep", str(spec), "--json", timeout=280)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["students"] == 4
    expected, found = contents(calm), contents(workspace)
    for table, rows in expected.items():
        assert found[table] == rows, table


def _count(workspace: Workspace, kind: str) -> int:
    return sum(1 for run in list_runs(workspace) for _ in run.events(kind))
