"""Which files make up a checkpoint, by their names alone."""

import pytest

from pfd_engine.hub.layout import CheckpointError, choose_files

UNET = "unet/diffusion_pytorch_model"
PIPELINE = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"]


@pytest.mark.parametrize(
    ("names", "folder", "weights", "label"),
    [
        ([*PIPELINE, f"{UNET}.safetensors"], "unet", [f"{UNET}.safetensors"], "as published"),
        ([*PIPELINE, f"{UNET}.safetensors", f"{UNET}.bin", f"{UNET}.fp16.safetensors"], "unet", [f"{UNET}.safetensors"], "as published"),
        ([*PIPELINE, f"{UNET}.safetensors", f"{UNET}.non_ema.safetensors"], "unet", [f"{UNET}.safetensors"], "ema"),
        ([*PIPELINE, f"{UNET}.safetensors", f"{UNET}.ema.safetensors"], "unet", [f"{UNET}.ema.safetensors"], "ema"),
        ([*PIPELINE, f"{UNET}.non_ema.safetensors"], "unet", [f"{UNET}.non_ema.safetensors"], "raw"),
        ([*PIPELINE, f"{UNET}.fp16.safetensors"], "unet", [f"{UNET}.fp16.safetensors"], "as published, fp16"),
        (
            [*PIPELINE, f"{UNET}-00001-of-00002.safetensors", f"{UNET}-00002-of-00002.safetensors", f"{UNET}.fp16.safetensors"],
            "unet",
            [f"{UNET}-00001-of-00002.safetensors", f"{UNET}-00002-of-00002.safetensors"],
            "as published",
        ),
        (["config.json", "model.safetensors", "training_set.json", "samples.safetensors"], "", ["model.safetensors"], "as published"),
        (
            ["model_index.json", "config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors", "model.safetensors"],
            "",
            ["diffusion_pytorch_model.safetensors"],
            "as published",
        ),
    ],
)
def test_one_set_of_weights_is_chosen_and_named(names, folder, weights, label):
    layout = choose_files(names, "acme/model")
    assert (layout.network_folder, list(layout.weight_files), layout.weights) == (folder, weights, label)
    assert set(layout.json_files) <= set(names)
    assert "samples.safetensors" not in layout.json_files + layout.weight_files


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "has no config"),
        (["config.json", "pytorch_model.bin"], "only pickled weights"),
        (["config.json"], "no safetensors weights"),
        (["model_index.json", f"{UNET}.safetensors"], "no network config"),
        (["model_index.json", "transformer/config.json", "transformer/model.safetensors"], "transformer pipeline"),
        ([*PIPELINE, f"{UNET}-00001-of-00003.safetensors"], "1 of 3 weight shards"),
    ],
)
def test_what_is_no_checkpoint_gets_one_sentence(names, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        choose_files(names, "acme/model")
