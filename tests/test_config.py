"""Configuration and references: what is accepted, and the sentence for what is not."""

import shlex
import subprocess
import sys

import pytest

from pfd_engine import EvaluateConfig, InputError
from pfd_engine.hub.references import FolderReference, HubReference, parse_reference

PAIR = {"teacher": "owner/teacher@v1", "student": "./student"}


def test_defaults_are_those_of_the_command_line():
    config = EvaluateConfig.parse(PAIR)
    assert (config.num_noises, config.steps, config.solver, config.descriptor, config.seed) == (1024, 18, "heun", "pixel", 0)
    assert config.target_relative_error is None


def test_equal_configurations_share_a_hash_and_others_do_not():
    config = EvaluateConfig.parse(PAIR)
    assert config.hash == EvaluateConfig.parse(dict(reversed(PAIR.items())) | {"num_noises": 1024}).hash
    assert config.hash != EvaluateConfig.parse(PAIR | {"num_noises": 1025}).hash
    assert EvaluateConfig.model_validate_json(config.canonical) == config


def test_command_line_names_what_differs_from_the_defaults():
    config = EvaluateConfig.parse(PAIR | {"student": "./a folder", "num_noises": 64, "allow_torchscript": True})
    words = shlex.split(config.command())
    assert words[4:] == ["--teacher", "owner/teacher@v1", "--student", "./a folder", "--noises", "64", "--allow-torchscript"]


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"num_noises": 0}, "num_noises", "number of noises is 0: give a whole number from 2 to 16,777,216"),
        ({"num_noises": 10**9}, "num_noises", "number of noises is 1000000000"),
        ({"num_noises": 2.5}, "num_noises", "number of noises is 2.5: give a whole number"),
        ({"solver": "rk45"}, "solver", "solver is 'rk45': choose one of heun, euler, dpmpp_2m"),
        ({"descriptor": "inception"}, "descriptor", "descriptor is 'inception': choose one of pixel, dinov2, sscd"),
        ({"steps": 0}, "steps", "number of steps is 0"),
        ({"steps": "autto"}, "steps", "steps is 'autto': give a whole number or 'auto'"),
        ({"batch_size": 2.5}, "batch_size", "batch size is 2.5: give a whole number or 'auto'"),
        ({"student_steps": -1}, "student_steps", "number of student steps is -1"),
        ({"batch_size": 0}, "batch_size", "batch size is 0"),
        ({"device": "tpu"}, "device", "device is 'tpu': give auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "device", "device is 'cuda:x'"),
        ({"device": "cuda:"}, "device", "device is 'cuda:'"),
        ({"device": "cpu:0"}, "device", "device is 'cpu:0'"),
        ({"device": "cuda:300"}, "device", "device is 'cuda:300'"),
        ({"device": "cuda:\u0663"}, "device", "device is 'cuda:\u0663'"),
        ({"device": "cuda:" + "9" * 60}, "device", "give auto, cpu, cuda or cuda:N"),
        ({"sigma_min": -1.0}, "sigma_min", "sigma is -1.0"),
        ({"sigma_max": float("inf")}, "sigma_max", "sigma is inf"),
        ({"sigma_min": 5.0, "sigma_max": 1.0}, "sigma_min", "sigma_min 5.0 is not below sigma_max 1.0"),
        ({"seed": -1}, "seed", "seed is -1"),
        ({"seed": 2**24 - 10, "num_noises": 100}, "seed", "leave the evaluation range"),
        ({"target_relative_error": 2.0}, "target_relative_error", "target relative error is 2.0"),
        ({"teacher": "no-slash"}, "teacher", "'no-slash' is no reference"),
        ({"teacher": ""}, "teacher", "teacher is '': give a text"),
        ({"num_noises": "abc"}, "num_noises", "number of noises is 'abc': give a whole number"),
        ({"student": "../up\0"}, "student", "NUL"),
        ({"noises": 3}, "noises", "'noises' is not a setting"),
    ],
)
def test_bad_settings_get_one_sentence_and_their_field(change, field, sentence):
    with pytest.raises(InputError) as caught:
        EvaluateConfig.parse(PAIR | change)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.field == field


def test_missing_student_is_named():
    with pytest.raises(InputError, match="student is missing"):
        EvaluateConfig.parse({"teacher": "a/b"})


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("google/ddpm-cifar10-32", HubReference("google/ddpm-cifar10-32", None)),
        ("o/n@refs/pr/1", HubReference("o/n", "refs/pr/1")),
        ("o/n@0123456789abcdef0123456789abcdef01234567", HubReference("o/n", "0123456789abcdef0123456789abcdef01234567")),
    ],
)
def test_hub_references(reference, expected):
    assert parse_reference(reference) == expected


@pytest.mark.parametrize("reference", ["./x", "/x", "~/x", "../x", "."])
def test_paths_start_like_paths(reference):
    assert isinstance(parse_reference(reference), FolderReference)


@pytest.mark.parametrize(
    "reference", ["x", "a/b/c", "a/../b", "http://host/a/b", "a/b@", "a b/c", "a/b;rm", "a/b@x y", "-a/b", "a/" + "b" * 200]
)
def test_what_is_no_reference_is_refused(reference):
    with pytest.raises(ValueError, match="owner/name"):
        parse_reference(reference)


def test_importing_the_package_loads_no_torch():
    script = "import sys, pfd_engine; print('torch' in sys.modules); pfd_engine.noise; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == ["False", "True"]


def test_every_public_name_exists():
    import pfd_engine

    for name in pfd_engine.__all__:
        assert getattr(pfd_engine, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pfd_engine.nothing  # noqa: B018
