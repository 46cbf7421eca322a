"""Specs of sweeps: what they mean, how they expand, and what they refuse in one sentence, in a file as in the code."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pfd_engine.cli.main import main
from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.sweep_files import bundled_specs, load_spec, name_of, parse_toml, question_of, spec_text
from pfd_engine.errors import InputError
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.runs.folder import list_runs, parse_config
from pfd_engine.seeds import TRAINING_SEEDS
from pfd_engine.workspace import REPOSITORY, Workspace

GIVEN: dict[str, Any] = {
    "experiment": "scaling", "name": "tiny", "teacher": "./pfd_engine/assets/digits-teacher", "sizes": ["mlp-32", "mlp-64"],
    "num_samples": [16, 64], "seeds": [0, 1, 2],
}  # fmt: skip

RATE = "training.learning_rate"
BAD: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "N = 0": ({"num_samples": [16, 0]}, "num_samples", "number of samples is 0: give 1 to 2,097,152"),
    "a negative N": ({"num_samples": [-5]}, "num_samples", "number of samples is -5"),
    "more samples than there can be": ({"num_samples": [10**9]}, "num_samples", "number of samples is 1000000000"),
    "more samples than can be drawn": (
        {"num_samples": [2**20], "seeds": list(range(1025))[-3:]}, "num_samples", "do not fit into the training seeds"
    ),
    "one N twice": ({"num_samples": [16, 16]}, "num_samples", "[16, 16]: name each one once"),
    "N as text": ({"num_samples": ["16"]}, "num_samples", "number of samples is '16': give a whole number"),
    "N as a switch": ({"num_samples": [True]}, "num_samples", "number of samples is True: give a whole number"),
    "N as a fraction": ({"num_samples": [16.5]}, "num_samples", "number of samples is 16.5: give a whole number"),
    "no N": ({"num_samples": []}, "num_samples", "number of samples is []: give at least 1"),
    "one N without a list": ({"num_samples": 16}, "num_samples", "number of samples is 16: give a list"),
    "an unknown size": ({"sizes": ["mlp-33"]}, "sizes", "size is 'mlp-33': choose one of mlp-32, mlp-48"),
    "an unknown family": ({"sizes": ["resnet-50"]}, "sizes", "unet-24"),
    "sizes as text": ({"sizes": "mlp-32"}, "sizes", "sizes is 'mlp-32': give a list"),
    "one size twice": ({"sizes": ["mlp-32", "mlp-32"]}, "sizes", "name each one once"),
    "a million students": (
        {"sizes": ["mlp-32", "mlp-64"], "num_samples": list(range(1, 65)), "seeds": list(range(256))},
        "seeds",
        "the sweep means 32,768 students: 4,096 at most",
    ),
    "a million seeds": ({"seeds": list(range(10**6))}, "seeds", "give at most 256"),
    "a negative seed": ({"seeds": [-1]}, "seeds", "seeds is -1: give at least 0"),
    "one seed for a variance": ({"experiment": "bias-variance", "seeds": [0]}, "seeds", "need at least 2 seeds"),
    "an unknown experiment": ({"experiment": "alchemy"}, "experiment", "experiment is 'alchemy': give 'scaling', 'training-dynamics'"),
    "an unknown objective": ({"objective": "progressive"}, "objective", "objective is 'progressive': give 'samples' or 'denoiser'"),
    "no steps": ({"steps": 0}, "steps", "steps is 0: give at least 1"),
    "steps as text": ({"steps": "6000"}, "steps", "steps is '6000': give a whole number"),
    "too many steps": ({"steps": 10**9}, "steps", "at most 10,000,000"),
    "a first checkpoint behind the last": ({"checkpoints": 5, "first_checkpoint": 6000}, "first_checkpoint", "give a step below the last"),
    "a name that is a path": ({"name": "../../etc"}, "name", "name is '../../etc'"),
    "a teacher that is no reference": ({"teacher": "not a reference"}, "teacher", "is no reference"),
    "an unknown setting": ({"frobnicate": 1}, "frobnicate", "'frobnicate' is not a setting of a sweep: choose among kind, experiment"),
    "a setting with a dot": ({"a.b": 1}, "a.b", "'a.b' is not a setting of a sweep"),
    "an unknown setting of training": (
        {"training": {"rate": 1}}, "training.rate", "'rate' is not a setting of [training] of a sweep: choose among batch_size"
    ),
    "an unknown setting of evaluation": ({"evaluation": {"psi": 1}}, "evaluation.psi", "'psi' is not a setting of [evaluation]"),
    "training as a number": ({"training": 3}, "training", "training is 3: give a table of settings"),
    "learning rate 0": ({"training": {"learning_rate": 0}}, RATE, "learning rate in [training] is 0: give a number above 0"),
    "an infinite learning rate": ({"training": {"learning_rate": math.inf}}, RATE, "learning rate in [training] is inf"),
    "a learning rate that is no number": (
        {"training": {"learning_rate": math.nan}}, RATE, "learning rate in [training] is nan: give a finite number"
    ),
    "a learning rate as text": ({"training": {"learning_rate": "1e-3"}}, RATE, "is '1e-3': give a number"),
    "a switch as a number": ({"together": 1}, "together", "together is 1: give true or false"),
    "a long warm-up": ({"steps": 10, "training": {"warmup_steps": 10}}, "training.warmup_steps", "is 10 of 10 steps: give fewer"),
    "dropout in a group": ({"training": {"dropout": 0.1}}, "together", "dropout is set, which students trained together cannot have"),
    "a U-Net in a group": ({"sizes": ["unet-24"]}, "together", "size unet-24 is trained one by one"),
    "the denoiser's objective in a group": ({"objective": "denoiser"}, "together", "taught one by one"),
    "one noise": ({"evaluation": {"num_noises": 1}}, "evaluation.num_noises", "number of noises in [evaluation] is 1: give at least 2"),
    "noises of training sets": ({"evaluation": {"seed": 2**24 - 5}}, "evaluation", "leave the evaluation range"),
    "a descriptor that needs a file": ({"evaluation": {"descriptor": "sscd"}}, "evaluation", "descriptor is sscd, which needs a file"),
    "an unknown solver": ({"evaluation": {"solver": "rk45"}}, "evaluation", "solver is 'rk45': choose one of heun"),
    "no solver step": ({"evaluation": {"steps": 0}}, "evaluation.steps", "steps in [evaluation] is 0: give a whole number from 1 to 4,096"),
    "solver steps in words": ({"evaluation": {"steps": "many"}}, "evaluation.steps", "is 'many': give a whole number"),
    "solver steps as text": ({"evaluation": {"steps": "9"}}, "evaluation.steps", "from 1 to 4,096, or auto"),
    "solver steps as a switch": ({"evaluation": {"steps": True}}, "evaluation.steps", "steps in [evaluation] is True"),
    "solver steps as a fraction": ({"evaluation": {"steps": 9.5}}, "evaluation.steps", "steps in [evaluation] is 9.5"),
    "a list of solver steps": ({"evaluation": {"steps": [18]}}, "evaluation.steps", "steps in [evaluation] is [18]"),
    "the diagnostic map in words": ({"diagnostic_map": "yes"}, "diagnostic_map", "diagnostic map is 'yes': give true or false"),
    "an unknown device": ({"device": "tpu"}, "device", "device is 'tpu'"),
    "another kind of run": ({"kind": "evaluate"}, "kind", "kind is 'evaluate': give 'sweep'"),
}  # fmt: skip


def config(**changes: Any) -> SweepConfig:
    return SweepConfig.parse(GIVEN | changes)


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_one_sentence_with_the_field_at_fault(name: str) -> None:
    changes, field, sentence = BAD[name]
    with pytest.raises(InputError) as caught:
        config(**changes)
    assert sentence in str(caught.value)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["experiment", "name", "teacher", "sizes", "num_samples"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is missing"):
        SweepConfig.parse({key: value for key, value in GIVEN.items() if key != name})


FILES: dict[str, tuple[bytes | None, str]] = {
    "no TOML": (b"steps = = 5", "is no valid TOML (Invalid value"),
    "no UTF-8": (b"name = '\xff\xfe'", "cannot be read (no UTF-8 text)"),
    "nested without end": (b"a = " + b"[" * 100_000, "is no valid TOML (it is nested too deeply)"),
    "a huge file": (b"#" * (2**18 + 1), "is larger than a spec can be (256 KiB)"),
    "a missing file": (None, "cannot be read (No such file or directory)"),
    "an empty file": (b"", "experiment is missing"),
    "unknown keys": (spec_text(SweepConfig.parse(GIVEN)).encode() + b"[training]\nspeed = 9", "'speed' is not a setting of [training]"),
    "an unknown size": (spec_text(SweepConfig.parse(GIVEN)).replace("mlp-32", "mlp-31").encode(), "size is 'mlp-31'"),
    "a teacher that is not there": (
        spec_text(SweepConfig.parse(GIVEN)).replace("digits-teacher", "no-teacher").encode(),
        "there is no folder",
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["--json", "--queue", "--dry-run"])
def test_a_bad_file_ends_the_command_with_status_2_and_one_line(
    name: str, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    content, sentence = FILES[name]
    path = tmp_path / "spec.toml"
    if content is not None:
        path.write_bytes(content)
    assert main(["sweep", str(path), how]) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    (line,) = answer.err.splitlines()
    assert sentence in line
    assert list_runs(Workspace.from_environment()) == []


def test_a_name_that_is_no_spec_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "scalign"]) == 2
    assert (
        "spec is 'scalign': name one of bias-variance, bias-variance-gpu, scaling, scaling-gpu, training-dynamics, training-dynamics-gpu"
        in capsys.readouterr().err
    )


def test_every_size_with_every_n_and_every_seed_is_one_student() -> None:
    students = list(config().students())
    assert len(students) == config().num_students == 12
    assert len({student.name for student in students}) == 12
    assert students[0].name == "mlp-32 N=16 seed 0"


def test_nested_sets_are_the_first_samples_of_their_seeds_block() -> None:
    nested = config()
    for seed in (0, 1, 2):
        small, large = nested.samples_of(16, seed), nested.samples_of(64, seed)
        assert (len(small), len(large)) == (16, 64)
        assert small.start == large.start == TRAINING_SEEDS.start + 64 * seed
    assert nested.drawn() == [nested.samples_of(64, seed) for seed in (0, 1, 2)]


def test_disjoint_sets_share_no_sample_between_seeds_and_values_of_n() -> None:
    disjoint = config(sets="disjoint")
    sets = [disjoint.samples_of(n, seed) for n in (16, 64) for seed in (0, 1, 2)]
    assert len({sample for samples in sets for sample in samples}) == 3 * (16 + 64)
    assert sorted(map(str, disjoint.drawn())) == sorted(map(str, sets))
    assert {s.samples for s in disjoint.students() if s.size == "mlp-32"} == {s.samples for s in disjoint.students() if s.size == "mlp-64"}


def test_groups_hold_every_student_once_and_one_size_each_the_largest_first() -> None:
    groups = config(group_size=4).groups()
    assert [group.id for group in groups] == ["mlp-64-0", "mlp-64-1", "mlp-32-0", "mlp-32-1"]
    assert [len(group.students) for group in groups] == [4, 2, 4, 2]
    assert {student.name for group in groups for student in group.students} == {student.name for student in config().students()}
    assert all(len({student.size for student in group.students}) == 1 for group in groups)


def test_a_decomposition_has_all_seeds_of_one_size_and_n_in_one_group() -> None:
    for group in config(experiment="bias-variance", group_size=2).groups():
        assert len({(student.size, student.num_samples) for student in group.students}) == 1
        assert [student.seed for student in group.students] == [0, 1, 2]


def test_measured_steps_are_log_spaced_and_end_with_the_last() -> None:
    assert config(steps=50).measured_steps() == [50]
    steps = config(steps=10_000, checkpoints=5, first_checkpoint=100).measured_steps()
    assert steps == [100, 316, 1000, 3162, 10_000]


@pytest.mark.parametrize("name", bundled_specs())
def test_bundled_specs_are_sound_and_say_what_they_ask(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert question_of(name).endswith("?")
    assert spec.command() == f"python -m pfd_engine sweep {name}"
    if "gpu" not in name:
        parameters = [find_rung(size).parameters for size in spec.sizes]
        assert len(spec.seeds) >= (3 if spec.experiment == "scaling" else 8)
        if spec.experiment == "scaling":
            assert max(parameters) >= 30 * min(parameters)
            assert len(spec.num_samples) >= 9


def test_a_bundled_teacher_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (Path(load_spec("scaling").teacher) / "config.json").is_file()


def test_the_text_of_a_sweep_reads_as_the_same_sweep(tmp_path: Path) -> None:
    made = config(
        sets="disjoint", checkpoints=4, together=False, training={"learning_rate": 3e-4, "dropout": 0.1, "flips": True},
        evaluation={"num_noises": 64, "solver": "euler"}, device="cpu",
    )  # fmt: skip
    (tmp_path / "made.toml").write_text(spec_text(made))
    assert load_spec(str(tmp_path / "made.toml")) == made
    assert name_of(made) is None
    assert shlex.split(made.command())[-1] == "./tiny.toml"
    assert parse_config(made.model_dump(mode="json")) == made


def test_specs_need_no_torch() -> None:
    script = (
        "import sys; from pfd_engine.configs.sweep_files import load_spec; import pfd_engine.planning.sweep, pfd_engine.cli.main;"
        "load_spec('scaling').groups(); print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


def test_solver_steps_that_are_chosen_later_go_through_files_and_18_is_the_default() -> None:
    assert config().evaluation.steps == config().evaluation.first_steps == 18
    made = config(evaluation={"steps": "auto"}, diagnostic_map=True)
    assert made.evaluation.first_steps == 18
    text = spec_text(made)
    assert 'steps = "auto"' in text
    assert "diagnostic_map = true" in text
    assert SweepConfig.parse(parse_toml(text, "spec")) == made
    assert made.with_solver_steps(36) == config(evaluation={"steps": 36}, diagnostic_map=True)
    assert parse_config(made.model_dump(mode="json")) == made


def test_the_experiment_whose_students_hardly_see_low_noise_levels_measures_the_diagnostic_map() -> None:
    assert [name for name in bundled_specs() if load_spec(name).diagnostic_map] == ["training-dynamics"]
