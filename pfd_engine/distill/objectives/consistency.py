"""`consistency`: distillation along the teacher's probability flow (arXiv 2303.01469, algorithm 2)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pfd_engine.distill.ema import update_ema
from pfd_engine.distill.objectives._teacher_steps import heun_step, over
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.solvers import sigma_grid

if TYPE_CHECKING:
    from pfd_engine.distill.trainer import Trainer

LEVELS = 18
TARGET_DECAY = 0.95


class Consistency(Objective):
    """The student's jump from sigma_n equals, along one Heun step of the teacher, its averaged self's jump from sigma_{n+1}.

    `levels` noise levels on the EDM grid; at the lowest one the jump is the teacher's denoiser, as the PF-ODE's last step is. The
    target's average forgets at `target_decay`. The loss is the squared error, because that is what PFD measures.
    """

    def __init__(
        self,
        teacher: Denoiser,
        sigma_min: float,
        sigma_max: float,
        student_steps: int = 1,
        levels: int = LEVELS,
        target_decay: float = TARGET_DECAY,
    ) -> None:
        super().__init__()
        if not 1 <= student_steps <= levels:
            raise InputError(
                f"student steps is {student_steps}: a consistency student of {levels} levels takes 1 to {levels}", "student_steps"
            )
        self.teacher = teacher
        self.grid = torch.tensor(sigma_grid(levels, sigma_min, sigma_max)[:-1], dtype=torch.float64)
        self.student_steps = student_steps
        self.target_decay = target_decay

    def start(self, trainer: Trainer) -> None:
        self.networks = {"target": copy.deepcopy(trainer.ema)}

    def loss(self, trainer: Trainer) -> Tensor:
        index = trainer.draw_index(len(self.grid) - 1)
        device = trainer.samples.device
        sigma, sigma_next = (self.grid[index + k].float().to(device) for k in (0, 1))
        clean = trainer.draw_clean()
        x = clean + over(sigma, clean) * trainer.draw_noise()
        with torch.no_grad():
            nearer = heun_step(self.teacher, x, sigma, sigma_next)
            ends = over(index == len(self.grid) - 2, x).to(device)
            target = torch.where(ends, self.teacher(nearer, sigma_next), trainer.precondition(self.networks["target"])(nearer, sigma_next))
        return (trainer.student(x, sigma) - target).square().mean()

    def after_step(self, trainer: Trainer) -> None:
        update_ema(self.networks["target"], trainer.network, self.target_decay)

    @property
    def sampler(self) -> FewStepSampler:
        return FewStepSampler(kind="consistency", levels=tuple(self.grid.tolist()), steps=self.student_steps)
