"""Students that one batched denoiser holds, as flow maps of their own: followed all at once, and handed out one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pfd_engine.flow.denoisers import Denoiser, Sigma
from pfd_engine.flow.maps import SolverMap
from pfd_engine.flow.solvers import Solver


class Together:
    """The maps of K students whose denoiser takes `(K B, *shape)`, student by student.

    Whichever student's end points are asked for first, those of all are computed; they are kept until every student was asked for them.
    """

    def __init__(self, flow_map: SolverMap, count: int) -> None:
        self.flow_map, self.count = flow_map, count
        self._kept: dict[tuple[int, ...], tuple[Tensor, set[int]]] = {}
        self._finer: dict[int, Together] = {}

    def parts(self) -> list[Part]:
        """Return the students' maps in their order."""
        return [Part(self, index) for index in range(self.count)]

    def with_steps(self, steps: int) -> Together:
        """Return the same students followed with another number of steps."""
        if steps not in self._finer:
            self._finer[steps] = Together(self.flow_map.with_steps(steps), self.count)
        return self._finer[steps]

    def end_points(self, index: int, z: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return one student's end points `(B, *shape)` from unit noise z `(B, *shape)` with its B seeds."""
        key = tuple(seeds)
        if key not in self._kept:
            with torch.inference_mode():
                together = self.flow_map(z.repeat(self.count, *[1] * (z.ndim - 1)), ())
            self._kept[key] = together.unflatten(0, (self.count, -1)), set(range(self.count))
        images, waiting = self._kept[key]
        waiting.discard(index)
        if not waiting:
            del self._kept[key]
        return images[index]


class Repeated:
    """One denoiser for K students: takes `(K B, *shape)` as theirs does, B samples at a time, so that it needs no more memory than alone.

    `shape`, `device`, `sigma_min` and `sigma_max` are its own. sigma is one number.
    """

    def __init__(self, denoiser: Denoiser, count: int) -> None:
        self.denoiser, self.count = denoiser, count
        self.shape, self.device = getattr(denoiser, "shape", None), getattr(denoiser, "device", "cpu")
        self.sigma_min, self.sigma_max = getattr(denoiser, "sigma_min", None), getattr(denoiser, "sigma_max", None)

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        return torch.cat([self.denoiser(part, sigma, condition) for part in x.unflatten(0, (self.count, -1))])


class Part:
    """One student of `Together`."""

    cache_key = None

    def __init__(self, together: Together, index: int) -> None:
        self._together, self._index = together, index

    @property
    def device(self) -> torch.device:
        return self._together.flow_map.device

    @property
    def solver(self) -> Solver:
        return self._together.flow_map.solver

    @property
    def steps(self) -> int:
        return self._together.flow_map.steps

    @property
    def network_calls(self) -> int:
        return self._together.flow_map.network_calls

    def with_steps(self, steps: int) -> Part:
        """Return the same student followed with another number of steps."""
        return Part(self._together.with_steps(steps), self._index)

    def __call__(self, z: Tensor, seeds: Sequence[int], condition: Any = None) -> Tensor:
        return self._together.end_points(self._index, z, seeds)
