"""`samples`: denoising score matching on stored teacher samples, EDM's loss; the protocol of the PFD paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.flow.denoisers import Denoiser

if TYPE_CHECKING:
    from pfd_engine.distill.trainer import Trainer


class Samples(Objective):
    """The student denoises the samples of its training set; it sees nothing else of the teacher."""

    def loss(self, trainer: Trainer) -> Tensor:
        clean, sigma, noise = trainer.draw_clean(), trainer.draw_sigma(), trainer.draw_noise()
        return denoising_loss(trainer.student, clean, sigma, noise, trainer.config.sigma_data)


def denoising_loss(denoiser: Denoiser, clean: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """Return EDM's denoising score matching loss, averaged over batch and coordinates (arXiv 2206.00364, equation 2 and table 1).

    clean and unit noise `(B, *shape)`, sigma `(B,)`; weight `(sigma^2 + sigma_data^2) / (sigma sigma_data)^2`.
    """
    return denoising_losses(denoiser, clean, sigma, noise, sigma_data).mean()


def denoising_losses(denoiser: Denoiser, clean: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """Return the loss of each sample, `(B,)`: see `denoising_loss`."""
    noised = clean + sigma.reshape(-1, *[1] * (clean.ndim - 1)) * noise
    return weighted_errors(denoiser(noised, sigma), clean, sigma, sigma_data)


def weighted_errors(predicted: Tensor, target: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """Return EDM's weighted squared error of each sample, averaged over its coordinates, `(B,)`."""
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * (predicted - target).flatten(1).square().mean(1)
