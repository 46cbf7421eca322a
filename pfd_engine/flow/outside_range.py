"""The diagnostic map: the student inside its trained range, the teacher outside, to see where along sigma an effect arises.

Outside the trained range a student extrapolates, and E_gen measures that, too. With the teacher's denoiser there, only what was trained is
compared. Such a map belongs to no model: it has no verdict and no E_mem (MATH.md, section 4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser, Sigma, noise_level
from pfd_engine.flow.maps import hash_of, own_range


class InsideRange:
    """The denoiser `student(x; sigma)` where `low <= sigma <= high`, and `teacher(x; sigma)` elsewhere.

    `low` and `high` are noise standard deviations in the unit of the data; both may lie outside the solver's grid, so that one of the two
    denoisers is never asked. `sigma_min` and `sigma_max` are the overlap of both models' own ranges, and `shape` is theirs, as far as they
    state one; `device` is the student's, where the teacher lies too. `content_key` changes with either model and with the range; it is
    None where one of the models has none.

    Raises InputError for a range that is not `0 <= low <= high`, and for models of two shapes.
    """

    def __init__(self, student: Denoiser, teacher: Denoiser, low: float, high: float) -> None:
        if not 0 <= low <= high:
            raise InputError(f"the trained range is {low:g} to {high:g}: give two noise levels, the lower one first")
        shapes = [tuple(shape) for model in (student, teacher) if (shape := getattr(model, "shape", None)) is not None]
        if len(set(shapes)) > 1:
            sides = ["x".join(map(str, shape)) for shape in shapes]
            raise InputError(f"student is {sides[0]} but teacher is {sides[1]}: choose a pair of one size")
        self.student, self.teacher = student, teacher
        self.low, self.high = float(low), float(high)
        self.shape = shapes[0] if shapes else None
        self.device = torch.device(getattr(student, "device", getattr(teacher, "device", "cpu")))
        ranges = own_range(student), own_range(teacher)
        self.sigma_min, self.sigma_max = max(one[0] for one in ranges), min(one[1] for one in ranges)

    @property
    def content_key(self) -> str | None:
        """A hash of both models' keys and the range: the identity of this denoiser's cached end points."""
        keys = [getattr(model, "content_key", None) for model in (self.student, self.teacher)]
        return None if None in keys else hash_of("inside-range", *keys, self.low, self.high)

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        level = noise_level(sigma, x)
        if not isinstance(level, Tensor):
            return (self.student if self.low <= level <= self.high else self.teacher)(x, sigma, condition)
        inside = (level >= self.low) & (level <= self.high)
        return torch.where(inside, self.student(x, sigma, condition), self.teacher(x, sigma, condition))
