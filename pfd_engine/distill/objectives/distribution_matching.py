"""`distribution-matching`: DMD2 (arXiv 2405.14867) with its fake-score network and backward simulation, without the adversarial loss."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pfd_engine.distill.objectives._teacher_steps import over
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.distill.objectives.samples import denoising_loss
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.solvers import sigma_grid

if TYPE_CHECKING:
    from pfd_engine.distill.trainer import Trainer

FAKE_UPDATES = 5
MOST_STEPS = 4
LOWEST_LEVEL = 0.12


class DistributionMatching(Objective):
    """The student's outputs follow the difference of two scores at noised outputs: the teacher's, and that of a second network, trained
    by denoising on those outputs, `fake_updates` times for each step of the student.

    The student jumps to an end point from each of `levels`, and is trained where it will be used: on its own re-noised outputs, from
    x_T on (section 4.5 there). Nothing asks it to keep the teacher's noise-to-image coupling.
    """

    def __init__(
        self,
        teacher: Denoiser,
        sigma_min: float,
        sigma_max: float,
        student_steps: int = MOST_STEPS,
        fake_updates: int = FAKE_UPDATES,
    ) -> None:
        super().__init__()
        if not 1 <= student_steps <= MOST_STEPS:
            raise InputError(f"student steps is {student_steps}: a distribution-matching student takes 1 to {MOST_STEPS}", "student_steps")
        self.teacher = teacher
        self.student_steps = student_steps
        self.levels = sigma_grid(MOST_STEPS, max(sigma_min, LOWEST_LEVEL), sigma_max)[:-1]
        self.sigma_range = (sigma_min, sigma_max)
        self.fake_updates = fake_updates

    def start(self, trainer: Trainer) -> None:
        fake = copy.deepcopy(trainer.network)
        self.networks = {"fake": fake}
        self.optimizers = {"fake": trainer.make_optimizer(fake)}

    def before_step(self, trainer: Trainer) -> None:
        """Let the second network follow the student's present outputs."""
        config, fake = trainer.config, self.networks["fake"]
        for _ in range(self.fake_updates):
            with torch.no_grad():
                made = self._outputs(trainer)
            loss = denoising_loss(trainer.precondition(fake), made, self._sigma(trainer), trainer.draw_noise(), config.sigma_data)
            trainer.update(fake, self.optimizers["fake"], loss, trainer.learning_rate())

    def loss(self, trainer: Trainer) -> Tensor:
        made = self._outputs(trainer)
        with torch.no_grad():
            sigma = self._sigma(trainer)
            noised = made + over(sigma, made) * trainer.draw_noise()
            real, fake = self.teacher(noised, sigma), trainer.precondition(self.networks["fake"])(noised, sigma)
            scale = (made - real).flatten(1).abs().mean(1).clamp_min(1e-3)  # equation 8 of arXiv 2311.18828
            gradient = (fake - real) / over(scale, made)
        return 0.5 * (made - (made - gradient).detach()).square().mean()

    @property
    def sampler(self) -> FewStepSampler:
        return FewStepSampler(kind="distribution-matching", levels=tuple(self.levels), steps=self.student_steps)

    def _sigma(self, trainer: Trainer) -> Tensor:
        return trainer.draw_sigma().clamp(*self.sigma_range)

    def _outputs(self, trainer: Trainer) -> Tensor:
        """Return the student's outputs `(B, *shape)` after one to all of its levels, of which the last jump carries gradients."""
        depth = int(torch.randint(len(self.levels), (1,), generator=trainer.generator))
        x = self.levels[0] * trainer.draw_noise()
        with torch.no_grad():
            for above, sigma in zip(self.levels[:depth], self.levels[1:], strict=False):
                x = trainer.student(x, above) + sigma * trainer.draw_noise()
        return trainer.student(x, self.levels[depth])
