"""Diffusers' unconditional `UNet2DModel`: its configuration checked without torch, and the network built from safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pfd_engine.hub.layout import CheckpointError, read_json

if TYPE_CHECKING:
    from torch import nn

    from pfd_engine.hub.snapshot import Snapshot

MAX_PARAMETERS = 5 * 10**9
_BLOCKS = ("", "Attn", "Skip", "AttnSkip")
DOWN_BLOCKS = {*(f"{kind}DownBlock2D" for kind in _BLOCKS), "ResnetDownsampleBlock2D"}
UP_BLOCKS = {*(f"{kind}UpBlock2D" for kind in _BLOCKS), "ResnetUpsampleBlock2D"}

Side = Annotated[int, Field(ge=1, le=2048)]
Channels = Annotated[int, Field(ge=1, le=8192)]
Groups = Annotated[int, Field(ge=1, le=8192)]
Model = TypeVar("Model", bound=BaseModel)


class UNetConfig(BaseModel):
    """The settings of `UNet2DModel` that build it, each within limits; anything else in the file is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sample_size: Side | tuple[Side, Side]
    in_channels: Annotated[int, Field(ge=1, le=64)] = 3
    out_channels: Annotated[int, Field(ge=1, le=128)] = 3
    center_input_sample: bool = False
    time_embedding_type: Literal["positional", "fourier"] = "positional"
    time_embedding_dim: Annotated[int, Field(ge=1, le=32768)] | None = None
    freq_shift: Annotated[int, Field(ge=-16, le=16)] = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = Field(
        ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"), min_length=1, max_length=12, fail_fast=True
    )
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = Field(
        ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"), min_length=1, max_length=12, fail_fast=True
    )
    block_out_channels: tuple[Channels, ...] = Field((224, 448, 672, 896), min_length=1, max_length=12, fail_fast=True)
    layers_per_block: Annotated[int, Field(ge=1, le=16)] = 2
    mid_block_scale_factor: Annotated[float, Field(gt=0, le=100)] = 1.0
    downsample_padding: Annotated[int, Field(ge=0, le=4)] = 1
    downsample_type: Literal["conv", "resnet"] = "conv"
    upsample_type: Literal["conv", "resnet"] = "conv"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    attention_head_dim: Channels | None = 8
    norm_num_groups: Groups | None = 32
    attn_norm_num_groups: Groups | None = None
    norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return one sample's shape `(C, H, W)`."""
        side = self.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return (self.in_channels, height, width)

    def estimated_parameters(self) -> int:
        """Return a rough count, low rather than high, good enough to refuse absurd sizes before anything is built."""
        blocks = sum((2 * self.layers_per_block + 1) * 18 * width**2 for width in self.block_out_channels)
        return blocks + 18 * self.block_out_channels[-1] ** 2


def read_unet(snapshot: Snapshot, *, outputs_per_channel: tuple[int, ...] = (1,), fourier: bool = False) -> UNetConfig:
    """Read and check the network's configuration and, where there is one, the pipeline's index.

    `outputs_per_channel` are the allowed ratios of output to input channels (2 where the variance is learned as well);
    `fourier` is whether a Fourier time embedding, which divides the output by the time, has a meaning here.
    Raises CheckpointError with one sentence.
    """
    what = snapshot.reference
    check_pipeline(snapshot.path, what)
    values = read_json(snapshot.path / snapshot.layout.network_config)
    kind = values.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise CheckpointError(
            f"{what} has a network of class {str(kind)[:60]}: only unconditional UNet2DModel networks and our own are read"
        )
    if values.get("num_class_embeds") is not None or values.get("class_embed_type") is not None:
        raise CheckpointError(f"{what} is class-conditional, which is not supported yet: choose an unconditional checkpoint")
    if values.get("sample_size") is None:
        raise CheckpointError(f"{what} does not state its sample_size: add it to {snapshot.layout.network_config}")
    unet = validated(UNetConfig, values, what, snapshot.layout.network_config)
    problem = _problem(unet, outputs_per_channel, fourier)
    if problem is not None:
        raise CheckpointError(f"{what} has an unusable {snapshot.layout.network_config}: {problem}")
    return unet


