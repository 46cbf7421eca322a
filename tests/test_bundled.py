"""The bundled checkpoints: small, complete, what they claim to be, and made by the command that says so."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from pfd_engine.distill import make_bundled as bundled
from pfd_engine.distill.make_bundled import Errors, measure_errors, train_all
from pfd_engine.distill.trainer import Progress
from pfd_engine.flow.maps import SolverMap
from pfd_engine.measure.pfd import PFDEstimate, probability_flow_distance
from pfd_engine.models.bundled import FLOOR, GENERALIZES, MEMORIZES, TEACHER, bundled_references, floor_reference
from pfd_engine.models.families import load_denoiser
from pfd_engine.training_sets.load import load_training_set
from pfd_engine.workspace import ASSETS


def test_the_bundled_checkpoints_are_small() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 18e6
    for reference in (*bundled_references(), floor_reference()):
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


def test_the_second_teacher_differs_from_the_first_in_its_training_seed_only() -> None:
    references = bundled_references().teacher, floor_reference()
    first, second, student = (load_denoiser(reference) for reference in (*references, bundled_references().student_generalizes))
    configs = [json.loads((Path(reference) / "config.json").read_text()) for reference in references]
    assert configs[1]["metadata"].pop("twin_of") == {"teacher": f"../{TEACHER}", "revision": first.revision}
    assert [config["metadata"].pop("student_seed") for config in configs] == [0, 1]
    assert configs[0] == configs[1]
    floor = probability_flow_distance(SolverMap(first), SolverMap(second), 128)
    assert 0 < floor.value < 0.5 * floor.shuffled
    assert floor.value < probability_flow_distance(SolverMap(first), SolverMap(student), 128).value


def test_bundled_references_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ASSETS.parents[1])
    assert bundled_references().teacher == "./pfd_engine/assets/digits-teacher"
    assert floor_reference() == "./pfd_engine/assets/digits-teacher-2"
    monkeypatch.chdir(tmp_path)
    assert all(Path(reference).is_dir() for reference in (*bundled_references(), floor_reference()))


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make training take a moment."""
    training = dataclasses.replace(bundled.TEACHER_TRAINING, steps=4)
    students = [dataclasses.replace(student, training=dataclasses.replace(training, seed=1)) for student in bundled.STUDENTS]
    monkeypatch.setattr(bundled, "STUDENTS", students)
    monkeypatch.setattr(bundled, "TEACHER_TRAINING", training)
    monkeypatch.setattr(bundled, "TEACHER_WIDTH", 8)
    monkeypatch.setattr(bundled, "STUDENT_WIDTH", 8)
    monkeypatch.setattr(bundled, "NUM_NOISES", 64)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("short")
def test_the_command_makes_four_checkpoints_that_load() -> None:
    news = list(train_all(Path("made")))
    assert [name for name, _ in news] == [TEACHER, FLOOR, FLOOR, MEMORIZES, MEMORIZES, GENERALIZES, GENERALIZES]
    assert [type(what) for _, what in news] == [Progress, Progress, PFDEstimate, Progress, Errors, Progress, Errors]
    for name, count in ((MEMORIZES, 64), (GENERALIZES, 1024)):
        student = load_denoiser(f"./made/{name}")
        assert (student.metadata["num_samples"], student.metadata["step"]) == (count, 4)
        assert len(load_training_set(f"./made/{name}").samples) == count
        assert f"{count:,} samples" in Path("made", name, "README.md").read_text()
    teacher, second = (load_denoiser(f"./made/{name}") for name in (TEACHER, FLOOR))
    assert teacher.num_parameters == second.num_parameters == bundled.MLPOptions(width=8).count_parameters((1, 8, 8))
    assert second.metadata["twin_of"]["revision"] == teacher.revision
    floor = next(what for _, what in news if isinstance(what, PFDEstimate))
    assert floor.value == probability_flow_distance(SolverMap(teacher), SolverMap(second), 64).value
    assert f"{floor.value:.3f} [{floor.ci_low:.3f}, {floor.ci_high:.3f}]" in Path("made", FLOOR, "README.md").read_text()


@pytest.mark.usefixtures("short")
def test_one_checkpoint_is_trained_alone_to_the_same_bits() -> None:
    list(train_all(Path("made")))
    kept = {path: path.read_bytes() for path in Path("made").rglob("*") if path.is_file()}
    for name in bundled.NAMES:
        assert {who for who, _ in train_all(Path("made"), [name])} == {name}
        assert {path: path.read_bytes() for path in Path("made").rglob("*") if path.is_file()} == kept


@pytest.mark.usefixtures("short")
def test_a_student_or_second_teacher_needs_the_teacher(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (FLOOR, MEMORIZES):
        monkeypatch.setattr("sys.argv", ["bundled", "--folder", "empty", "--only", name])
        assert bundled.main() == 1
        assert "there is no folder" in capsys.readouterr().err
