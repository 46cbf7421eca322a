"""Training sets: drawn again and known again, tampering found, nested ranges, stored samples, Hub data sets."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pfd_engine.errors import InputError
from pfd_engine.flow.maps import SolverMap, flow_map
from pfd_engine.flow.noise import noise
from pfd_engine.measure.end_points import EndPoints, drain
from pfd_engine.models.families import load_denoiser
from pfd_engine.models.families.own import MLPOptions, OwnConfig, save_denoiser
from pfd_engine.models.networks.own import build_network
from pfd_engine.seeds import TRAINING_SEEDS
from pfd_engine.training_sets.files import describe_samples, fingerprint, samples_sha256, write_training_set
from pfd_engine.training_sets.load import check_disjoint, draw_samples, load_training_set

SHAPE = (1, 2, 2)
START = TRAINING_SEEDS.start
SEEDS = range(START + 300, START + 340)


def save_teacher(folder: Path, seed: int = 0) -> SolverMap:
    network = build_network("mlp", SHAPE, {"width": 16, "blocks": 1}, seed=seed)
    torch.nn.init.normal_(network.output.weight, std=0.2, generator=torch.Generator().manual_seed(seed))  # type: ignore[union-attr, arg-type]
    save_denoiser(folder, network, OwnConfig(network=MLPOptions(width=16, blocks=1), sigma_data=0.5, shape=SHAPE))
    return SolverMap(load_denoiser(str(folder)), steps=6)


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A student's folder that describes 40 samples of the teacher beside it."""
    teacher = save_teacher(tmp_path / "teacher")
    (tmp_path / "student").mkdir()
    samples = drain(draw_samples(teacher, SEEDS, SHAPE))
    write_training_set(tmp_path / "student", describe_samples(samples, teacher, SEEDS, "../teacher", "sha256:0"))
    return tmp_path / "student"


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "training_set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_samples_are_drawn_again_to_the_bit(student: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path / "teacher")  # the teacher is found beside the description, wherever the program runs
    events: list[dict[str, Any]] = []
    training_set = load_training_set("../student", report=events.append)
    teacher = SolverMap(load_denoiser(str(tmp_path / "teacher")), steps=6)
    expected = flow_map(teacher.denoiser, noise(SEEDS.start, SEEDS.stop, SHAPE), steps=6)
    assert training_set.seeds == SEEDS
    assert training_set.samples.dtype == torch.float32
    torch.testing.assert_close(training_set.samples, expected)
    assert samples_sha256(training_set.samples) == training_set.content_hash
    assert events[-1] == {"type": "progress", "phase": "training set", "done": 40, "total": 40, "unit": "samples"}


def test_nested_ranges_hold_the_same_bits(tmp_path: Path) -> None:
    teacher = save_teacher(tmp_path / "teacher")
    large = drain(draw_samples(teacher, range(START + 200, START + 700), SHAPE))
    for first, last in ((200, 201), (255, 257), (300, 640), (512, 700)):
        small = drain(draw_samples(teacher, range(START + first, START + last), SHAPE))
        assert torch.equal(small, large[first - 200 : last - 200])


def test_other_batch_sizes_and_float64_still_pass_the_check(student: Path) -> None:
    exact = load_training_set(str(student))
    batched = load_training_set(str(student), end_points=EndPoints(batch_size=1))
    assert batched.content_hash == exact.content_hash
    teacher = load_denoiser(str(student.parent / "teacher"))
    double = flow_map(teacher, noise(SEEDS.start, SEEDS.stop, SHAPE).double(), steps=6).float()
    assert samples_sha256(double) != exact.content_hash
    write_training_set(student, None, double)
    assert load_training_set(str(student)).content_hash == exact.content_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"seed_start": SEEDS.start + 1, "seed_stop": SEEDS.stop + 1},
        {"solver": "euler"},
        {"steps": 3},
        {"sigma_max": 20.0},
    ],
)
def test_a_tampered_description_is_found(student: Path, changes: dict[str, Any]) -> None:
    rewrite(student, **changes)
    with pytest.raises(InputError, match="not what its description says"):
        load_training_set(str(student))


