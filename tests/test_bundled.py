"""The bundled checkpoints: small, complete, what they claim to be, and made by the command that says so."""

import dataclasses
from pathlib import Path

import pytest
import torch

from pfd_engine.adapters import load_denoiser
from pfd_engine.bundled import GENERALIZES, MEMORIZES, TEACHER, bundled_references
from pfd_engine.distill import bundled
from pfd_engine.distill.bundled import Errors, measure_errors, train_all
from pfd_engine.distill.trainer import Progress
from pfd_engine.flow_maps import SolverMap
from pfd_engine.training_sets import load_training_set
from pfd_engine.workspace import ASSETS


def test_the_bundled_checkpoints_are_small() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12e6
    for reference in bundled_references():
        names = {path.name for path in Path(reference).iterdir()}
        assert names - {"training_set.json"} == {"README.md", "config.json", "model.safetensors"}


def test_the_bundled_students_are_what_they_claim() -> None:
    references = bundled_references()
    teacher = SolverMap(load_denoiser(references.teacher))
    errors, sets = {}, {}
    for reference in references[1:]:
        student = load_denoiser(reference)
        assert student.training_set_reference == reference
        sets[reference] = load_training_set(reference)
        assert len(sets[reference].samples) == student.metadata["num_samples"]
        errors[reference] = measure_errors(teacher, student, sets[reference].samples, num_noises=128)
    memorizes, generalizes = (errors[reference] for reference in references[1:])
    assert memorizes.memorization_ratio > 0.7
    assert memorizes.e_mem < 0.75 * memorizes.e_gen
    assert generalizes.memorization_ratio < 0.02
    assert generalizes.e_gen < 0.75 * generalizes.e_mem
    small, large = (sets[reference].samples for reference in references[1:])
    torch.testing.assert_close(small, large[:64], rtol=0, atol=1e-3)


def test_bundled_references_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ASSETS.parents[1])
    assert bundled_references().teacher == "./pfd_engine/assets/digits-teacher"
    monkeypatch.chdir(tmp_path)
    assert all(Path(reference).is_dir() for reference in bundled_references())


def test_the_command_makes_three_checkpoints_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(bundled.TEACHER_TRAINING, steps=4)
    students = [dataclasses.replace(student, training=dataclasses.replace(short, seed=1)) for student in bundled.STUDENTS]
    monkeypatch.setattr(bundled, "STUDENTS", students)
    monkeypatch.setattr(bundled, "TEACHER_TRAINING", short)
    monkeypatch.setattr(bundled, "TEACHER_WIDTH", 8)
    monkeypatch.setattr(bundled, "STUDENT_WIDTH", 8)
    monkeypatch.chdir(tmp_path)
    news = list(train_all(Path("made")))
    assert [name for name, _ in news] == [TEACHER, MEMORIZES, MEMORIZES, GENERALIZES, GENERALIZES]
    assert [type(what) for _, what in news] == [Progress, Progress, Errors, Progress, Errors]
    for name, count in ((MEMORIZES, 64), (GENERALIZES, 1024)):
        student = load_denoiser(f"./made/{name}")
        assert (student.metadata["num_samples"], student.metadata["step"]) == (count, 4)
        assert len(load_training_set(f"./made/{name}").samples) == count
        assert f"{count:,} samples" in (tmp_path / "made" / name / "README.md").read_text()
    assert load_denoiser(f"./made/{TEACHER}").num_parameters == bundled.MLPOptions(width=8).count_parameters((1, 8, 8))
