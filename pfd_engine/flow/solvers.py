"""Solvers of the probability flow ODE `dx/dsigma = (x - D(x; sigma)) / sigma`: one function each, one signature, one grid.

Every solver takes `(denoiser, x, sigmas, condition)`: `x` is the sample at `sigmas[0]`, `(B, *sample_shape)`, and `sigmas`
falls from there to its last entry, at which the returned sample lies. Where the last entry is 0 the last step is an Euler
step, which returns `D(x; s_min)` exactly. Coefficients are computed in float64 and `x` keeps its dtype.

To add a solver, write a function of this signature, decorate it with `@solver` and state its network calls: forms, command
line and tests then know it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pfd_engine.flow.denoisers import Denoiser

RHO = 7.0


@dataclass(frozen=True)
class Solver:
    """A solver as the rest of the engine sees it: call it with `(denoiser, x, sigmas, condition)`."""

    name: str
    order: int
    network_calls: Callable[[int], int]
    solve: Callable[..., Tensor]

    def __call__(self, denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], condition: object = None) -> Tensor:
        return self.solve(denoiser, x, sigmas, condition)


SOLVERS: dict[str, Solver] = {}


def solver(order: int, network_calls: Callable[[int], int]) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a solver under its function's name; `network_calls` maps steps (the last one to sigma 0) to calls per sample."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        SOLVERS[function.__name__] = Solver(function.__name__, order, network_calls, function)
        return function

    return register


def sigma_grid(steps: int, sigma_min: float, sigma_max: float, rho: float = RHO) -> list[float]:
    """Return the EDM grid: `steps` values from `sigma_max` down to `sigma_min`, then 0 (arXiv 2206.00364, equation 5).

    With `steps=1` the grid is `[sigma_max, 0]`.
    """
    if steps == 1:
        return [sigma_max, 0.0]
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    inner = [(high + i / (steps - 1) * (low - high)) ** rho for i in range(1, steps - 1)]
    return [sigma_max, *inner, sigma_min, 0.0]


@solver(order=2, network_calls=lambda steps: 2 * steps - 1)
def heun(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], condition: object = None) -> Tensor:
    """Heun's second-order method (arXiv 2206.00364, algorithm 1 without churn)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        slope = (x - denoiser(x, sigma, condition)) / sigma
        x_next = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope_next = (x_next - denoiser(x_next, sigma_next, condition)) / sigma_next
            x_next = x + (sigma_next - sigma) / 2 * (slope + slope_next)
        x = x_next
    return x


@solver(order=1, network_calls=lambda steps: steps)
def euler(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], condition: object = None) -> Tensor:
    """Euler's method; the deterministic sampler of DDIM (arXiv 2010.02502) in EDM coordinates."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = denoiser(x, sigma, condition).lerp(x, sigma_next / sigma)
    return x


@solver(order=2, network_calls=lambda steps: steps)
def dpmpp_2m(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], condition: object = None) -> Tensor:
    """DPM-Solver++ (2M): multistep exponential integrator in ln sigma (arXiv 2211.01095, algorithm 2)."""
    previous: Tensor | None = None
    previous_step = 0.0
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = denoiser(x, sigma, condition)
        step = math.log(sigma / sigma_next) if sigma_next > 0 else math.inf
        if previous is None or math.isinf(step):
            target = denoised
        else:
            target = denoised + step / (2 * previous_step) * (denoised - previous)
        x = target.lerp(x, sigma_next / sigma)
        previous, previous_step = denoised, step
    return x