def test_another_teacher_is_found(student: Path) -> None:
    save_teacher(student.parent / "teacher", seed=1)
    with pytest.raises(InputError, match="use the teacher, at its revision"):
        load_training_set(str(student))


def test_rounding_passes_by_the_fingerprint_and_another_fingerprint_does_not(student: Path) -> None:
    rewrite(student, sha256="0" * 64)
    load_training_set(str(student))
    rewrite(student, fingerprint=base64.b64encode(np.zeros(len(SEEDS), "<f4").tobytes()).decode())
    with pytest.raises(InputError, match="not what its description says"):
        load_training_set(str(student))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed_start": -5, "seed_stop": 35}, "no range within"),
        ({"seed_stop": SEEDS.start}, "no range within"),
        ({"seed_start": START, "seed_stop": TRAINING_SEEDS.stop}, "1,073,741,824 samples"),
        ({"shape": [10**5, 10**5]}, "values at most"),
        ({"shape": [1, 3, 3]}, "use the teacher that the student was trained with"),
        ({"seed_stop": SEEDS.stop - 1}, "fingerprint does not belong to 39 samples"),
        ({"fingerprint": "no base64!"}, "does not describe a training set"),
        ({"sha256": "short"}, "sha256"),
        ({"steps": 10**6}, "steps"),
        ({"solver": "magic"}, "magic"),
        ({"sigma_max": 1e5}, "choose a value inside"),
        ({"teacher": "../nobody"}, "the training set's teacher ../nobody is not here"),
        ({"teacher": "no reference at all"}, "which is no reference"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_bad_description_is_one_sentence(student: Path, changes: dict[str, Any], sentence: str) -> None:
    rewrite(student, **changes)
    with pytest.raises(InputError) as caught:
        load_training_set(str(student))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_copied_student_takes_the_evaluations_teacher_and_checks_it(student: Path, tmp_path: Path) -> None:
    shutil.copytree(student, tmp_path / "elsewhere" / "student")
    copied = str(tmp_path / "elsewhere" / "student")
    assert load_training_set(copied, str(tmp_path / "teacher")).content_hash == load_training_set(str(student)).content_hash
    save_teacher(tmp_path / "stranger", seed=1)
    with pytest.raises(InputError, match="not what its description says"):
        load_training_set(copied, str(tmp_path / "stranger"))


def test_stored_samples_need_no_teacher_and_are_checked(student: Path) -> None:
    drawn = load_training_set(str(student))
    write_training_set(student, None, drawn.samples)
    shutil.rmtree(student.parent / "teacher")
    assert torch.equal(load_training_set(str(student)).samples, drawn.samples)
    write_training_set(student, None, drawn.samples.flip(0))
    with pytest.raises(InputError, match="40 of 40 samples differ"):
        load_training_set(str(student))
    write_training_set(student, None, drawn.samples[:-1])
    with pytest.raises(InputError, match="40 samples of 1x2x2 but 39 of 1x2x2 were found"):
        load_training_set(str(student))


def test_samples_alone_are_a_training_set(tmp_path: Path) -> None:
    samples = torch.rand(9, 3, 2, 2) * 2 - 1
    write_training_set(tmp_path, None, samples)
    training_set = load_training_set(str(tmp_path))
    assert torch.equal(training_set.samples, samples)
    assert training_set.seeds is None
    assert training_set.name == tmp_path.name


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"samples": torch.rand(4, 2) * 16}, "scale the samples to [-1, 1]"),
        ({"samples": torch.full((4, 2), torch.nan)}, "values up to nan"),
        ({"samples": torch.zeros(4, 2, dtype=torch.uint8)}, "U8: store floating point"),
        ({"samples": torch.zeros(4)}, "holds 4 of F32"),
        ({"samples": torch.zeros(0, 2)}, "0 samples of 2"),
        ({"images": torch.zeros(4, 2)}, "no tensor named 'samples'"),
    ],
)
def test_bad_samples_are_one_sentence(tmp_path: Path, tensors: dict[str, torch.Tensor], sentence: str) -> None:
    save_file(tensors, tmp_path / "samples.safetensors")
    with pytest.raises(InputError) as caught:
        load_training_set(str(tmp_path))
    assert sentence in str(caught.value)


