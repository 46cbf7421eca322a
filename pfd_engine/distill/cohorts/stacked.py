"""Train several small students of one architecture together: one batched pass a step for all of them.

A small network's step is mostly overhead and small matrix products; stacked over students it is a few large ones. Each student keeps its
own samples, seed, data order and noise, the very draws of `Trainer`, so that it learns what it would have learned alone (but for the last
float digits, because the sums are ordered otherwise).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from pfd_engine.configs.training import ALONE, TrainConfig, learning_rate_at
from pfd_engine.distill.checkpoint import load_state, save_state
from pfd_engine.distill.ema import decay_at
from pfd_engine.distill.objectives.samples import denoising_losses
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import EDMPrecondition


class StackedNetwork:
    """K networks of one architecture as one: x `(K B, *shape)`, student by student, and c_noise `(K B,)` to outputs like x."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.count = len(networks)
        self.parameters, self._buffers = stack_module_state(list(networks))
        self._template = copy.deepcopy(networks[0]).to("meta")

    def __call__(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, c_noise: Tensor) -> Tensor:
            output: Tensor = functional_call(self._template, (parameters, buffers), (x, c_noise))
            return output

        stacked = x.unflatten(0, (self.count, -1)), c_noise.unflatten(0, (self.count, -1))
        return torch.vmap(call)(self.parameters, self._buffers, *stacked).flatten(0, 1)

    def network(self, index: int, parameters: dict[str, Tensor]) -> nn.Module:
        """Return one student's network of its own, with its slice of stacked parameters."""
        state = {name: value[index].detach().clone() for name, value in {**parameters, **self._buffers}.items()}
        network = copy.deepcopy(self._template).to_empty(device=next(iter(state.values())).device)
        for name, buffer in network.named_buffers():
            buffer.copy_(state[name])
        network.load_state_dict({name: state[name] for name in network.state_dict()})
        return network.eval().requires_grad_(False)


