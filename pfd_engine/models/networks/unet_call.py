"""What every conversion around a `UNet2DModel` shares: the network as a plain function, and the time that it is fed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pfd_engine.flow.denoisers import Sigma, per_sample


def network_time(time: Sigma, x: Tensor) -> Tensor:
    """Return the time that a network is fed, `(B,)`, float32 on x's device."""
    return per_sample(time, x, torch.float32)


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
