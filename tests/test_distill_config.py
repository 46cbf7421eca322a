"""The configuration of a distillation: what it takes, what it refuses in one sentence, and the command that does the same."""

import json
import math
import shlex
import subprocess
import sys
from typing import Any

import pytest

from pfd_engine.cli.distill import OPTIONS, distill_config
from pfd_engine.cli.main import _parser
from pfd_engine.configs.distill import DistillConfig
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.errors import InputError
from pfd_engine.planning.distillation_checks import check_output
from pfd_engine.runs.folder import parse_config
from pfd_engine.workspace import REPOSITORY

GIVEN = {"teacher": "someone/teacher", "size": "mlp-128"}


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"num_samples": 0}, "num_samples", "number of samples is 0: give a whole number from 1 to 2,097,152"),
        ({"num_samples": 10**9}, "num_samples", "number of samples is 1000000000"),
        ({"num_samples": "many"}, "num_samples", "number of samples is 'many': give a whole number"),
        ({"size": "mlp-100"}, "size", "size is 'mlp-100': choose one of mlp-32, mlp-48"),
        ({"size": "resnet-50"}, "size", "unet-24"),
        ({"objective": "gan"}, "objective", "objective is 'gan': choose one of samples, denoiser, progressive"),
        ({"steps": 0}, "steps", "number of training steps is 0"),
        ({"seed": -1}, "seed", "seed is -1"),
        ({"learning_rate": 0}, "learning_rate", "learning rate is 0.0: give a positive, finite number"),
        ({"learning_rate": math.inf}, "learning_rate", "learning rate is inf"),
        ({"learning_rate": "fast"}, "learning_rate", "learning rate is 'fast': give a number"),
        ({"batch_size": 10**6}, "batch_size", "batch size is 1000000"),
        ({"clip_norm": -1}, "clip_norm", "clip norm is -1.0"),
        ({"ema": "double"}, "ema", "ema is 'double': choose one of exponential, power"),
        ({"ema_decay": 1.0}, "ema_decay", "ema decay is 1.0"),
        ({"ema_width": 0.5}, "ema_width", "ema width is 0.5"),
        ({"schedule": "linear"}, "schedule", "schedule is 'linear'"),
        ({"dropout": 1}, "dropout", "dropout is 1.0"),
        ({"p_mean": math.nan}, "p_mean", "p_mean is nan"),
        ({"p_std": 0}, "p_std", "p std is 0.0"),
        ({"precision": "float16"}, "precision", "precision is 'float16'"),
        ({"device": "tpu"}, "device", "device is 'tpu'"),
        ({"teacher": "not a reference"}, "teacher", "is no reference"),
        ({"output": ""}, "output", "output is no path"),
        ({"first_seed": 5}, "first_seed", "training noises 5 to 1028 leave the training range"),
        ({"first_seed": 2**31 - 5}, "first_seed", "leave the training range"),
        ({"student_steps": 2}, "student_steps", "student steps is 2 but a student of the objective samples follows"),
        ({"steps": 10, "warmup_steps": 10}, "warmup_steps", "warmup steps is 10 of 10 steps"),
        ({"descriptor": "sscd"}, "descriptor", "descriptor is sscd, which needs a file"),
        ({"frobnicate": 1}, "frobnicate", "'frobnicate' is not a setting of a distillation"),
        ({"solver": "rk45"}, "solver", "choose one of heun"),
        ({"num_noises": 1}, "num_noises", "number of noises is 1"),
    ],
)
def test_bad_settings_are_one_sentence(changes: dict[str, Any], field: str | None, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        DistillConfig.parse(GIVEN | changes)
    assert sentence in str(caught.value)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named() -> None:
    for name in GIVEN:
        with pytest.raises(InputError, match=f"{name} is missing"):
            DistillConfig.parse({key: value for key, value in GIVEN.items() if key != name})


def test_the_command_builds_the_same_configuration_again() -> None:
    config = DistillConfig.parse(
        GIVEN | {"objective": "consistency", "student_steps": 2, "steps": 70, "learning_rate": 1e-4, "flips": True, "num_noises": 64}
    )
    words = shlex.split(config.command())
    assert words[:4] == ["python", "-m", "pfd_engine", "distill"]
    options = _parser(words[3:]).parse_args(words[3:])
    assert distill_config(options) == config
    assert parse_config(json.loads(config.canonical)) == config


def test_every_setting_has_an_option() -> None:
    assert {name for name, _, _ in OPTIONS} == set(DistillConfig.model_fields) - {"kind"}


def test_presets_suit_their_objectives() -> None:
    for name, preset in OBJECTIVES.items():
        config = DistillConfig.parse(GIVEN | {"objective": name})
        assert config.preset is preset
        assert config.num_samples is None  # the objective decides


def test_the_configuration_needs_no_torch() -> None:
    script = "import sys; import pfd_engine.configs.distill, pfd_engine.cli.main; print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


def test_the_folder_for_the_student_holds_nothing_else(tmp_path):
    config = DistillConfig.parse({"teacher": str(tmp_path / "teacher"), "size": "mlp-32", "num_samples": 16, "steps": 50})
    own = {"size": "mlp-32", "objective": "samples", "student_seed": 0, "num_samples": 16, "step": 50}

    def output(name: str, metadata: dict[str, object] | None) -> DistillConfig:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"metadata": metadata}))
        return config.model_copy(update={"output": str(folder)})

    check_output(output("again", own))
    check_output(config.model_copy(update={"output": str(tmp_path / "new")}))
    for name, metadata in (("teacher", own), ("other", own | {"num_samples": 64}), ("longer", own | {"step": 60}), ("strange", None)):
        with pytest.raises(InputError, match="holds another checkpoint: choose another folder"):
            check_output(output(name, metadata))
