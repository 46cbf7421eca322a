"""What is known of a checkpoint from its configuration files alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Description:
    """A checkpoint before its weights are read.

    `shape` is one sample's, `(C, H, W)`; `sigma_min` and `sigma_max` bound the noise levels the model was trained on, in
    units of data in [-1, 1]; `weights` says which of the published weights are used; `few_step` models are maps by
    themselves, and `steps` is their own number of steps (None for PF-ODE models, which a solver steps).
    """

    family: str
    shape: tuple[int, ...]
    sigma_min: float
    sigma_max: float
    weights: str
    few_step: bool = False
    steps: int | None = None
    license: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    training_set_reference: str | None = None
