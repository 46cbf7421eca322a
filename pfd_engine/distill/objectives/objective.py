"""What the trainer asks of an objective, with the answers of the simplest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pfd_engine.flow.few_step_sampler import FewStepSampler

if TYPE_CHECKING:
    from pfd_engine.configs.training import TrainConfig
    from pfd_engine.distill.trainer import Trainer


class Objective:
    """One objective in training. `networks` and `optimizers` are its own, which the trainer saves and restores with the student's."""

    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def check(self, config: TrainConfig) -> None:
        """Raise InputError for a training that the objective cannot make do with."""

    def start(self, trainer: Trainer) -> None:
        """Build what belongs to this training, once, before its first step or before it is resumed."""

    def before_step(self, trainer: Trainer) -> None:
        """Do what comes before the loss of a step."""

    def loss(self, trainer: Trainer) -> Tensor:
        """Draw a batch from the trainer and return the student's loss, one number with gradients."""
        raise NotImplementedError

    def after_step(self, trainer: Trainer) -> None:
        """Do what follows an update of the student."""

    def position(self, step: int, steps: int) -> tuple[int, int]:
        """Return the step and the number of steps that the learning rate and the average count from: (step, steps), or those of a stage."""
        return step, steps

    @property
    def sampler(self) -> FewStepSampler | None:
        """How the finished student samples; None where it is followed along its PF-ODE."""
        return None

    def sampler_at(self, step: int, steps: int) -> FewStepSampler | None:
        """Return how the averaged weights after `step` steps sample; between stages, the one in training."""
        return self.sampler

    def students(self, steps: int) -> dict[int, FewStepSampler | None]:
        """Return the training steps at which the averaged weights are a finished student, with how that one samples."""
        return {steps: self.sampler}
