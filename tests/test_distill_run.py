"""Distilling a student as a run: every objective from the command line to its numbers, resumed after kill -9, refused in one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from pfd_engine.cli.main import main
from pfd_engine.configs.distill import DistillConfig
from pfd_engine.distill import run as distill_run
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.trained_range import trained_range
from pfd_engine.jobs.kinds import prepare
from pfd_engine.models.families import load_map, map_model
from pfd_engine.models.families.own import MLPOptions, OwnConfig, save_denoiser
from pfd_engine.models.networks.options import UNetOptions
from pfd_engine.models.networks.own import build_network
from pfd_engine.runs.folder import list_runs
from pfd_engine.seeds import TRAINING_SEEDS
from pfd_engine.store.database import Store
from pfd_engine.training_sets.load import load_training_set
from pfd_engine.workspace import Workspace
from tests.run_processes import call, start, wait_until

SHAPE = (1, 4, 4)
QUICK = ("--steps", "20", "--batch-size", "8", "--num-samples", "20", "--noises", "16", "--solver-steps", "3", "--json")


def save_teacher(folder: Path, **changes: Any) -> Path:
    options = MLPOptions(width=32)
    network = build_network("mlp", SHAPE, options.model_dump())
    nn.init.normal_(network.output.weight, std=0.02, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr, arg-type]
    save_denoiser(folder, network, OwnConfig(**{"network": options, "sigma_data": 0.5, "shape": SHAPE, "license": "mit"} | changes))
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return str(save_teacher(tmp_path / "teacher"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


Distill = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def distill(teacher: str, capsys: pytest.CaptureFixture[str]) -> Distill:
    """Run `distill` in this process, on the workspace of the test."""

    def distill(*words: str, size: str = "mlp-32", given: str = teacher) -> subprocess.CompletedProcess[str]:
        status = main(("distill", "--teacher", given, "--size", size, *words))
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    return distill


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_makes_a_student_that_is_measured(objective: str, distill: Distill, workspace: Workspace) -> None:
    answer = distill("--objective", objective, *QUICK)
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    made = result["distillation"]
    steps = [evaluation["student_steps"] for evaluation in made["evaluations"]]
    assert steps == {"progressive": [1, 2, 4], "consistency": [1, 2, 4], "distribution-matching": [4, 1, 2]}.get(objective, [None])
    assert result["value"] == made["evaluations"][0]["value"] > 0
    assert (made["size"], made["num_samples"], made["steps"]) == ("mlp-32", 20, 20)
    assert made["initialized"] == ("the teacher's" if OBJECTIVES[objective].few_step else "random")
    assert result["memorization"]["num_samples"] == 20
    noted = [bool(evaluation["coupling_note"]) for evaluation in made["evaluations"]]
    assert noted == {"consistency": [False, True, True], "distribution-matching": [True] * 3}.get(objective, [False] * len(noted))

    (run,) = list_runs(workspace)
    assert (run.id, run.status.state) == (result["run_id"], "finished")
    student = run.path / "student"
    model = map_model(load_map(student))
    assert model.metadata["objective"] == objective
    assert model.metadata["student_seed"] == 0
    assert model.metadata["trained_range"] is None  # 20 steps of 8 are too few draws
    card = (student / "README.md").read_text()
    assert f"{result['value']:.3f} ({result['ci_low']:.3f} to {result['ci_high']:.3f})" in card
    for words in (f"**{objective}**", "on 20 of the teacher's samples", "20 steps, 160 images", "license: mit", "no range is known"):
        assert words in card
    assert ("breaks the coupling" in card) == any(noted)
    if objective == "progressive":
        assert [load_map(run.path / f"student-{k}-steps").network_calls for k in (2, 4)] == [2, 4]  # type: ignore[attr-defined]
    with Store(workspace, None) as store:
        store.ingest()
        rows = store.rows("select student_steps, value, objective, step from measurements where metric = 'PFD' order by all")
        assert sorted(row["student_steps"] or 0 for row in rows) == sorted(k or 0 for k in steps)
        assert {row["objective"] for row in rows} == {objective}
        curve = store.rows("select step, value from training_curves where metric = 'train_loss' order by step")
        assert curve[-1]["step"] == 20
        assert store.rows("select count(*) as n from runs where kind = 'distill' and command like '%pfd_engine distill%'") == [{"n": 1}]


def test_the_training_set_is_the_teachers_samples_of_its_noises(distill: Distill, tmp_path: Path) -> None:
    output = tmp_path / "made" / "student"
    answer = distill(*QUICK, "--output", str(output), "--first-seed", str(TRAINING_SEEDS.start + 300), "--flips", "--dropout", "0.1")
    assert answer.returncode == 0, answer.stderr
    found = load_training_set(str(output))
    assert found.seeds == range(TRAINING_SEEDS.start + 300, TRAINING_SEEDS.start + 320)
    assert json.loads((output / "training_set.json").read_text())["teacher"] == "../../teacher"
    training = json.loads((output / "config.json").read_text())["metadata"]["training"]
    assert (training["dropout"], training["flips"]) == (0.1, True)


def test_a_student_records_the_noise_levels_that_it_was_trained_on(distill: Distill, tmp_path: Path) -> None:
    output = tmp_path / "student"
    assert distill(*QUICK, "--batch-size", "64", "--p-mean", "0.5", "--p-std", "1", "--output", str(output)).returncode == 0
    metadata = json.loads((output / "config.json").read_text())["metadata"]
    assert tuple(metadata["trained_range"]) == trained_range(20, 64, 0.5, 1.0)
    assert "| noise levels trained on | sigma 0.399 to 6.81;" in (output / "README.md").read_text()


def test_kept_steps_are_students_too(distill: Distill, workspace: Workspace) -> None:
    assert distill(*QUICK, "--checkpoints", "3").returncode == 0
    (run,) = list_runs(workspace)
    kept = sorted(path.name for path in (run.path / "checkpoints").iterdir() if path.is_dir())
    assert kept == ["step-00000001", "step-00000004"]
    assert map_model(load_map(run.path / "checkpoints" / kept[1])).metadata["step"] == 4


def test_a_lone_teacher_and_a_convolutional_student(tmp_path: Path, distill: Distill) -> None:
    options = UNetOptions(width=8, multipliers=(1, 1), layers=1, attention=())
    network = build_network("unet", (1, 8, 8), options.model_dump())
    config = OwnConfig(family="unet", network=options, sigma_data=0.5, shape=(1, 8, 8))
    save_denoiser(tmp_path / "unet", network, config)
    words = ("--steps", "2", "--batch-size", "2", "--num-samples", "3", "--noises", "2", "--solver-steps", "2", "--json")
    answer = distill(*words, "--objective", "consistency", size="dit-4x64", given=str(tmp_path / "unet"))
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert result["student"]["family"] == "dit"
    assert result["distillation"]["initialized"] == "random"


def test_people_read_a_few_lines(distill: Distill) -> None:
    answer = distill("--objective", "consistency", *QUICK[:-1])
    assert answer.returncode == 0
    assert "learned        consistency from 20 samples in 20 steps" in answer.stdout
    assert answer.stdout.count("PFD") == 3


def test_an_interrupted_run_goes_on_to_the_same_bits(teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfd_engine.distill.run.SAVE_SECONDS", 0)
    config = DistillConfig(
        teacher=teacher, size="mlp-32", objective="progressive", num_samples=20, steps=400, batch_size=8, num_noises=8, solver_steps=2
    )
    whole = list(prepare(config, workspace, lambda event: None).run("whole", lambda: False))
    for stop_at in (100, 250, 400):  # the process is gone after that step
        for event in prepare(config, workspace, lambda event: None).run("parts", lambda: False):
            if event.get("phase") == "train" and event["done"] == stop_at:
                break
    parts = list(prepare(config, workspace, lambda event: None).run("parts", lambda: False))
    assert [event["done"] for event in parts if event.get("phase") == "train"] == [400]  # nothing was left to train
    for name in ("student", "student-2-steps", "student-4-steps"):
        assert weights(workspace.runs / "parts" / name) == weights(workspace.runs / "whole" / name)
    values = [[event["value"] for event in events if event["type"] == "measurement"] for events in (whole, parts)]
    assert values[0] == values[1]
    assert len(values[0]) == 12


def test_a_damaged_state_is_told_and_the_student_is_the_one_of_an_undisturbed_run(
    teacher: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfd_engine.distill.run.SAVE_SECONDS", 0)
    config = DistillConfig(teacher=teacher, size="mlp-32", num_samples=20, steps=200, batch_size=8, num_noises=8, solver_steps=2)
    for event in prepare(config, workspace, lambda event: None).run("parts", lambda: False):
        if event.get("phase") == "train" and event["done"] == 150:
            break
    state = workspace.runs / "parts" / "checkpoints" / "training.safetensors"
    content = bytearray(state.read_bytes())
    content[-2000] ^= 64
    state.write_bytes(content)
    parts = list(prepare(config, workspace, lambda event: None).run("parts", lambda: False))
    assert [event["message"] for event in parts if event["type"] == "warning"][:1] == [distill_run.ANEW]
    assert next(event["done"] for event in parts if event.get("phase") == "train") == 0
    list(prepare(config, workspace, lambda event: None).run("whole", lambda: False))
    assert weights(workspace.runs / "parts" / "student") == weights(workspace.runs / "whole" / "student")


def test_a_run_killed_in_training_is_resumed_by_the_worker(teacher: str, workspace: Workspace) -> None:
    words = ("distill", "--teacher", teacher, "--size", "mlp-32", "--steps", "1500", "--noises", "16", "--solver-steps", "3", "--json")
    process = start(workspace.root, *words)
    state = "checkpoints/training.safetensors"
    wait_until(lambda: any((run.path / state).is_file() for run in list_runs(workspace)), 60, "a state of training")
    (run,) = list_runs(workspace)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.status.state == "running"
    assert not (run.path / "student").exists()
    assert call(workspace.root, "worker", "--drain").returncode == 0
    assert run.status.state == "finished", run.log_tail()
    first = [event["done"] for event in run.events("progress") if event["phase"] == "train"]
    assert first.count(0) == 1  # the second attempt did not start at 0
    config = run.config
    assert isinstance(config, DistillConfig)
    *_, last = prepare(config, workspace, lambda event: None).run("whole", lambda: False)
    assert weights(workspace.runs / "whole" / "student") == weights(run.path / "student")
    assert run.result is not None
    assert run.result["value"] == last["result"]["value"]


def test_cancelling_ends_training(teacher: str, workspace: Workspace) -> None:
    config = DistillConfig(teacher=teacher, size="mlp-32", num_samples=20, steps=10_000, num_noises=8)
    asked = iter([False] * 8 + [True] * 100)
    from pfd_engine.errors import Cancelled

    with pytest.raises(Cancelled):
        list(prepare(config, workspace, lambda event: None).run("run", lambda: next(asked)))


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no samples": (("--num-samples", "0"), "number of samples is 0"),
    "more samples than can be drawn": (("--num-samples", str(10**8)), "number of samples is 100000000"),
    "learning rate of 0": (("--learning-rate", "0"), "learning rate is 0.0"),
    "infinite learning rate": (("--learning-rate", "inf"), "learning rate is inf"),
    "steps of its own": (("--student-steps", "4"), "has no steps of its own"),
    "three progressive steps": (("--objective", "progressive", "--student-steps", "3"), "student steps is 3"),
    "fewer steps than stages": (("--objective", "progressive", "--steps", "3"), "number of training steps is 3"),
    "bfloat16 on the CPU": (("--precision", "bfloat16", "--device", "cpu"), "that is for GPUs"),
    "no CUDA device": (("--device", "cuda"), "CUDA"),
    "weights of another size": (("--init", "teacher", "--size", "mlp-64"), "init is teacher"),
    "an output that is a file": (("--output", "/dev/null"), "output is /dev/null"),
    "unknown flag": (("--frobnicate",), "unrecognized arguments"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_start_is_one_sentence_and_leaves_no_run(name: str, distill: Distill, workspace: Workspace) -> None:
    words, part = BAD[name]
    if name == "no CUDA device" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    refused(distill(*words, "--json"), part, workspace)


def refused(answer: subprocess.CompletedProcess[str], part: str, workspace: Workspace) -> None:
    assert answer.returncode == 2, answer.stderr
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert part in line
    assert list_runs(workspace) == []


def test_teachers_and_sizes_that_do_not_fit_are_refused(distill: Distill, workspace: Workspace, tmp_path: Path) -> None:
    refused(distill(given="./nowhere"), "there is no folder ./nowhere", workspace)
    refused(distill("--queue", given="./nowhere"), "there is no folder ./nowhere", workspace)
    refused(distill(size="mlp-33"), "size is 'mlp-33'", workspace)
    refused(distill(size="dit-4x64", given=str(save_teacher(tmp_path / "flat", shape=(16,)))), "takes square images", workspace)
    sampler = FewStepSampler(kind="consistency", levels=(80.0,), steps=1)
    few_step = save_teacher(tmp_path / "few-step", sampler=sampler)
    refused(distill(given=str(few_step)), "is a few-step map", workspace)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    refused(distill("--output", str(tmp_path / "thesis")), "is no checkpoint", workspace)


def test_a_student_that_does_not_fit_into_memory_is_refused(
    distill: Distill, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    refused(distill("--device", "cpu", size="mlp-512"), "of memory are free on cpu: choose a smaller size", workspace)


def test_a_loss_that_turns_nan_fails_the_run_in_one_sentence(distill: Distill, workspace: Workspace) -> None:
    answer = distill("--learning-rate", "1e38", "--steps", "300", "--num-samples", "20", "--json")
    assert answer.returncode == 1
    assert "the training loss is nan at step" in answer.stderr.splitlines()[-1]
    (run,) = list_runs(workspace)
    assert (run.status.state, run.status.exit_code) == ("failed", 1)


def test_a_full_disk_in_training_is_one_sentence(distill: Distill, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pfd_engine.distill.trainer.save_state", full)
    answer = distill(*QUICK)
    assert answer.returncode == 1
    assert "the disk is full" in answer.stderr.splitlines()[-1]
    assert list_runs(workspace)[0].status.state == "failed"
