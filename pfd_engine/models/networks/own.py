"""Networks of our own denoisers: `network(x_in, c_noise, condition=None) -> F`, the F of the EDM preconditioning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pfd_engine.models.networks.own_image import DiT, UNet


class MLP(nn.Module):
    """LayerNorm residual MLP over the flattened sample, for inputs of up to a few hundred values (8x8 digits).

    Input layer, `blocks` residual blocks of two linear layers each, output layer; a sinusoidal embedding of ln(sigma) is
    added after the input layer. Call with x `(B, *shape)` and c_noise `(B,)` = ln(sigma) / 4; returns `(B, *shape)` in x's
    dtype (computed in the weights' dtype). The output layer starts at zero, so that an untrained network predicts 0.
    """

    frequencies: Tensor

    def __init__(self, shape: Sequence[int], width: int = 256, blocks: int = 3, embedding: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.width, self.embedding = width, embedding
        values = math.prod(self.shape)
        self.register_buffer("frequencies", 32.0 ** torch.linspace(0, 1, embedding // 2), persistent=False)
        self.input = nn.Linear(values, width)
        self.noise_level = nn.Linear(embedding, width)
        self.blocks = nn.ModuleList(MLPBlock(width, dropout) for _ in range(blocks))
        self.output = nn.Linear(width, values)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        dtype = self.input.weight.dtype
        angle = c_noise.to(dtype)[:, None] * self.frequencies
        hidden = self.input(x.flatten(1).to(dtype)) + self.noise_level(torch.cat([angle.sin(), angle.cos()], dim=1))
        for block in self.blocks:
            hidden = block(hidden)
        return self.output(hidden).view_as(x).to(x.dtype)


class MLPBlock(nn.Module):
    """`h + linear(dropout(silu(linear(LayerNorm(h)))))`, all `(B, width)`."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = nn.functional.silu(self.first(self.norm(hidden)))
        if self.dropout > 0 and self.training:
            inner = nn.functional.dropout(inner, self.dropout)
        return hidden + self.second(inner)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "unet": UNet, "dit": DiT}


def build_network(family: str, shape: Sequence[int], options: dict[str, Any], seed: int = 0) -> nn.Module:
    """Build a network of a family in `NETWORKS` with its keyword arguments; `seed` alone decides the initial weights (float32).

    Besides the options that a folder keeps, `dropout` may be among them: it acts in training alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[family](shape, **options)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
