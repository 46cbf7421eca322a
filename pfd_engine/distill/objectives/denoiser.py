"""`denoiser`: regress the student's denoiser on the teacher's, at noised versions of the training samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pfd_engine.distill.objectives._teacher_steps import over
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.distill.objectives.samples import weighted_errors
from pfd_engine.flow.denoisers import Denoiser

if TYPE_CHECKING:
    from pfd_engine.distill.trainer import Trainer


class DenoiserRegression(Objective):
    """The target is `D_p(x; sigma)` where `samples` has the clean sample: the same minimum over infinite data, without its noise."""

    def __init__(self, teacher: Denoiser) -> None:
        super().__init__()
        self.teacher = teacher

    def loss(self, trainer: Trainer) -> Tensor:
        clean, sigma, noise = trainer.draw_clean(), trainer.draw_sigma(), trainer.draw_noise()
        noised = clean + over(sigma, clean) * noise
        with torch.no_grad():
            target = self.teacher(noised, sigma)
        return weighted_errors(trainer.student(noised, sigma), target, sigma, trainer.config.sigma_data).mean()
