"""The one concept of the engine: a denoiser `D(x; sigma) = E[x0 | x0 + sigma eps = x]`, its preconditionings and closed forms.

Everything is in EDM ("VE") coordinates: x is the sample plus noise of standard deviation sigma (MATH.md, section 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Sigma = float | Tensor


@runtime_checkable
class Denoiser(Protocol):
    """`denoiser(x, sigma, condition=None) -> x0` with x `(B, *sample_shape)`, sigma a float or `(B,)`, and x0 shaped like x.

    A denoiser may also state `shape` (of one sample), `device`, `sigma_min` and `sigma_max` (the range it was trained on) and
    `content_key` (a string that changes whenever its output could; None: end points are not cached).
    """

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor: ...


def noise_level(sigma: Sigma, x: Tensor) -> Sigma:
    """Return sigma in float64, so that coefficients lose nothing: one number as a float, several as `(B, 1, ...)` on x's device.

    A float costs no tensor operations and never makes the CPU wait for a GPU.
    """
    if not isinstance(sigma, Tensor) or sigma.numel() == 1:
        return float(sigma)
    return sigma.to(x.device, torch.float64).reshape(-1, *[1] * (x.ndim - 1))


def log(sigma: Sigma) -> Sigma:
    """Return ln(sigma), a float for a float."""
    return sigma.log() if isinstance(sigma, Tensor) else math.log(sigma)


def scaled(coefficient: Sigma, x: Tensor) -> Tensor:
    """Return `coefficient * x` in x's dtype."""
    return x * (coefficient.to(x.dtype) if isinstance(coefficient, Tensor) else coefficient)


def per_sample(value: Sigma, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a float, or `(B, 1, ...)`, as the vector `(B,)` that a network is fed, on x's device."""
    if isinstance(value, Tensor):
        return value.flatten().to(x.device, dtype)
    return torch.full((x.shape[0],), value, dtype=dtype, device=x.device)


class EDMPrecondition:
    """A network F(x_in, c_noise, condition) as a denoiser, `D = c_skip x + c_out F(c_in x, ln(sigma) / 4)` (EDM, table 1)."""

    def __init__(self, network: Callable[..., Tensor], sigma_data: float, shape: tuple[int, ...]) -> None:
        self.network = network
        self.sigma_data = sigma_data
        self.shape = tuple(shape)

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        sigma = noise_level(sigma, x)
        variance = sigma**2 + self.sigma_data**2
        c_in = variance**-0.5
        output = self.network(scaled(c_in, x), per_sample(log(sigma) / 4, x, x.dtype), condition)
        return scaled(self.sigma_data**2 / variance, x) + scaled(sigma * self.sigma_data * c_in, output)


class GaussianDenoiser:
    """Closed form for N(mean, C): `D = mean + C (C + sigma^2 I)^-1 (x - mean)`; mean `(d,)`, covariance `(d, d)` symmetric.

    Computed in float64 from the eigenbasis of C and returned in x's dtype.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean = torch.as_tensor(mean, dtype=torch.float64)
        self.covariance = torch.as_tensor(covariance, dtype=torch.float64)
        dimension = self.mean.shape[0] if self.mean.ndim == 1 else -1
        if self.mean.ndim != 1 or self.covariance.shape != (dimension, dimension):
            raise ValueError(f"mean is {tuple(self.mean.shape)} and covariance {tuple(self.covariance.shape)}: give (d,) and (d, d)")
        if dimension == 0 or not (torch.isfinite(self.mean).all() and torch.isfinite(self.covariance).all()):
            raise ValueError("mean or covariance is empty or holds values that are not finite: give finite numbers")
        self.eigenvalues, self.basis = torch.linalg.eigh(self.covariance)
        if not torch.allclose(self.covariance, self.covariance.T):
            raise ValueError("covariance is not symmetric: give a symmetric positive semidefinite (d, d) matrix")
        if self.eigenvalues[0] < -1e-9 * self.eigenvalues[-1].abs():
            raise ValueError(f"covariance has the negative eigenvalue {self.eigenvalues[0]:.3g}: give a positive semidefinite matrix")
        self.eigenvalues = self.eigenvalues.clamp_min(0)
        self.shape = (dimension,)

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        mean, basis, eigenvalues = (t.to(x.device) for t in (self.mean, self.basis, self.eigenvalues))
        centered = (x.double() - mean) @ basis
        gain = eigenvalues / (eigenvalues + noise_level(sigma, centered) ** 2)
        return (mean + (gain * centered) @ basis.T).to(x.dtype)

    def exact_map(self, z: Tensor, sigma_max: float, sigma_min: float = 0.0) -> Tensor:
        """Return the exact PF-ODE solution at `sigma_min` from `x_T = sigma_max z`, in float64 (MATH.md, section 2); z `(B, d)`."""
        mean, basis, eigenvalues = (t.to(z.device) for t in (self.mean, self.basis, self.eigenvalues))
        scale = ((eigenvalues + sigma_min**2) / (eigenvalues + sigma_max**2)).sqrt()
        return mean + (scale * ((sigma_max * z.double() - mean) @ basis)) @ basis.T


class MixtureDenoiser:
    """Closed form for a mixture of Gaussians: the components' denoisers weighted by their responsibilities.

    means `(K, d)`; covariances `(K, d, d)`, or `(K,)` isotropic variances; weights `(K,)`, normalized here. Float64 inside.
    """

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor) -> None:
        means = torch.as_tensor(means, dtype=torch.float64)
        covariances = torch.as_tensor(covariances, dtype=torch.float64)
        weights = torch.as_tensor(weights, dtype=torch.float64)
        if means.ndim != 2:
            raise ValueError(f"means is {tuple(means.shape)}: give (K, d)")
        count, dimension = means.shape
        if covariances.shape == (count,):
            covariances = covariances[:, None, None] * torch.eye(dimension, dtype=torch.float64)
        if covariances.shape != (count, dimension, dimension) or weights.shape != (count,):
            raise ValueError(
                f"means is {tuple(means.shape)}, covariances {tuple(covariances.shape)}, weights {tuple(weights.shape)}: "
                "give (K, d), (K, d, d) or (K,), and (K,)"
            )
        if not (torch.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError(f"weights are {weights.tolist()}: give finite, non-negative numbers that are not all zero")
        self.components = [GaussianDenoiser(mean, covariance) for mean, covariance in zip(means, covariances, strict=True)]
        self.log_weights = (weights / weights.sum()).log()
        self.shape = (dimension,)

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        logits, denoised = [], []
        double = x.double()
        for log_weight, component in zip(self.log_weights, self.components, strict=True):
            mean, basis, eigenvalues = (t.to(x.device) for t in (component.mean, component.basis, component.eigenvalues))
            centered = (double - mean) @ basis
            variance = eigenvalues + noise_level(sigma, centered) ** 2
            logits.append(log_weight - 0.5 * (centered**2 / variance + variance.log()).sum(-1))
            denoised.append(mean + (eigenvalues / variance * centered) @ basis.T)
        responsibilities = torch.stack(logits).softmax(0)
        return (responsibilities[:, :, None] * torch.stack(denoised)).sum(0).to(x.dtype)
