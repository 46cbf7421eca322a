"""What cannot be measured is refused with one sentence, by the loader and by the inspection alike, before memory is spent."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from pfd_engine.errors import InputError
from pfd_engine.models.families import load_denoiser, load_map
from pfd_engine.models.inspect import inspect
from tests.hub_server import FAMILIES, REPOSITORY, make_family_folder
from tests.hub_stub import HubStub


def change(path, **values):
    """Set values of a JSON file."""
    content = json.loads(path.read_text())
    content.update(values)
    path.write_text(json.dumps(content))


def refusal(folder):
    """Return the one sentence with which the loader refuses a folder."""
    with pytest.raises(InputError) as caught:
        load_map(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


BAD_NETWORKS = {
    "enormous channels": ({"block_out_channels": [10**9, 10**9]}, "block_out_channels.0 1000000000 is refused"),
    "enormous image": ({"sample_size": 10**6}, "sample_size"),
    "enormous depth": ({"layers_per_block": 10**5}, "layers_per_block 100000 is refused"),
    "negative": ({"layers_per_block": -1}, "layers_per_block -1 is refused"),
    "too many parameters": ({"block_out_channels": [8192, 8192], "layers_per_block": 16}, "parameters, more than"),
    "text for a number": ({"in_channels": "many"}, "in_channels many is refused"),
    "infinite": ({"norm_eps": float("inf")}, "norm_eps"),
    "no size": ({"sample_size": None}, "does not state its sample_size"),
    "odd size": ({"sample_size": 7}, "cannot be halved"),
    "classes": ({"num_class_embeds": 10}, "class-conditional"),
    "class embedding": ({"class_embed_type": "timestep"}, "class-conditional"),
    "another class": ({"_class_name": "UNet2DConditionModel"}, "class UNet2DConditionModel"),
    "other outputs": ({"out_channels": 5}, "1 input and 5 output channels"),
    "unequal blocks": ({"up_block_types": ["UpBlock2D"]}, "differ in length"),
    "unknown block": ({"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "CrossAttnDownBlock2D"),
    "fourier": ({"time_embedding_type": "fourier"}, "Fourier"),
    "learned time": ({"time_embedding_type": "learned"}, "time_embedding_type learned is refused"),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_a_network_configuration_outside_the_limits_is_refused(tmp_path, name):
    values, sentence = BAD_NETWORKS[name]
    folder = make_family_folder("ddpm", tmp_path / "model")
    change(folder / "unet" / "config.json", **values)
    assert sentence in refusal(folder)
    info = inspect(str(folder))
    assert (info.loadable, info.reason) == (False, refusal(folder))


BAD_SCHEDULERS = {
    "unknown scheduler": ("ddpm", {"_class_name": "KarrasVeScheduler"}, "KarrasVeScheduler, which no adapter knows"),
    "unknown prediction": ("ddpm", {"prediction_type": "flow_prediction"}, "prediction_type flow_prediction is refused"),
    "unknown betas": ("ddpm", {"beta_schedule": "sigmoid"}, "beta_schedule sigmoid is refused"),
    "enormous time": ("ddpm", {"num_train_timesteps": 10**12}, "num_train_timesteps"),
    "falling betas": ("ddpm", {"beta_start": 0.5}, "beta_start is above beta_end"),
    "flow sigmas": ("ddpm", {"use_flow_sigmas": True}, "use_flow_sigmas"),
    "continuous time": ("ddpm", {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "timestep_type continuous"),
    "empty range": ("edm", {"sigma_min": 5.0, "sigma_max": 1.0}, "sigma_min is not below sigma_max"),
    "zero range": ("score-sde-ve", {"sigma_min": 0.0}, "sigma_min 0.0 is refused"),
    "inverted flow": ("rectified-flow", {"invert_sigmas": True}, "invert_sigmas"),
    "too many steps": ("consistency", {"num_inference_steps": 41}, "more steps than num_train_timesteps"),
}


@pytest.mark.parametrize("name", BAD_SCHEDULERS)
def test_a_scheduler_that_no_conversion_fits_is_refused(tmp_path, name):
    family, values, sentence = BAD_SCHEDULERS[name]
    folder = make_family_folder(family, tmp_path / "model")
    change(folder / "scheduler" / "scheduler_config.json", **values)
    assert sentence in refusal(folder)
    assert inspect(str(folder)).reason == refusal(folder)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"vae": ["diffusers", "AutoencoderKL"]}, "latent space"),
        ({"text_encoder": ["transformers", "CLIPTextModel"], "vae": ["diffusers", "AutoencoderKL"]}, "text-to-image"),
        ({"unet": ["my_code", "MyUNet"]}, "code of its own, which is never run"),
        ({"mel": ["diffusers", "Mel"]}, "a pipeline with a part mel"),
    ],
)
def test_other_pipelines_are_refused(tmp_path, parts, sentence):
    folder = make_family_folder("ddpm", tmp_path / "model")
    change(folder / "model_index.json", **parts)
    assert sentence in refusal(folder)


def test_a_network_without_a_scheduler_is_refused(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "model")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    assert "without a scheduler configuration" in refusal(folder)


def test_another_library_s_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "holds a model of ['BertModel']" in refusal(tmp_path)


def test_an_unusable_checkpoint_is_refused_before_its_weights_come_down(tmp_path, monkeypatch):
    folder = make_family_folder("ddpm", tmp_path / "model", num_class_embeds=10)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with HubStub(files) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.endpoint)
        with pytest.raises(InputError, match="class-conditional"):
            load_denoiser("acme/model")
    assert not [name for name, _, _ in stub.served if name.endswith(".safetensors")]


def weights_of(folder):
    return next(folder.rglob("*.safetensors"))


@pytest.mark.parametrize("family", FAMILIES)
def test_truncated_weights_are_refused(tmp_path, family):
    folder = make_family_folder(family, tmp_path / "model")
    content = weights_of(folder).read_bytes()
    weights_of(folder).write_bytes(content[: len(content) // 2])
    assert "truncated" in refusal(folder)
    assert "truncated" in inspect(str(folder)).reason


@pytest.mark.parametrize("content", [b"", b"1234", b"\xff" * 8, b"\x00" * 4096, (10**6).to_bytes(8, "little") + b"{"], ids=range(5))
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, content):
    folder = make_family_folder("ddpm", tmp_path / "model")
    weights_of(folder).write_bytes(content)
    assert "truncated or corrupted" in refusal(folder)
    assert "truncated or corrupted" in inspect(str(folder)).reason


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("family", ["ddpm", "own"])
def test_weights_that_are_not_finite_are_refused(tmp_path, family, value):
    folder = make_family_folder(family, tmp_path / "model")
    state = load_file(weights_of(folder))
    next(iter(state.values())).flatten()[0] = value
    save_file(state, weights_of(folder))
    assert "NaN or infinite weights" in refusal(folder)
    assert refusal(folder) == inspect(str(folder)).reason


def test_half_precision_weights_that_are_not_finite_are_told_before_anything_is_loaded(tmp_path):
    folder = make_family_folder("own", tmp_path / "model")
    state = {name: tensor.bfloat16() for name, tensor in load_file(weights_of(folder)).items()}
    save_file(state, weights_of(folder))
    assert inspect(str(folder)).loadable
    next(iter(state.values())).flatten()[0] = float("-inf")
    save_file(state, weights_of(folder))
    assert "NaN or infinite weights" in inspect(str(folder)).reason


def test_weights_and_configuration_must_belong_together(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "model")
    state = load_file(weights_of(folder))
    save_file({**state, "extra": torch.zeros(1)}, weights_of(folder))
    assert "a tensor extra that its configuration does not know" in refusal(folder)
    save_file({name: value for name, value in state.items() if name != "conv_in.weight"}, weights_of(folder))
    assert "lacks 1 of the" in refusal(folder)
    save_file({**state, "conv_in.weight": torch.zeros(8, 2, 3, 3)}, weights_of(folder))
    assert "conv_in.weight of shape [8, 2, 3, 3]" in refusal(folder)
    save_file({**state, "conv_in.weight": state["conv_in.weight"].to(torch.int32)}, weights_of(folder))
    assert "only floating-point weights" in refusal(folder)


def test_an_absurd_configuration_costs_no_memory(tmp_path):
    """The network asked for would take over 200 GB; refusing it takes little more than importing torch."""
    folder = make_family_folder("ddpm", tmp_path / "model")
    change(folder / "unet" / "config.json", block_out_channels=[8192, 8192], layers_per_block=16)
    script = (
        "import resource\n"
        "from pfd_engine.models.families import load_denoiser\n"
        f"try: load_denoiser({str(folder)!r})\n"
        "except Exception as error: print(type(error).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    name, kilobytes = done.stdout.split()
    assert name == "CheckpointError"
    assert int(kilobytes) < 2_000_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "model")
    with pytest.raises(InputError, match="no usable CUDA GPU"):
        load_denoiser(str(folder), device="cuda")
    assert load_denoiser(str(folder), device="auto").device.type == "cpu"


def test_steps_belong_to_few_step_models_only(tmp_path):
    with pytest.raises(InputError, match="no steps of its own") as caught:
        load_map(str(make_family_folder("ddpm", tmp_path / "model")), student_steps=2)
    assert caught.value.field == "student_steps"
    consistency = str(make_family_folder("consistency", tmp_path / "map"))
    with pytest.raises(InputError, match="takes 1 to 40"):
        load_map(consistency, student_steps=41)
    with pytest.raises(InputError, match="fixed at 80"):
        load_map(consistency, sigma_max=20.0)


def test_the_content_key_follows_weights_and_configuration(tmp_path):
    first = load_denoiser(str(make_family_folder("ddpm", tmp_path / "a")))
    same = load_denoiser(str(make_family_folder("ddpm", tmp_path / "b")))
    other_weights = load_denoiser(str(make_family_folder("ddpm", tmp_path / "c", seed=1)))
    other_betas = load_denoiser(str(make_family_folder("ddpm", tmp_path / "d", scheduler={"beta_end": 0.03})))
    assert first.content_key == same.content_key
    assert len({first.content_key, other_weights.content_key, other_betas.content_key}) == 3


def test_half_precision_weights_are_computed_in_float32(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "model")
    full = load_denoiser(str(folder))
    save_file({name: value.half() for name, value in load_file(weights_of(folder)).items()}, weights_of(folder))
    half = load_denoiser(str(folder))
    assert half.denoise.network.dtype == torch.float32
    x = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(half(x, 1.0), full(x, 1.0), rtol=1e-2, atol=1e-2)


def test_shards_are_read_together_and_missing_ones_are_noticed(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "model")
    whole = load_denoiser(str(folder))
    state = sorted(load_file(weights_of(folder)).items())
    weights_of(folder).unlink()
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file(dict(state[:40]), folder / "unet" / names[0])
    save_file(dict(state[40:]), folder / "unet" / names[1])
    x = torch.ones(1, 1, 8, 8)
    assert torch.equal(load_denoiser(str(folder))(x, 1.0), whole(x, 1.0))
    assert inspect(str(folder)).parameters == whole.num_parameters
    (folder / "unet" / names[1]).unlink()
    assert "1 of 2 weight shards" in refusal(folder)
