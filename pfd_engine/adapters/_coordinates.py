"""Small helpers that every conversion to EDM coordinates uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pfd_engine.denoisers import Sigma


def noise_level(sigma: Sigma, x: Tensor) -> Tensor:
    """Return sigma in float64: one number on the CPU, or `(B, 1, ...)` on x's device (float32 where it has no float64).

    Coefficients computed from it lose nothing, and one number never makes the CPU wait for a GPU.
    """
    if not isinstance(sigma, Tensor) or sigma.numel() == 1:
        return torch.tensor(float(sigma), dtype=torch.float64)
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    return sigma.to(x.device, dtype).reshape(-1, *[1] * (x.ndim - 1))


def scaled(coefficient: Tensor, x: Tensor) -> Tensor:
    """Return `coefficient * x` in x's dtype."""
    return coefficient.to(x.dtype) * x


def network_time(time: Tensor, x: Tensor) -> Tensor:
    """Return the time that a network is fed, `(B,)`, float32 on x's device."""
    if time.ndim == 0:
        return torch.full((x.shape[0],), float(time), dtype=torch.float32, device=x.device)
    return time.flatten().to(x.device, torch.float32)


class UNetCall:
    """A `UNet2DModel` as `network(x, time) -> output` with x `(B, C, H, W)` of any float dtype and time `(B,)`.

    The network computes in its own dtype; the output has x's. `channels` keeps the first channels only (a network that learns
    the variance too puts it behind).
    """

    def __init__(self, network: nn.Module, channels: int) -> None:
        self.network = network
        self.channels = channels
        self.dtype = next(network.parameters()).dtype

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        output = self.network(x.to(self.dtype), time, return_dict=False)[0]
        return output[:, : self.channels].to(x.dtype)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())
