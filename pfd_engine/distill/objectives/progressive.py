"""`progressive`: halve the number of steps again and again, one student step for two of its teacher's (arXiv 2202.00512)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pfd_engine.distill.objectives._teacher_steps import ddim_step, heun_step, over
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.solvers import sigma_grid

if TYPE_CHECKING:
    from pfd_engine.configs.training import TrainConfig
    from pfd_engine.distill.trainer import Trainer

FIRST_STEPS = 16


class Progressive(Objective):
    """Stages of students with `first_steps`, half of them, and so on down to `student_steps`, sharing the training steps evenly.

    The first stage learns two of the teacher's Heun steps on a grid of twice `first_steps`, on which its map has converged; each later
    one two DDIM steps of the stage before, whose averaged weights it starts from. Levels are every second of the stage before. In EDM
    coordinates the sample `x''` after two steps from sigma to sigma'' asks for `D = (x'' - r x) / (1 - r)`, r = sigma'' / sigma
    (equation 8 there); the loss is the squared error of D, with weight max(1, 1 / sigma^2) as there (truncated SNR), at most
    `largest_weight`.
    """

    def __init__(
        self,
        teacher: Denoiser,
        sigma_min: float,
        sigma_max: float,
        student_steps: int = 4,
        first_steps: int = FIRST_STEPS,
        largest_weight: float = 4.0,
    ) -> None:
        super().__init__()
        counts = [first_steps]
        while counts[-1] > student_steps:
            counts.append(counts[-1] // 2)
        if counts[-1] != student_steps or any(count * 2**index != first_steps for index, count in enumerate(counts)):
            raise InputError(
                f"student steps is {student_steps}: a progressive student takes {first_steps} halved again and again", "student_steps"
            )
        self.teacher = teacher
        self.largest_weight = largest_weight
        self.grid = torch.tensor(sigma_grid(2 * first_steps, sigma_min, sigma_max), dtype=torch.float64)
        self.counts = counts

    def check(self, config: TrainConfig) -> None:
        if config.steps < len(self.counts):
            stages = " to ".join(map(str, self.counts))
            raise InputError(
                f"number of training steps is {config.steps}: the stages of {stages} student steps need at least {len(self.counts)}",
                "steps",
            )

    def start(self, trainer: Trainer) -> None:
        self.networks = {"before": copy.deepcopy(trainer.ema)}

    def before_step(self, trainer: Trainer) -> None:
        if trainer.step > 0 and self.position(trainer.step, trainer.config.steps)[0] == 0:
            for network in (trainer.network, self.networks["before"]):
                network.load_state_dict(trainer.ema.state_dict())
            trainer.optimizer = trainer.make_optimizer(trainer.network)

    def loss(self, trainer: Trainer) -> Tensor:
        stage = self._stage(trainer.step, trainer.config.steps)
        stride = 2 ** (stage + 1)
        index = trainer.draw_index(self.counts[stage]) * stride
        device = trainer.samples.device
        sigma, middle, last = (self.grid[index + k * stride // 2].float().to(device) for k in range(3))
        clean = trainer.draw_clean()
        x = clean + over(sigma, clean) * trainer.draw_noise()
        with torch.no_grad():
            denoiser, step = (self.teacher, heun_step) if stage == 0 else (trainer.precondition(self.networks["before"]), ddim_step)
            halfway = step(denoiser, x, sigma, middle)
            ratio = over(last / sigma, x)
            target = (step(denoiser, halfway, middle, last) - ratio * x) / (1 - ratio)
        weight = sigma.pow(-2).clamp(1, self.largest_weight)
        return (weight * (trainer.student(x, sigma) - target).flatten(1).square().mean(1)).mean()

    def position(self, step: int, steps: int) -> tuple[int, int]:
        stage = self._stage(step, steps)
        start = stage * self._length(steps)
        return step - start, (steps if stage == len(self.counts) - 1 else start + self._length(steps)) - start

    @property
    def sampler(self) -> FewStepSampler:
        return self._sampler(len(self.counts) - 1)

    def sampler_at(self, step: int, steps: int) -> FewStepSampler:
        return self._sampler(self._stage(max(step - 1, 0), steps))

    def students(self, steps: int) -> dict[int, FewStepSampler | None]:
        """Return the end of every stage: each leaves a finished student."""
        ends = [(stage + 1) * self._length(steps) for stage in range(len(self.counts) - 1)]
        return {end: self._sampler(stage) for stage, end in enumerate([*ends, steps])}

    def _sampler(self, stage: int) -> FewStepSampler:
        levels = self.grid[: -1 : 2 ** (stage + 1)].tolist()
        return FewStepSampler(kind="progressive", levels=tuple(levels), steps=self.counts[stage])

    def _length(self, steps: int) -> int:
        return steps // len(self.counts)

    def _stage(self, step: int, steps: int) -> int:
        return min(step // self._length(steps), len(self.counts) - 1)
