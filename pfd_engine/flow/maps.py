"""Maps from noise to data: what PFD compares. A denoiser with a solver is one kind, a few-step student another."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pfd_engine.configs.evaluate import SIGMA_HIGH, SIGMA_LOW
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser
from pfd_engine.flow.solvers import RHO, SOLVERS, Solver, sigma_grid


@runtime_checkable
class FlowMap(Protocol):
    """`map(z, seeds, condition=None) -> x0`: unit noise z `(B, *shape)` with its B seeds to end points `(B, *shape)`.

    A map depends on z, and on the seeds only where its sampler re-noises. It may also state `shape`, `device`,
    `network_calls` (per noise), `steps`, `sigma_min`, `sigma_max` and `cache_key` (None: not cached).
    """

    def __call__(self, z: Tensor, seeds: Sequence[int], condition: Any = None) -> Tensor: ...


@runtime_checkable
class Solved(Protocol):
    """A map that follows a denoiser with a solver, and can do so with another number of steps."""

    solver: Solver
    steps: int

    def with_steps(self, steps: int) -> FlowMap: ...


def is_map(model: object) -> bool:
    """Tell a map from a denoiser: a map's second parameter is called `seeds`."""
    try:
        return "seeds" in inspect.signature(model).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def same_map(p: FlowMap, q: FlowMap) -> bool:
    """Tell whether two maps are one and the same: one object, one denoiser followed in one way, or the same content."""
    if p is q:
        return True
    if isinstance(p, SolverMap) and isinstance(q, SolverMap) and p.denoiser is q.denoiser:
        return (p.solver, p.sigmas) == (q.solver, q.sigmas)
    key = getattr(p, "cache_key", None)
    return key is not None and key == getattr(q, "cache_key", None)


def own_range(model: object) -> tuple[float, float]:
    """Return the sigma range a model was trained on; (0, inf) where it states none, as closed forms do."""
    low, high = getattr(model, "sigma_min", None), getattr(model, "sigma_max", None)
    return (0.0 if low is None else float(low), math.inf if high is None else float(high))


def resolve_sigma_range(models: Sequence[object], sigma_min: float | None = None, sigma_max: float | None = None) -> tuple[float, float]:
    """Return the range `[s_min, T]` for all models: the overlap of their own with [0.002, 80], or what the user set inside theirs.

    Raises InputError where the user's value lies outside a model's range or nothing overlaps.
    """
    for name, value in (("sigma_min", sigma_min), ("sigma_max", sigma_max)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value:g}: give a positive, finite noise standard deviation", name)
    ranges = [own_range(model) for model in models]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    for name, value in (("sigma_min", sigma_min), ("sigma_max", sigma_max)):
        if value is not None and not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):
            raise InputError(
                f"{name} is {value:g} but the models were trained from {low:g} to {high:g}: choose a value inside, or leave it out",
                name,
            )
    bottom = max(low, SIGMA_LOW) if sigma_min is None else sigma_min
    top = min(high, SIGMA_HIGH) if sigma_max is None else sigma_max
    if not 0 < bottom < top:
        raise InputError(
            f"no noise level is left between sigma_min {bottom:g} and sigma_max {top:g}: choose models whose ranges overlap, "
            "or a sigma_min below sigma_max",
            "sigma_min",
        )
    return bottom, top


class SolverMap:
    """A denoiser followed along its probability flow ODE from `x_T = sigma_max z` to 0 (MATH.md, section 2)."""

    def __init__(
        self,
        denoiser: Denoiser,
        solver: str = "heun",
        steps: int = 18,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float = RHO,
        device: torch.device | str | None = None,
    ) -> None:
        if solver not in SOLVERS:
            raise InputError(f"solver is {solver!r}: choose one of {', '.join(SOLVERS)}", "solver")
        if steps < 1:
            raise InputError(f"number of steps is {steps}: give at least 1", "steps")
        self.denoiser = denoiser
        self.solver = SOLVERS[solver]
        self.steps = steps
        self.rho = rho
        self.sigma_min, self.sigma_max = resolve_sigma_range([denoiser], sigma_min, sigma_max)
        self.sigmas = sigma_grid(steps, self.sigma_min, self.sigma_max, rho)
        self.device = torch.device(device if device is not None else getattr(denoiser, "device", "cpu"))

    @property
    def shape(self) -> tuple[int, ...] | None:
        shape = getattr(self.denoiser, "shape", None)
        return None if shape is None else tuple(shape)

    @property
    def network_calls(self) -> int:
        """Network calls per noise."""
        return self.solver.network_calls(self.steps)

    @property
    def cache_key(self) -> str | None:
        """A hash of everything that moves the end points; None where the denoiser has no `content_key`."""
        content = getattr(self.denoiser, "content_key", None)
        if content is None:
            return None
        return hash_of("solver-map", content, self.solver.name, self.steps, self.rho, self.sigma_min, self.sigma_max)

    def with_steps(self, steps: int) -> SolverMap:
        """Return the same map with another number of steps."""
        return SolverMap(self.denoiser, self.solver.name, steps, self.sigma_min, self.sigma_max, self.rho, self.device)

    def of(self, denoiser: Denoiser) -> SolverMap:
        """Return the map of another denoiser with this one's solver, steps, range, grid and device."""
        return SolverMap(denoiser, self.solver.name, self.steps, self.sigma_min, self.sigma_max, self.rho, self.device)

    @torch.inference_mode()
    def __call__(self, z: Tensor, seeds: Sequence[int] | None = None, condition: Any = None) -> Tensor:
        if self.shape is not None and tuple(z.shape[1:]) != self.shape:
            raise InputError(f"noise is {tuple(z.shape)} but the model's samples are {self.shape}: give noise (B, *sample_shape)")
        return self.solver(self.denoiser, self.sigma_max * z.to(self.device), self.sigmas, condition)


def flow_map(
    denoiser: Denoiser,
    z: Tensor,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    solver: str = "heun",
    steps: int = 18,
    condition: Any = None,
) -> Tensor:
    """Map unit noise z `(B, *sample_shape)` to end points of the same shape, dtype and device: `x_T = sigma_max z` down to 0.

    `sigma_min` and `sigma_max` None mean the model's own range, 0.002 to 80 at most. Raises InputError for an unknown solver,
    for steps below 1 and for values outside the model's range.
    """
    return SolverMap(denoiser, solver, steps, sigma_min, sigma_max, device=z.device)(z, (), condition)


def hash_of(*parts: object) -> str:
    """Return the sha256, in hexadecimal, of JSON values: the identity of cached end points."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
