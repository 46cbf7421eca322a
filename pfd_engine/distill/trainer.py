"""Train a denoiser on stored samples: EDM denoising score matching with an exponential moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pfd_engine.denoisers import Denoiser, EDMPrecondition
from pfd_engine.errors import InputError, RunError


@dataclass(frozen=True)
class TrainConfig:
    """How a denoiser is trained; the defaults are for 8x8 digits. Checked when built (InputError).

    ln sigma ~ N(p_mean, p_std^2); `sigma_data` is the data's standard deviation in the preconditioning and the loss weight;
    `ema_decay` is reached by way of (1 + k) / (10 + k) at step k, so that early averages forget the initial weights;
    `seed` decides the initial weights, the order of the data and the noise.
    """

    steps: int = 5000
    batch_size: int = 128
    learning_rate: float = 1e-3
    ema_decay: float = 0.999
    p_mean: float = 0.0
    p_std: float = 1.4
    sigma_data: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name} is {getattr(self, name)}: give a whole number of at least {low}", name)
        for name in ("learning_rate", "p_std", "sigma_data"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value}: give a positive, finite number", name)
        if not math.isfinite(self.p_mean):
            raise InputError(f"p_mean is {self.p_mean}: give a finite number", "p_mean")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay is {self.ema_decay}: give a number from 0 up to, but below, 1", "ema_decay")


@dataclass(frozen=True)
class Progress:
    """The state after `step` of `steps`: `loss` is the mean training loss since the last report."""

    step: int
    steps: int
    loss: float


class Trainer:
    """Training of one network on `samples` `(N, *shape)`, float32 in [-1, 1], on one device; the averaged weights are in `ema`.

    Iterate over `run()` to train: the caller decides what to do with each `Progress`, and may stop at any one.
    """

    def __init__(self, network: nn.Module, samples: Tensor, config: TrainConfig) -> None:
        if len(samples) == 0:
            raise InputError("the training set is empty: give at least one sample", "num_samples")
        self.config = config
        self.network = network
        self.samples = samples
        self.ema = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0

    @property
    def denoiser(self) -> EDMPrecondition:
        """The averaged weights as a denoiser."""
        return EDMPrecondition(self.ema, self.config.sigma_data, tuple(self.samples.shape[1:]))

    def run(self, report_every: int = 100) -> Iterator[Progress]:
        """Train to the last step; yields every `report_every` steps and at the end. Raises RunError once the loss is not finite."""
        denoiser = EDMPrecondition(self.network, self.config.sigma_data, tuple(self.samples.shape[1:]))
        losses: list[Tensor] = []
        while self.step < self.config.steps:
            losses.append(self._advance(denoiser))
            if self.step % report_every == 0 or self.step == self.config.steps:
                loss = torch.stack(losses).mean().item()
                losses = []
                if not math.isfinite(loss):
                    raise RunError(
                        f"the training loss is {loss} at step {self.step}: lower the learning rate {self.config.learning_rate:g}"
                    )
                yield Progress(self.step, self.config.steps, loss)

    def _advance(self, denoiser: EDMPrecondition) -> Tensor:
        config = self.config
        device = self.samples.device
        # drawn on the CPU, so that a seed means the same on every device
        rows = torch.randint(len(self.samples), (config.batch_size,), generator=self.generator)
        log_sigma = config.p_mean + config.p_std * torch.randn(config.batch_size, generator=self.generator)
        noise = torch.randn(config.batch_size, *self.samples.shape[1:], generator=self.generator).to(device)
        clean, sigma = self.samples[rows.to(device)], log_sigma.exp().to(device)
        loss = denoising_loss(denoiser, clean, sigma, noise, config.sigma_data)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        update_ema(self.ema, self.network, ema_decay_at(self.step, config.ema_decay))
        self.step += 1
        return loss.detach()


def denoising_loss(denoiser: Denoiser, clean: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """Return EDM's denoising score matching loss, averaged over batch and coordinates (arXiv 2206.00364, equation 2 and table 1).

    clean and unit noise `(B, *shape)`, sigma `(B,)`; weight `(sigma^2 + sigma_data^2) / (sigma sigma_data)^2`.
    """
    return denoising_losses(denoiser, clean, sigma, noise, sigma_data).mean()


def denoising_losses(denoiser: Denoiser, clean: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """Return the loss of each sample, `(B,)`: see `denoising_loss`."""
    return denoising_losses(denoiser, clean, sigma, noise, sigma_data).mean()


def denoising_losses(denoiser: Denoiser, clean: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """Return the loss of `denoising_loss` for each sample, `(B,)`."""
    per_sample = sigma.reshape(-1, *[1] * (clean.ndim - 1))
    error = (denoiser(clean + per_sample * noise, sigma) - clean).flatten(1)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * error.square().mean(1)


def ema_decay_at(step: int, decay: float) -> float:
    """Return the decay of the update after training step `step` (from 0): `min(decay, (1 + step) / (10 + step))`."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Set `average <- decay average + (1 - decay) network`, in place, over all parameters."""
    for mean, current in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(current, 1 - decay)
