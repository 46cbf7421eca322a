"""Inspecting a checkpoint: no weights, no torch, no exception for a bad model."""

import subprocess
import sys

import pytest

from pfd_engine.errors import InputError
from pfd_engine.hub.download import cache_folder
from pfd_engine.models.inspect import inspect
from tests.hub_server import REPOSITORY, make_family_folder
from tests.hub_stub import SHA, HubStub


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_remote_checkpoint_is_described_by_the_first_bytes_of_its_weights(tmp_path, monkeypatch):
    files = files_of(make_family_folder("ddpm", tmp_path / "model", block_out_channels=(64, 256), layers_per_block=2))
    weights = "unet/diffusion_pytorch_model.safetensors"
    with HubStub(files, chunk_seconds=0.001) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.endpoint)
        info = inspect("acme/model@main")
        sent = stub.wait_for(weights)
    assert (info.reference, info.revision, info.license, info.family, info.shape) == ("acme/model", SHA, "mit", "vp", (1, 8, 8))
    assert (info.loadable, info.size_bytes) == (True, len(files[weights]))
    assert info.parameters == pytest.approx(len(files[weights]) / 4, rel=0.01)
    assert sent < len(files[weights]) / 2
    assert not list(cache_folder().rglob("*.safetensors"))


def test_a_remote_truncated_file_is_noticed_without_downloading_it(tmp_path, monkeypatch):
    files = files_of(make_family_folder("ddpm", tmp_path / "model"))
    weights = "unet/diffusion_pytorch_model.safetensors"
    with HubStub({**files, weights: files[weights][:-100]}) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.endpoint)
        info = inspect("acme/model")
    assert not info.loadable
    assert "truncated or corrupted" in info.reason
    assert info.family == "vp"


def test_a_repository_without_a_checkpoint_is_described_with_its_revision(monkeypatch):
    with HubStub({"README.md": b"nothing", "model.bin": b"pickle", "config.json": b"{}"}) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.endpoint)
        info = inspect("acme/model")
    assert (info.loadable, info.revision, info.license) == (False, SHA, "mit")
    assert "only pickled weights" in info.reason


@pytest.mark.parametrize("reference", ["not a reference", "./nowhere", "acme/model"])
def test_a_reference_that_names_nothing_is_an_error(reference):
    with pytest.raises(InputError):
        inspect(reference)


def test_inspection_imports_neither_torch_nor_diffusers(tmp_path):
    folders = [str(make_family_folder(family, tmp_path / family)) for family in ("own", "ddpm", "consistency")]
    script = (
        "import sys\nfrom pfd_engine.models.inspect import inspect\n"
        f"assert all(inspect(folder).loadable for folder in {folders!r})\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'streamlit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
