"""Steps along a denoiser's probability flow from each sample's own noise level to its own next one."""

from __future__ import annotations

import torch
from torch import Tensor

from pfd_engine.flow.denoisers import Denoiser


def over(sigma: Tensor, x: Tensor) -> Tensor:
    """Return sigma `(B,)` as `(B, 1, ...)`, to multiply x with."""
    return sigma.reshape(-1, *[1] * (x.ndim - 1))


@torch.no_grad()
def ddim_step(denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Return one Euler step, the deterministic DDIM step, from sigma to sigma_next, both `(B,)`; 0 is allowed as the next."""
    return denoiser(x, sigma).lerp(x, over(sigma_next / sigma, x))


@torch.no_grad()
def heun_step(denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Return one step of Heun's method from sigma to sigma_next, both `(B,)`; where the next is 0, one Euler step."""
    euler = ddim_step(denoiser, x, sigma, sigma_next)
    inside = sigma_next > 0
    if not inside.any():
        return euler
    level = torch.where(inside, sigma_next, sigma)
    slope, slope_next = (euler - x) / over(sigma_next - sigma, x), (euler - denoiser(euler, level)) / over(level, x)
    return torch.where(over(inside, x), x + over(sigma_next - sigma, x) / 2 * (slope + slope_next), euler)
