"""Averages of the weights along training: exponential with a ramp, and the power function with its relative width."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from pfd_engine.configs.training import TrainConfig


def ema_decay_at(step: int, decay: float) -> float:
    """Return the decay of the update after training step `step` (from 0): `min(decay, (1 + step) / (10 + step))`."""
    return min(decay, (1 + step) / (10 + step))


@lru_cache(maxsize=64)
def power_exponent(width: float) -> float:
    """Return gamma of the power-function average of relative width `width`, a share of the training time (arXiv 2312.02696, equation 126).

    The width is the standard deviation of the profile: `width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))`.
    """
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def power_width(exponent: float) -> float:
    """Return the relative width of the average with that exponent gamma."""
    return math.sqrt((exponent + 1) / ((exponent + 2) ** 2 * (exponent + 3)))


def power_decay_at(step: int, width: float) -> float:
    """Return the decay of the update after training step `step` (from 0): `(1 - 1 / (step + 1))^(gamma + 1)`; the first forgets all."""
    return (1 - 1 / (step + 1)) ** (power_exponent(width) + 1)


def decay_at(config: TrainConfig, step: int) -> float:
    """Return the decay of the update after training step `step` (from 0) for the average that the configuration asks for."""
    return power_decay_at(step, config.ema_width) if config.ema == "power" else ema_decay_at(step, config.ema_decay)


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Set `average <- decay average + (1 - decay) network`, in place, over all parameters."""
    for mean, current in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(current, 1 - decay)
