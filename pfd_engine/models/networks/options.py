"""What our own network families may look like: checked options that count parameters and memory without building. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FLOAT_BYTES = 4
TRAINING_COPIES = 5  # weights, gradients, two moments of Adam, the average

Count = Annotated[int, Field(ge=1, le=64)]


class NetworkOptions(BaseModel):
    """Keyword arguments of a network in `networks.NETWORKS`, within what fits into memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def count_parameters(self, shape: Sequence[int]) -> int:
        """Return the number of parameters for samples of `shape`, without building the network."""
        raise NotImplementedError

    def count_activations(self, shape: Sequence[int]) -> int:
        """Return how many values one sample of `shape` leaves behind for the backward pass, to about a tenth."""
        raise NotImplementedError

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise ValueError, with one sentence, for samples that the network cannot take."""

    def training_bytes(self, shape: Sequence[int], batch_size: int) -> int:
        """Return roughly the memory that training takes, in bytes: float32 weights with their copies, and the batch's activations."""
        parameters, activations = self.count_parameters(shape), self.count_activations(shape)
        return FLOAT_BYTES * (TRAINING_COPIES * parameters + batch_size * activations)


class MLPOptions(NetworkOptions):
    """`networks.MLP`: `blocks` residual blocks of `width`, for flat inputs."""

    width: Annotated[int, Field(ge=1, le=8192)]
    blocks: Annotated[int, Field(ge=0, le=64)] = 3
    embedding: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 32

    def count_parameters(self, shape: Sequence[int]) -> int:
        values, width = math.prod(shape), self.width
        return (values + self.embedding + 2) * width + self.blocks * (2 * width * (width + 1) + 2 * width) + values * (width + 1)

    def count_activations(self, shape: Sequence[int]) -> int:
        return 2 * math.prod(shape) + (2 + 4 * self.blocks) * self.width


class UNetOptions(NetworkOptions):
    """`networks.UNet`: levels of `width * multiplier` channels with `layers` blocks; `attention` names levels, 0 the finest."""

    width: Annotated[int, Field(ge=8, le=1024, multiple_of=8)]
    multipliers: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1, max_length=6, fail_fast=True)] = (1, 2, 2)
    layers: Annotated[int, Field(ge=1, le=8)] = 2
    attention: Annotated[tuple[Annotated[int, Field(ge=0, le=5)], ...], Field(max_length=6, fail_fast=True)] = (1,)

    @model_validator(mode="after")
    def _attention_has_its_level(self) -> Self:
        if any(level >= len(self.multipliers) for level in self.attention):
            raise ValueError(f"attention at levels {list(self.attention)}, but there are {len(self.multipliers)}, numbered from 0")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    def check_shape(self, shape: Sequence[int]) -> None:
        side = 2 ** (len(self.multipliers) - 1)
        if len(shape) != 3 or shape[1] % side or shape[2] % side or min(shape[1:]) < side:
            raise ValueError(f"samples are {by(shape)}: this U-Net takes images (C, H, W) with sides that {side} divides")

    def count_parameters(self, shape: Sequence[int]) -> int:
        image, first, last = shape[0], self.channels[0], self.channels[-1]
        time = 4 * first
        count = (first + 1) * time + (time + 1) * time + (9 * image + 1) * first + 2 * first + (9 * first + 1) * image
        for incoming, outgoing in self._blocks():
            count += 2 * incoming + (9 * incoming + 1) * outgoing + (time + 1) * outgoing + 2 * outgoing + (9 * outgoing + 1) * outgoing
            count += (incoming + 1) * outgoing if incoming != outgoing else 0
        for level, channels in enumerate(self.channels):
            count += (2 * self.layers + 1) * _attention(channels) if level in self.attention else 0
            count += 2 * (9 * channels + 1) * channels if level < len(self.channels) - 1 else 0  # the down- and the upsampler
        # coarser levels upsample with their own width, finer ones downsample with theirs
        count += sum((9 * c + 1) * c for c in self.channels[1:]) - sum((9 * c + 1) * c for c in self.channels[:-1])
        return count + _attention(last)

    def count_activations(self, shape: Sequence[int]) -> int:
        pixels = math.prod(shape[1:])
        return sum(12 * (2 * self.layers + 1) * channels * pixels // 4**level for level, channels in enumerate(self.channels))

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield the incoming and the outgoing channels of every residual block."""
        channels, previous = self.channels, self.channels[0]
        for width in channels:
            yield previous, width
            yield from [(width, width)] * (self.layers - 1)
            previous = width
        yield from [(previous, previous)] * 2
        for level in reversed(range(len(channels))):
            width, finer = channels[level], channels[max(level - 1, 0)]
            for layer in range(self.layers + 1):
                skip = finer if layer == self.layers else width
                yield (previous if layer == 0 else width) + skip, width
            previous = width


class DiTOptions(NetworkOptions):
    """`networks.DiT`: `layers` transformer blocks over patches, `heads` attention heads of `head_width` each."""

    layers: Count
    heads: Count
    head_width: Annotated[int, Field(ge=8, le=256, multiple_of=4)] = 64
    patch: Annotated[int, Field(ge=1, le=32)] = 4

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    def check_shape(self, shape: Sequence[int]) -> None:
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % self.patch:
            raise ValueError(
                f"samples are {by(shape)}: this transformer takes square images (C, H, H) with a side that {self.patch} divides"
            )

    def count_parameters(self, shape: Sequence[int]) -> int:
        width, values = self.width, shape[0] * self.patch**2
        embedding = 257 * width + (width + 1) * width + 2 * width
        block = embedding + 6 * (width + 1) * width + 4 * (width + 1) * width + (width + 1) * 4 * width + (4 * width + 1) * width
        return (values + 1) * width + self.layers * block + 2 * (width + 1) * width + (width + 1) * values

    def count_activations(self, shape: Sequence[int]) -> int:
        tokens = math.prod(shape[1:]) // self.patch**2
        return self.layers * 21 * tokens * self.width


FAMILY_OPTIONS: dict[str, type[NetworkOptions]] = {"mlp": MLPOptions, "unet": UNetOptions, "dit": DiTOptions}


def by(shape: Sequence[int]) -> str:
    """Write a shape as people do: 1x8x8."""
    return "x".join(map(str, shape))


def _attention(channels: int) -> int:
    """Parameters of one attention block: a normalization and four projections."""
    return 2 * channels + 4 * (channels + 1) * channels