def test_truncated_samples_are_one_sentence(tmp_path: Path) -> None:
    write_training_set(tmp_path, None, torch.zeros(9, 3, 2, 2))
    whole = (tmp_path / "samples.safetensors").read_bytes()
    (tmp_path / "samples.safetensors").write_bytes(whole[:-7])
    with pytest.raises(InputError, match="no complete safetensors file"):
        load_training_set(str(tmp_path))


def test_a_folder_of_images_is_a_training_set(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.full((4, 4), 100 * index, np.uint8)).save(tmp_path / f"{index}.png")
    training_set = load_training_set(str(tmp_path))
    assert training_set.samples.shape == (3, 1, 4, 4)
    assert training_set.samples[:, 0, 0, 0].tolist() == pytest.approx([-1, 100 / 127.5 - 1, 200 / 127.5 - 1])


def test_an_empty_or_absent_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no images"):
        load_training_set(str(tmp_path))
    with pytest.raises(InputError, match="there is no folder"):
        load_training_set(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no reference"):
        load_training_set("one two")


def test_training_and_evaluation_seeds_must_not_meet() -> None:
    check_disjoint(range(10, 20), range(20, 30))
    check_disjoint(range(20, 30), range(10, 20))
    with pytest.raises(InputError, match="noises 19 to 19") as caught:
        check_disjoint(range(10, 20), range(19, 30))
    assert caught.value.field == "seed"
    with pytest.raises(InputError, match="noises 12 to 13"):
        check_disjoint(range(10, 20), range(12, 14))


def test_the_fingerprint_moves_with_every_value() -> None:
    samples = torch.rand(3, 1, 4, 4)
    before = fingerprint(samples)
    for position in range(16):
        changed = samples.clone()
        changed[1].flatten()[position] += 0.5
        assert (np.abs(fingerprint(changed) - before) > 0.1).tolist() == [False, True, False]


def publish(hub: Any, name: str, folder: Path, kind: str = "models") -> str:
    """Publish a folder on the loopback Hub under a name that no other test uses; returns the commit."""
    return str(hub.add(name, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True), kind))


@pytest.mark.hub
def test_a_student_on_the_hub_names_a_teacher_on_the_hub(hub: Any, student: Path) -> None:
    revision = publish(hub, "sets/teacher", student.parent / "teacher")
    rewrite(student, teacher="sets/teacher", teacher_revision=revision)
    commit = publish(hub, "sets/student", student)
    save_teacher(student.parent / "later", seed=1)
    publish(hub, "sets/teacher", student.parent / "later")  # the branch moves on, the training set stays with its revision
    events: list[dict[str, Any]] = []
    training_set = load_training_set(f"sets/student@{commit}", report=events.append)
    assert training_set.seeds == SEEDS
    assert training_set.name == f"teacher seeds {SEEDS.start}-{SEEDS.stop - 1}"
    assert {event["phase"] for event in events} == {"download", "training set"}


@pytest.mark.hub
def test_a_path_in_a_downloaded_description_is_not_followed(hub: Any, student: Path) -> None:
    rewrite(student, teacher=str(student.parent / "teacher"))
    publish(hub, "sets/path", student)
    with pytest.raises(InputError, match="is not here: name the teacher"):
        load_training_set("sets/path")
    assert load_training_set("sets/path", str(student.parent / "teacher")).seeds == SEEDS


@pytest.mark.hub
def test_data_sets_on_the_hub_hold_samples_or_images(hub: Any, tmp_path: Path) -> None:
    samples = torch.rand(5, 1, 2, 2)
    (tmp_path / "stored").mkdir()
    write_training_set(tmp_path / "stored", None, samples)
    publish(hub, "sets/stored", tmp_path / "stored", "datasets")
    stored = load_training_set("sets/stored@main")
    assert torch.equal(stored.samples, samples)
    assert stored.name == "stored"
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "pictures" / "a.png")
    publish(hub, "sets/pictures", tmp_path / "pictures", "datasets")
    assert load_training_set("sets/pictures").samples.tolist() == torch.ones(1, 1, 4, 4).tolist()
    with pytest.raises(InputError, match="there is no data set sets/nothing"):
        load_training_set("sets/nothing")
