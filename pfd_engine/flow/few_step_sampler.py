"""How a few-step student of our own samples: which kind of map it is, and its noise levels. No torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_LEVELS = 1024


class FewStepSampler(BaseModel):
    """The `sampler` of config.json.

    `levels` are the sigmas that the student was trained at for sampling, falling from its sigma_max; `steps` is how many of them it
    takes unless asked otherwise. A `progressive` student steps through all of them, without noise; `consistency` and
    `distribution-matching` students jump to the end from each, and re-noise in between.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["progressive", "consistency", "distribution-matching"]
    levels: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, max_length=MAX_LEVELS)]
    steps: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _levels_fall(self) -> Self:
        if any(high <= low for high, low in pairwise(self.levels)):
            raise ValueError("the levels of its sampler do not fall")
        if self.steps > len(self.levels) or (self.kind == "progressive" and self.steps != len(self.levels)):
            raise ValueError(f"its sampler takes {self.steps} steps but has {len(self.levels)} levels")
        return self

    def check_range(self, sigma_min: float, sigma_max: float) -> None:
        """Raise ValueError unless the levels start at sigma_max and stay above sigma_min."""
        if abs(self.levels[0] - sigma_max) > 1e-6 * sigma_max or self.levels[-1] < sigma_min * (1 - 1e-6):
            raise ValueError(f"the levels of its sampler do not run from sigma_max {sigma_max:g} down to at least {sigma_min:g}")

    def levels_of(self, steps: int) -> tuple[float, ...]:
        """Return the levels of a map with `steps` steps; raises ValueError with one sentence."""
        if self.kind == "progressive" and steps != self.steps:
            raise ValueError(f"student steps is {steps}: this progressive student was distilled to {self.steps}, and takes no other number")
        if not 1 <= steps <= len(self.levels):
            raise ValueError(f"student steps is {steps}: this {self.kind} student takes 1 to {len(self.levels)}")
        stride = len(self.levels) // steps
        return self.levels[: stride * steps : stride]

    def keeps_coupling(self, steps: int) -> bool:
        """Tell whether the map follows x_T to the end: not so where it re-noises, nor where nothing asked it to."""
        return self.kind == "progressive" or (self.kind == "consistency" and steps == 1)
