"""Our own checkpoint folders: saved and loaded to the bit, checked before memory is spent, replaced in one step."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pfd_engine.errors import InputError, RunError
from pfd_engine.flow.denoisers import EDMPrecondition
from pfd_engine.hub.resolve import resolve
from pfd_engine.models.families import load_denoiser, load_map
from pfd_engine.models.families.own import MLPOptions, OwnConfig, describe, save_denoiser
from pfd_engine.models.networks.own import build_network
from pfd_engine.workspace import REPOSITORY

SHAPE = (1, 4, 4)


def config(**changes: Any) -> OwnConfig:
    values = {"network": MLPOptions(width=16, blocks=2), "sigma_data": 0.5, "shape": SHAPE, "license": "apache-2.0"}
    return OwnConfig(**values | changes)


def network(seed: int = 0) -> torch.nn.Module:
    built = build_network("mlp", SHAPE, {"width": 16, "blocks": 2}, seed=seed)
    torch.nn.init.normal_(built.output.weight, generator=torch.Generator().manual_seed(seed))  # type: ignore[union-attr, arg-type]
    return built


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_denoiser(tmp_path / "model", network(), config(metadata={"size": "tiny", "step": 7}), card="# A card\n")
    return tmp_path / "model"


def rewrite(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_was_saved_denoises_to_the_same_bits(folder: Path, dtype: torch.dtype) -> None:
    original, loaded = EDMPrecondition(network(), 0.5, SHAPE), load_denoiser(str(folder))
    x = torch.randn(5, *SHAPE, dtype=dtype)
    for sigma in (0.002, 1.0, 80.0, torch.linspace(0.01, 50, 5)):
        with torch.inference_mode():
            assert torch.equal(loaded(x, sigma), original(x, sigma))
    assert loaded(x, 1.0).dtype == dtype


def test_a_loaded_denoiser_states_what_is_known_of_it(folder: Path) -> None:
    loaded = load_denoiser(str(folder))
    assert (loaded.family, loaded.shape, loaded.sigma_min, loaded.sigma_max) == ("mlp", SHAPE, 0.002, 80.0)
    assert loaded.num_parameters == sum(p.numel() for p in network().parameters())
    assert (loaded.weights, loaded.license, loaded.metadata) == ("ema", "apache-2.0", {"size": "tiny", "step": 7})
    assert loaded.training_set_reference is None
    assert load_map(folder).network_calls == 35


def test_a_folder_with_a_training_set_names_itself(tmp_path: Path) -> None:
    save_denoiser(tmp_path / "student", network(), config(), training_set={"format": "pfd-training-set"})
    assert load_denoiser(str(tmp_path / "student")).training_set_reference == str(tmp_path / "student")


def test_content_key_and_revision_change_with_the_weights(folder: Path, tmp_path: Path) -> None:
    save_denoiser(tmp_path / "same", network(), config(metadata={"size": "tiny", "step": 7}))
    save_denoiser(tmp_path / "other", network(seed=1), config(metadata={"size": "tiny", "step": 7}))
    first, same, other = (load_denoiser(str(path)) for path in (folder, tmp_path / "same", tmp_path / "other"))
    assert first.content_key == same.content_key != other.content_key
    assert first.revision == same.revision != other.revision


def test_saving_again_replaces_the_folder_and_leaves_nothing_else(folder: Path) -> None:
    save_denoiser(folder, network(seed=1), config())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert torch.equal(load_file(folder / "model.safetensors")["output.weight"], network(seed=1).state_dict()["output.weight"])


def test_a_failed_save_keeps_the_old_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        save_denoiser(folder, network(seed=1), config())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(RunError, match="no checkpoint"):
        save_denoiser(tmp_path / "thesis", network(), config())
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network": {"width": 10**9}}, "network.width is 1000000000"),
        ({"network": {"width": 8192, "blocks": 64}}, "above the limit of 200,000,000"),
        ({"network": {"width": 16, "depth": 3}}, "network.depth"),
        ({"network": {"width": "wide"}}, "network.width is 'wide'"),
        ({"shape": [10**6, 10**6, 10**6]}, "above the limit"),
        ({"shape": []}, "shape is"),
        ({"shape": [1, -8, 8]}, "shape.1 is -8"),
        ({"shape": [10**400]}, "input should be less than or equal to 200000000"),
        ({"shape": [10**4000] * 4}, "input should be less than or equal to 200000000"),
        ({"sigma_data": 0}, "sigma_data is 0"),
        ({"sigma_data": 1e-9}, "sigma_data is 1e-09, input should be greater than or equal to 0.001"),
        ({"sigma_data": 1e9}, "sigma_data is 1000000000.0, input should be less than or equal to 1000"),
        ({"sigma_data": float("nan")}, "sigma_data is nan"),
        ({"sigma_min": 90.0}, "sigma_min 90.0 is not below sigma_max"),
        ({"family": "resnet"}, "family is 'resnet'"),
        ({"format_version": 2}, "format_version is 2"),
        ({"code": "import os"}, "code is"),
        ({"metadata": {"note": "x" * 20_000}}, "metadata is longer"),
    ],
)
def test_a_bad_config_is_refused_in_one_sentence(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(InputError, match=r"config\.json does not describe a denoiser") as caught:
        load_denoiser(str(folder))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_configs_are_checked_without_torch(folder: Path) -> None:
    script = (
        "import sys; from pfd_engine.hub.resolve import resolve; from pfd_engine.models.families import own\n"
        f"print(own.describe(resolve({str(folder)!r})).shape, 'torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "(1, 4, 4) False"
    assert describe(resolve(str(folder))).family == "mlp"


def test_damaged_weights_are_refused_in_one_sentence(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole, tensors = path.read_bytes(), load_file(path)
    for kept in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match="truncated"):
            load_denoiser(str(folder))
    for damage, sentence in (
        ({"input.bias": tensors["input.bias"].fill_(float("nan"))}, "NaN"),
        ({"input.bias": torch.zeros(17)}, "shape"),
        ({"extra.bias": torch.zeros(1)}, "extra.bias"),
        ({"input.bias": None}, "lacks 1 of"),
    ):
        damaged = {name: value for name, value in (load_tensors(whole) | damage).items() if value is not None}
        save_file(damaged, path)
        with pytest.raises(InputError, match=sentence) as caught:
            load_denoiser(str(folder))
        assert "\n" not in str(caught.value)


def load_tensors(content: bytes) -> dict[str, Any]:
    from safetensors.torch import load

    return load(content)


def test_weights_of_another_size_are_refused_before_the_network_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(folder, network={"width": 4000, "blocks": 6})

    def allocate(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the network was built")

    monkeypatch.setattr("pfd_engine.models.networks.own.build_network", allocate)
    with pytest.raises(InputError, match="belongs to another model"):
        load_denoiser(str(folder))


def test_weights_under_diffusers_name_are_read_too(folder: Path) -> None:
    expected = load_denoiser(str(folder))(torch.ones(1, *SHAPE), 1.0)
    (folder / "model.safetensors").rename(folder / "diffusion_pytorch_model.safetensors")
    assert torch.equal(load_denoiser(str(folder))(torch.ones(1, *SHAPE), 1.0), expected)
