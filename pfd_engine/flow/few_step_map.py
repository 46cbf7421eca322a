"""The maps of our own few-step students: progressive, consistency and distribution-matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser, EDMPrecondition
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.maps import hash_of
from pfd_engine.flow.noise import noise_of


class FewStepNetwork(EDMPrecondition):
    """A few-step student's network: `f(x, sigma) -> x0` at the levels of its `sampler`."""

    def __init__(self, denoiser: EDMPrecondition, sampler: FewStepSampler) -> None:
        super().__init__(denoiser.network, denoiser.sigma_data, denoiser.shape)
        self.sampler = sampler


class FewStepMap:
    """A few-step student as a map from x_T = sigma_max z, with `steps` network calls (None: what its sampler says).

    A progressive student takes DDIM steps to the next of its levels and finally to 0 (arXiv 2202.00512). The others jump to an
    end point and, for each further level, add noise of that level and jump again (arXiv 2303.01469, algorithm 1; arXiv 2405.14867,
    section 4.4); the k-th re-noising is draw k of each seed. `keeps_coupling` is False where that breaks the link with x_T. `model` may
    be any denoiser; its `content_key`, `device` and `shape` are used where it has them.
    """

    few_step = True

    def __init__(self, model: Denoiser, sampler: FewStepSampler, steps: int | None = None) -> None:
        self.model = model
        self.sampler = sampler
        self.steps = sampler.steps if steps is None else steps
        try:
            self.levels = sampler.levels_of(self.steps)
        except ValueError as error:
            raise InputError(str(error), "student_steps") from None
        self.sigma_min = getattr(model, "sigma_min", None)
        self.sigma_max = self.levels[0]
        self.keeps_coupling = sampler.keeps_coupling(self.steps)
        self.network_calls = self.steps
        self.device = torch.device(getattr(model, "device", "cpu"))

    @property
    def shape(self) -> tuple[int, ...] | None:
        shape = getattr(self.model, "shape", None)
        return None if shape is None else tuple(shape)

    @property
    def cache_key(self) -> str | None:
        """A hash of everything that moves the end points; None where the model has no `content_key`."""
        content = getattr(self.model, "content_key", None)
        return None if content is None else hash_of("few-step-map", content, self.sampler.kind, self.levels)

    @torch.inference_mode()
    def __call__(self, z: Tensor, seeds: Sequence[int], condition: Any = None) -> Tensor:
        z = z.to(self.device)
        x = self.levels[0] * z
        x0 = self.model(x, self.levels[0], condition)
        for draw, (above, sigma) in enumerate(zip(self.levels, self.levels[1:], strict=False), start=1):
            if self.sampler.kind == "progressive":
                x = x0.lerp(x, sigma / above)
            else:
                x = x0 + sigma * noise_of(seeds, z.shape[1:], draw=draw).to(z)
            x0 = self.model(x, sigma, condition)
        return x0
