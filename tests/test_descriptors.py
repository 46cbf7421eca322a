"""Descriptors: real networks from real files, and the gate before code."""

import hashlib

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from pfd_engine import InputError
from pfd_engine.measure.descriptors import descriptor_names, load_descriptor


def test_descriptors_are_found_by_their_files():
    assert descriptor_names() == ["pixel", "dinov2", "sscd"]


def test_pixel_is_the_identity():
    images = torch.randn(3, 1, 4, 4)
    assert torch.equal(load_descriptor("pixel")(images), images.flatten(1))


def test_unknown_descriptor_is_refused():
    with pytest.raises(InputError, match="choose one of pixel, dinov2, sscd"):
        load_descriptor("inception")


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    return folder


def test_dinov2_reads_images_as_it_was_trained_to(dinov2_folder):
    descriptor = load_descriptor("dinov2", file=str(dinov2_folder))
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    features = descriptor(images)
    assert features.shape == (2, 24)
    network = Dinov2Model.from_pretrained(dinov2_folder).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    resized = (
        torch.nn.functional.interpolate((images + 1) / 2, (224, 224), mode="bicubic", antialias=True).clamp(0, 1).expand(-1, 3, -1, -1)
    )
    torch.testing.assert_close(features, network((resized - mean) / std).pooler_output, atol=1e-5, rtol=1e-5)
    assert descriptor.sha256 == hashlib.sha256((dinov2_folder / "model.safetensors").read_bytes()).hexdigest()


def test_dinov2_weights_other_than_those_named_are_refused(dinov2_folder, tmp_path):
    with pytest.raises(InputError, match="have sha256"):
        load_descriptor("dinov2", file=str(dinov2_folder), sha256="0" * 64)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_descriptor("dinov2", file=str(tmp_path))


def test_an_image_descriptor_refuses_what_is_no_image(dinov2_folder):
    with pytest.raises(InputError, match="choose pixel"):
        load_descriptor("dinov2", file=str(dinov2_folder))(torch.zeros(2, 7))


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory):
    path = tmp_path_factory.mktemp("sscd") / "sscd.torchscript.pt"
    network = torch.nn.Sequential(torch.nn.AvgPool2d(96), torch.nn.Flatten())
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 288, 288)), str(path))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_sscd_runs_the_file_that_the_user_names(torchscript):
    path, digest = torchscript
    descriptor = load_descriptor("sscd", file=str(path), sha256=digest, allow_torchscript=True)
    features = descriptor(torch.rand(4, 3, 16, 16) * 2 - 1)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    assert features.shape == (4, 27)


def test_torchscript_is_code_and_needs_consent(torchscript, monkeypatch):
    path, digest = torchscript
    with pytest.raises(InputError, match="--allow-torchscript"):
        load_descriptor("sscd", file=str(path), sha256=digest)
    monkeypatch.setenv("PFD_MODE", "demo")
    with pytest.raises(InputError, match="on a machine of your own"):
        load_descriptor("sscd", file=str(path), sha256=digest, allow_torchscript=True)


def test_sscd_refuses_missing_and_other_files(torchscript, tmp_path):
    path, digest = torchscript

    def load(file, sha256):
        return load_descriptor("sscd", file=file, sha256=sha256, allow_torchscript=True)

    with pytest.raises(InputError, match="--descriptor-file"):
        load(None, None)
    with pytest.raises(InputError, match="is no file"):
        load(str(tmp_path / "none.pt"), digest)
    with pytest.raises(InputError, match="check where it came from"):
        load(str(path), "0" * 64)
    other = tmp_path / "other.pt"
    other.write_bytes(b"not a network")
    with pytest.raises(InputError, match="not a TorchScript file"):
        load(str(other), hashlib.sha256(b"not a network").hexdigest())
