"""How a student is trained: one checked table of settings, the learning rate along the steps, and which steps to keep. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pfd_engine.errors import InputError

EMA_KINDS = ("exponential", "power")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "bfloat16")
FIRST_FIELDS = ("batch_size", "learning_rate", "ema_decay", "p_mean", "p_std", "sigma_data")
ALONE = {"clip_norm": None, "dropout": 0.0, "flips": False, "precision": "float32", "compile": False}  # what stacked students cannot have
LARGEST_EMA_WIDTH = 0.28  # beyond about 0.289, that of a uniform average, there is no exponent


@dataclass(frozen=True)
class TrainConfig:
    """How a denoiser is trained; the defaults are for 8x8 digits. Checked when built (InputError).

    ln sigma ~ N(p_mean, p_std^2); `sigma_data` is the data's standard deviation in the preconditioning and the loss weight;
    `seed` decides the initial weights, the order of the data and the noise.

    `ema` is the average of the weights: `exponential`, whose `ema_decay` is reached by way of (1 + k) / (10 + k) at step k, so that
    early averages forget the initial weights; or `power`, the power function of relative width `ema_width` (arXiv 2312.02696,
    section 3.1). The learning rate rises over `warmup_steps` and then stays (`constant`) or falls to 0 (`cosine`). `clip_norm`
    bounds the gradient's norm. `dropout` acts inside the network; `flips` mirrors half of the images from left to right.
    `precision` bfloat16 and `compile` are for GPUs.
    """

    steps: int = 5000
    batch_size: int = 128
    learning_rate: float = 1e-3
    ema_decay: float = 0.999
    p_mean: float = 0.0
    p_std: float = 1.4
    sigma_data: float = 0.6
    seed: int = 0
    ema: str = "exponential"
    ema_width: float = 0.05
    warmup_steps: int = 0
    schedule: str = "constant"
    clip_norm: float | None = None
    dropout: float = 0.0
    flips: bool = False
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch_size", 1), ("seed", 0), ("warmup_steps", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name} is {getattr(self, name)}: give a whole number of at least {low}", name)
        for name in ("learning_rate", "p_std", "sigma_data", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value}: give a positive, finite number", name)
        if not math.isfinite(self.p_mean):
            raise InputError(f"p_mean is {self.p_mean}: give a finite number", "p_mean")
        for name in ("ema_decay", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give a number from 0 up to, but below, 1", name)
        if not 0 < self.ema_width <= LARGEST_EMA_WIDTH:
            raise InputError(f"ema_width is {self.ema_width}: give a number above 0, up to {LARGEST_EMA_WIDTH}", "ema_width")
        for name, allowed in (("ema", EMA_KINDS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(allowed)}", name)
        if self.warmup_steps >= self.steps:
            raise InputError(f"warmup_steps is {self.warmup_steps} of {self.steps} steps: give fewer", "warmup_steps")

    def recorded(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it: seed and steps aside, the first settings always and the others where they were changed."""
        default = {field.name: field.default for field in fields(self)}
        always = (*FIRST_FIELDS, "ema_width") if self.ema == "power" else FIRST_FIELDS
        kept = {name: value for name, value in asdict(self).items() if name in always or value != default[name]}
        return {name: value for name, value in kept.items() if name not in ("seed", "steps")}


def learning_rate_at(config: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of training step `step` (from 0) of `steps`: linear warm-up, then constant, or half a cosine to 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - config.warmup_steps) / (steps - config.warmup_steps)))


def log_spaced_steps(steps: int, count: int, first: int = 1) -> list[int]:
    """Return at most `count` different steps from `first` to `steps`, both included, evenly spaced in their logarithm."""
    if count < 1 or not 1 <= first <= steps:
        raise InputError(f"{count} checkpoints from step {first} to {steps}: give at least one, and a first step among them", "checkpoints")
    if count == 1:
        return [steps]
    return sorted({round(first * (steps / first) ** (k / (count - 1))) for k in range(count)})


def check_device(config: TrainConfig, device_type: str) -> None:
    """Raise InputError for settings that need a GPU on a device that is none."""
    wanted: Sequence[tuple[str, bool]] = (("precision", config.precision != "float32"), ("compile", config.compile))
    for name, asked in wanted:
        if asked and device_type != "cuda":
            raise InputError(f"{name} is {getattr(config, name)} on {device_type}: that is for GPUs, so leave it out here", name)