def _problem(unet: UNetConfig, outputs_per_channel: tuple[int, ...], fourier: bool) -> str | None:
    depth = len(unet.block_out_channels)
    if not len(unet.down_block_types) == len(unet.up_block_types) == depth:
        return "down_block_types, up_block_types and block_out_channels differ in length"
    unknown = [*({*unet.down_block_types} - DOWN_BLOCKS), *({*unet.up_block_types} - UP_BLOCKS)]
    if unknown:
        return f"block type {unknown[0][:60]} is none of an unconditional U-Net's"
    if any(side % 2 ** (depth - 1) for side in unet.shape[1:]):
        return f"sample_size {unet.shape[1]}x{unet.shape[2]} cannot be halved {depth - 1} times"
    if unet.out_channels not in [ratio * unet.in_channels for ratio in outputs_per_channel]:
        return f"it has {unet.in_channels} input and {unet.out_channels} output channels, which no prediction of this family fits"
    if unet.time_embedding_type == "fourier" and not fourier:
        return "its Fourier time embedding belongs to ScoreSdeVe models, but its scheduler is another"
    if unet.estimated_parameters() > MAX_PARAMETERS:
        return f"it would have about {unet.estimated_parameters():.1e} parameters, more than {MAX_PARAMETERS:.0e}"
    return None


def check_pipeline(path: Path, what: str) -> None:
    """Check that a pipeline, where there is an index of one, consists of a U-Net and a scheduler of diffusers alone."""
    if not (path / "model_index.json").exists():
        return
    index = read_json(path / "model_index.json")
    parts = {name: value for name, value in index.items() if not name.startswith("_") and isinstance(value, list) and any(value)}
    if {"text_encoder", "tokenizer", "prompt_encoder"} & {*parts}:
        raise CheckpointError(f"{what} is a text-to-image pipeline, which is not supported yet: choose an unconditional checkpoint")
    if {"vae", "vqvae", "movq"} & {*parts}:
        raise CheckpointError(f"{what} works in the latent space of an autoencoder, which is not supported yet: choose a pixel model")
    extra = sorted({*parts} - {"unet", "scheduler"})
    if extra or "unet" not in parts:
        found = f"a part {extra[0][:60]}" if extra else "no unet"
        raise CheckpointError(f"{what} is a pipeline with {found}: only a U-Net with a scheduler is read")
    if any(value[0] != "diffusers" for value in parts.values()):
        raise CheckpointError(f"{what} needs code of its own, which is never run: choose a checkpoint of diffusers' own classes")


def validated(model: type[Model], values: dict[str, Any], what: str, file: str) -> Model:
    """Build a configuration from untrusted JSON; raises CheckpointError with one sentence that names the setting at fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if not isinstance(part, str) or "[" not in part) or "it"
        given = "" if isinstance(first["input"], dict) else f" {str(first['input'])[:40]}"
        raise CheckpointError(
            f"{what} has an unusable {file}: {name}{given} is refused ({first['msg'][0].lower()}{first['msg'][1:]})"
        ) from None


def build_unet(config: UNetConfig, snapshot: Snapshot, device: str) -> nn.Module:
    """Build the network on `device` in float32 with the snapshot's weights, in evaluation mode and without gradients."""
    import torch
    from diffusers import UNet2DModel

    from pfd_engine.models.weights import load_weights

    try:
        with torch.device("meta"):
            network = UNet2DModel.from_config(config.model_dump(mode="json"))
    except (ValueError, TypeError, NotImplementedError, RuntimeError, ZeroDivisionError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
        raise CheckpointError(f"{snapshot.reference} has a configuration that builds no U-Net: {reason}") from None
    return load_weights(network, snapshot, device)
