"""Train the students of a group one after the other, with all that `Trainer` can do: for networks that are too large to stack."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pfd_engine.configs.training import TrainConfig
from pfd_engine.distill.checkpoint import load_state, save_state
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.distill.trainer import Trainer
from pfd_engine.errors import RunError
from pfd_engine.flow.denoisers import Denoiser


class SideBySide:
    """K denoisers as one of x `(K B, *shape)`, denoiser by denoiser; sigma is a number or `(K B,)`."""

    def __init__(self, denoisers: Sequence[Denoiser]) -> None:
        self.denoisers = list(denoisers)

    def __call__(self, x: Tensor, sigma: float | Tensor, condition: Any = None) -> Tensor:
        count = len(self.denoisers)
        sigmas = sigma.chunk(count) if isinstance(sigma, Tensor) and sigma.ndim else [sigma] * count
        return torch.cat([denoiser(part, s) for denoiser, part, s in zip(self.denoisers, x.chunk(count), sigmas, strict=True)])


class OneByOne:
    """The same surface as `StudentGroup`, for trainers that each have an objective of their own."""

    def __init__(self, trainers: Sequence[Trainer], identity: str = "") -> None:
        self.trainers = list(trainers)
        self.identity = identity
        self.seconds = 0.0
        self.diverged: dict[int, int] = {}

    @classmethod
    def build(
        cls,
        networks: Sequence[nn.Module],
        samples: Sequence[Tensor],
        configs: Sequence[TrainConfig],
        objectives: Sequence[Objective],
        identity: str = "",
    ) -> OneByOne:
        """Return the group of these networks `(K)`, each with its samples `(N_k, *shape)`, configuration and objective.

        `identity` names the group in its saved states.
        """
        parts = enumerate(zip(networks, samples, configs, objectives, strict=True))
        return cls([Trainer(*part, f"{identity} {index}") for index, part in parts], identity)

    @property
    def step(self) -> int:
        """The step that all students have reached; a diverged one counts as done."""
        return min((t.step for i, t in enumerate(self.trainers) if i not in self.diverged), default=self.trainers[0].config.steps)

    def train(self, until: int) -> Iterator[tuple[int, Tensor]]:
        """Train every student up to step `until`; yields the mean step reached and the losses since the last report, `(K,)`.

        The losses of the students that are not being trained are NaN.
        """
        for index, trainer in enumerate(self.trainers):
            if index in self.diverged or trainer.step >= until:
                continue
            started = time.perf_counter()
            try:
                for progress in trainer.run(100, {until}):
                    self.seconds += time.perf_counter() - started
                    losses = torch.full((len(self.trainers),), torch.nan)
                    losses[index] = progress.loss
                    yield self._mean_step(until), losses
                    if trainer.step >= until:
                        break
                    started = time.perf_counter()
            except RunError:
                self.diverged[index] = trainer.step

    def network(self, index: int) -> nn.Module:
        """Return one student's averaged weights."""
        return self.trainers[index].ema

    def all_denoisers(self) -> SideBySide:
        """Return all students' averaged weights as one denoiser of x `(K B, *shape)`, student by student."""
        return SideBySide([trainer.denoiser for trainer in self.trainers])

    def save(self, path: Path, measured: int = 0) -> None:
        """Write one file a student beside `path`, then `path` itself, which says what was measured.

        Raises OSError where the disk refuses.
        """
        for index, trainer in enumerate(self.trainers):
            trainer.save(self._path(path, index))
        diverged = [self.diverged.get(index, -1) for index in range(len(self.trainers))]
        save_state(path, {}, {"seconds": self.seconds, "diverged": diverged, "measured": measured}, self.identity)

    def load(self, path: Path) -> int | None:
        """Go on from a saved state and return what `save` was told was measured; None, and nothing changed, where none fits."""
        found = load_state(path, self.identity)
        states = [trainer.read(self._path(path, index)) for index, trainer in enumerate(self.trainers)]
        if found is None or not 0 <= found[1]["measured"] <= self.trainers[0].config.steps:
            return None
        if any(state is None for state in states):  # before any trainer has moved
            return None
        for trainer, state in zip(self.trainers, states, strict=True):
            assert state is not None
            trainer.restore(state)
        values = found[1]
        self.seconds = values["seconds"]
        self.diverged = {index: at for index, at in enumerate(values["diverged"]) if at >= 0}
        measured: int = values["measured"]
        return measured

    def remove(self, path: Path) -> None:
        """Remove a saved state."""
        for index in range(len(self.trainers)):
            self._path(path, index).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _mean_step(self, until: int) -> int:
        return sum(min(trainer.step, until) for trainer in self.trainers) // len(self.trainers)

    @staticmethod
    def _path(path: Path, index: int) -> Path:
        return path.with_name(f"{path.stem}-{index}{path.suffix}")