class StudentGroup:
    """Training of K students on denoising score matching, all with one `TrainConfig` but for the seed.

    `samples` are the K training sets `(N_k, *shape)`, whose sizes may differ. Students whose loss is no longer finite are named in
    `diverged` (index to step) and do not disturb the others. Settings in `train_config.ALONE` must have their default. `identity` names
    this training in its saved states.
    """

    def __init__(
        self, networks: Sequence[nn.Module], samples: Sequence[Tensor], seeds: Sequence[int], config: TrainConfig, identity: str = ""
    ) -> None:
        if not len(networks) == len(samples) == len(seeds) > 0 or any(len(s) == 0 for s in samples):
            raise InputError("each student of a group needs a network, a seed and at least one sample", "num_samples")
        for name, default in ALONE.items():
            if getattr(config, name) != default:
                raise InputError(
                    f"{name} is {getattr(config, name)}, which students trained together cannot have: train them one by one", name
                )
        self.config = config
        self.identity = identity
        self.samples = list(samples)
        self.shape = tuple(samples[0].shape[1:])
        self.stacked = StackedNetwork(networks)
        self.ema = {name: value.detach().clone() for name, value in self.stacked.parameters.items()}
        self.optimizer = torch.optim.Adam(self.stacked.parameters.values(), lr=config.learning_rate, fused=True)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.step = 0
        self.seconds = 0.0
        self.diverged: dict[int, int] = {}

    def train(self, until: int) -> Iterator[tuple[int, Tensor]]:
        """Train up to step `until`; yields the step reached and each student's mean loss since the last report, `(K,)`, every 100 steps.

        `seconds` counts the time of all steps of the group so far.
        """
        denoiser = EDMPrecondition(self.stacked, self.config.sigma_data, self.shape)
        total, count = torch.zeros(len(self.samples), device=self.samples[0].device), 0
        while self.step < until:
            started = time.perf_counter()
            total += self._advance(denoiser)
            self.seconds += time.perf_counter() - started
            count += 1
            if self.step % 100 == 0 or self.step == until:
                loss = total / count
                for index in (~loss.isfinite()).nonzero().flatten().tolist():
                    self.diverged.setdefault(index, self.step)
                yield self.step, loss
                total, count = torch.zeros_like(total), 0

    def network(self, index: int) -> nn.Module:
        """Return one student's averaged weights as a network of its own."""
        return self.stacked.network(index, self.ema)

    def denoiser(self, index: int) -> EDMPrecondition:
        """Return one student's averaged weights as a denoiser."""
        return EDMPrecondition(self.network(index), self.config.sigma_data, self.shape)

    def all_denoisers(self) -> EDMPrecondition:
        """All students' averaged weights as one denoiser of x `(K B, *shape)`, student by student."""
        stacked = copy.copy(self.stacked)
        stacked.parameters = self.ema
        return EDMPrecondition(stacked, self.config.sigma_data, self.shape)

    def save(self, path: Path, measured: int = 0) -> None:
        """Write everything that the next step depends on, and up to which step students were measured.

        A crash leaves the old file or the new. Raises OSError where the disk refuses.
        """
        state = {f"parameter.{name}": value for name, value in self.stacked.parameters.items()}
        state |= {f"ema.{name}": value for name, value in self.ema.items()}
        for name, value in self.stacked.parameters.items():
            for key, moment in self.optimizer.state[value].items():
                state[f"optimizer.{key}.{name}"] = moment
        state |= {f"generator.{index}": generator.get_state() for index, generator in enumerate(self.generators)}
        diverged = [self.diverged.get(index, -1) for index in range(len(self.samples))]
        save_state(path, state, {"step": self.step, "seconds": self.seconds, "diverged": diverged, "measured": measured}, self.identity)

    def remove(self, path: Path) -> None:
        """Remove a saved state."""
        path.unlink(missing_ok=True)

    def load(self, path: Path) -> int | None:
        """Go on from a saved state and return what `save` was told was measured; None, and nothing changed, where none fits."""
        found = load_state(path, self.identity)
        if found is None:
            return None
        state, values = found
        if not 0 <= values["measured"] <= values["step"] <= self.config.steps:
            return None
        try:
            moments = {name: {key: state[f"optimizer.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")} for name in self.ema}
            generators = [state[f"generator.{index}"] for index in range(len(self.generators))]
            if any(state[f"parameter.{name}"].shape != value.shape for name, value in self.ema.items()):
                return None
        except KeyError:
            return None
        with torch.no_grad():
            for name, value in self.stacked.parameters.items():
                value.copy_(state[f"parameter.{name}"])
                self.ema[name].copy_(state[f"ema.{name}"])
                self.optimizer.state[value] = {key: m if key == "step" else m.to(value.device) for key, m in moments[name].items()}
        for generator, saved in zip(self.generators, generators, strict=True):
            generator.set_state(saved)
        self.diverged = {index: at for index, at in enumerate(values["diverged"]) if at >= 0}
        self.step, self.seconds = values["step"], values["seconds"]
        measured: int = values["measured"]
        return measured

    def _advance(self, denoiser: EDMPrecondition) -> Tensor:
        config = self.config
        drawn = [self._draw(samples, generator) for samples, generator in zip(self.samples, self.generators, strict=True)]
        clean, log_sigma, noise = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        losses = denoising_losses(denoiser, clean, log_sigma.exp(), noise, config.sigma_data).unflatten(0, (len(drawn), -1)).mean(1)
        self.optimizer.zero_grad()
        losses.sum().backward()
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate_at(config, self.step, config.steps)
        self.optimizer.step()
        with torch.no_grad():
            weight = 1 - decay_at(config, self.step)
            for name, current in self.stacked.parameters.items():
                self.ema[name].lerp_(current, weight)
        self.step += 1
        return losses.detach()

    def _draw(self, samples: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw one student's batch, in the order in which `Trainer` draws."""
        config = self.config
        rows = torch.randint(len(samples), (config.batch_size,), generator=generator)
        log_sigma = config.p_mean + config.p_std * torch.randn(config.batch_size, generator=generator)
        noise = torch.randn(config.batch_size, *self.shape, generator=generator)
        device = samples.device
        return samples[rows.to(device)], log_sigma.to(device), noise.to(device)
