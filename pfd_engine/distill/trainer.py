"""Train a student: one loop over any objective, with averaged weights, exact resume and an eye on divergence."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pfd_engine.configs.training import TrainConfig, check_device, learning_rate_at
from pfd_engine.distill.checkpoint import (
    load_state,
    network_state,
    optimizer_state,
    restore_network,
    restore_optimizer,
    save_state,
)
from pfd_engine.distill.ema import decay_at, ema_decay_at, update_ema
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.distill.objectives.samples import Samples, denoising_loss, denoising_losses
from pfd_engine.errors import InputError, RunError
from pfd_engine.flow.denoisers import EDMPrecondition
from pfd_engine.training_sets.files import samples_sha256

State = tuple[dict[str, Tensor], dict[str, Any]]

__all__ = ["Progress", "TrainConfig", "Trainer", "denoising_loss", "denoising_losses", "ema_decay_at", "update_ema"]


@dataclass(frozen=True)
class Progress:
    """The state after `step` of `steps`: `loss` is the mean training loss since the last report."""

    step: int
    steps: int
    loss: float


class Trainer:
    """Training of one network on `samples` `(N, *shape)`, float32 in [-1, 1], on one device; the averaged weights are in `ema`.

    Iterate over `run()` to train: the caller decides what to do with each `Progress`, and may stop at any one. `objective` is what the
    student learns (None: denoising its samples). All random numbers come from `generator`, on the CPU, so that a seed means the same on
    every device. `identity` names this training, beside its settings, in its saved states.
    """

    def __init__(
        self, network: nn.Module, samples: Tensor, config: TrainConfig, objective: Objective | None = None, identity: str = ""
    ) -> None:
        if len(samples) == 0:
            raise InputError("the training set is empty: give at least one sample", "num_samples")
        check_device(config, samples.device.type)
        if config.flips and samples.ndim != 4:
            raise InputError("flips mirror images, but the samples are none: leave them out", "flips")
        self.config = config
        self.network = network.train().requires_grad_(True)
        self.samples = samples
        self.ema = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimizer = self.make_optimizer(network)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.objective = objective or Samples()
        self.objective.check(config)
        self.objective.start(self)
        self.identity = json.dumps([identity, type(self.objective).__name__, asdict(config)])
        self._forward = torch.compile(network) if config.compile else network

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.samples.shape[1:])

    @property
    def denoiser(self) -> EDMPrecondition:
        """The averaged weights as a denoiser, or as the jump of a few-step student."""
        return self.precondition(self.ema)

    @property
    def student(self) -> EDMPrecondition:
        """The weights in training as a denoiser."""
        return self.precondition(self._forward)

    def precondition(self, network: Any) -> EDMPrecondition:
        return EDMPrecondition(network, self.config.sigma_data, self.shape)

    def make_optimizer(self, network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), lr=self.config.learning_rate, fused=True)

    def draw_clean(self) -> Tensor:
        """Draw a batch of samples with replacement, `(B, *shape)`, half of them mirrored where `flips` asks for it."""
        rows = torch.randint(len(self.samples), (self.config.batch_size,), generator=self.generator)
        clean = self.samples[rows.to(self.samples.device)]
        if self.config.flips:
            mirrored = (torch.rand(self.config.batch_size, generator=self.generator) < 0.5).to(clean.device)
            clean = torch.where(mirrored[:, None, None, None], clean.flip(-1), clean)
        return clean

    def draw_sigma(self) -> Tensor:
        """Draw noise levels `(B,)`, ln sigma ~ N(p_mean, p_std^2)."""
        log_sigma = self.config.p_mean + self.config.p_std * torch.randn(self.config.batch_size, generator=self.generator)
        return log_sigma.exp().to(self.samples.device)

    def draw_noise(self) -> Tensor:
        """Draw unit noise `(B, *shape)`."""
        return torch.randn(self.config.batch_size, *self.shape, generator=self.generator).to(self.samples.device)

    def draw_index(self, count: int) -> Tensor:
        """Draw whole numbers below `count`, `(B,)`, on the CPU."""
        return torch.randint(count, (self.config.batch_size,), generator=self.generator)

    def run(self, report_every: int = 100, stops: Collection[int] = ()) -> Iterator[Progress]:
        """Train to the last step; yields every `report_every` steps, at each of `stops` and at the end.

        Raises RunError once the loss is not finite.
        """
        losses: list[Tensor] = []
        while self.step < self.config.steps:
            losses.append(self._advance())
            if self.step % report_every == 0 or self.step in stops or self.step == self.config.steps:
                loss = torch.stack(losses).mean().item()
                losses = []
                if not math.isfinite(loss):
                    raise RunError(
                        f"the training loss is {loss} at step {self.step}: lower the learning rate {self.config.learning_rate:g}"
                    )
                yield Progress(self.step, self.config.steps, loss)

    def update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, learning_rate: float) -> None:
        """Take one optimizer step of `network` down the gradient of `loss`, clipped where that is asked for."""
        optimizer.zero_grad()
        loss.backward()
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), self.config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()

    def learning_rate(self) -> float:
        """The learning rate of the present step."""
        return learning_rate_at(self.config, *self.objective.position(self.step, self.config.steps))

    def _advance(self) -> Tensor:
        with self._randomness_of_the_step(), self._precision():
            self.objective.before_step(self)
            loss = self.objective.loss(self)
        self.update(self.network, self.optimizer, loss, self.learning_rate())
        update_ema(self.ema, self.network, decay_at(self.config, self.objective.position(self.step, self.config.steps)[0]))
        self.objective.after_step(self)
        self.step += 1
        return loss.detach()

    @contextlib.contextmanager
    def _randomness_of_the_step(self) -> Iterator[None]:
        """Let dropout's masks depend on the seed and the step alone, and leave the caller's own generator as it is."""
        if self.config.dropout == 0:
            yield
            return
        devices = [self.samples.device] if self.samples.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed((self.config.seed << 32) + self.step)
            yield

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.samples.device.type, dtype=getattr(torch, self.config.precision))

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on; a crash leaves the old file or the new. Raises OSError where the disk refuses."""
        networks, optimizers = self._parts()
        tensors = {"generator": self.generator.get_state()}
        for name, network in networks.items():
            tensors |= network_state(f"network.{name}", network)
        for name, optimizer in optimizers.items():
            tensors |= optimizer_state(f"optimizer.{name}", optimizer)
        save_state(path, tensors, {"step": self.step, "samples": self._samples_sha256}, self.identity)

    def load(self, path: Path) -> bool:
        """Go on from a saved state; False, with nothing changed, where there is none that can be read and fits this training."""
        found = self.read(path)
        if found is not None:
            self.restore(found)
        return found is not None

    def read(self, path: Path) -> State | None:
        """Return a saved state for `restore`; None where there is none that can be read and fits this training."""
        found = load_state(path, self.identity)
        if found is None:
            return None
        tensors, values = found
        networks, _ = self._parts()
        fits = all(
            f"network.{name}.{key}" in tensors and tensors[f"network.{name}.{key}"].shape == value.shape
            for name, network in networks.items()
            for key, value in network.state_dict().items()
        )
        fits = fits and "generator" in tensors and values.get("samples") == self._samples_sha256
        return found if fits and 0 <= values["step"] <= self.config.steps else None

    def restore(self, found: State) -> None:
        """Go on from what `read` returned."""
        tensors, values = found
        networks, optimizers = self._parts()
        for name, network in networks.items():
            restore_network(f"network.{name}", network, tensors)
        for name, optimizer in optimizers.items():
            restore_optimizer(f"optimizer.{name}", optimizer, tensors)
        self.generator.set_state(tensors["generator"])
        self.step = values["step"]

    @cached_property
    def _samples_sha256(self) -> str:
        return samples_sha256(self.samples)

    def _parts(self) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer]]:
        """Return all networks and optimizers by name, those of the objective too."""
        networks = {"student": self.network, "ema": self.ema, **self.objective.networks}
        return networks, {"student": self.optimizer, **self.objective.optimizers}
