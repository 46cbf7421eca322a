"""Noise schedules of variance-preserving models without torch: diffusers' float32 values, to the bit but for zero-SNR rescaling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pfd_engine.hub.layout import CheckpointError

FloatArray = NDArray[np.float64]


def betas(schedule: str, start: float, end: float, count: int, trained: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Return the betas of a named schedule, `(count,)`."""
    if trained is not None:
        return np.asarray(trained, dtype=np.float32)
    if schedule == "linear":
        return _linspace(start, end, count)
    if schedule == "scaled_linear":
        return _linspace(start**0.5, end**0.5, count) ** 2
    cosine = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
    return np.asarray([min(1 - cosine[i + 1] / cosine[i], 0.999) for i in range(count)], dtype=np.float32)


def alphas_cumprod(betas: NDArray[np.float32], rescale_zero_snr: bool = False) -> NDArray[np.float32]:
    """Return abar at every timestep; with `rescale_zero_snr` its last entry is 0 (arXiv 2305.08891, algorithm 1)."""
    if rescale_zero_snr:
        root = np.sqrt(_cumprod(np.float32(1) - betas))
        first, last = root[0], root[-1]
        root = (root - last) * (first / (first - last))
        bar = root**2
        alphas = np.concatenate([bar[:1], bar[1:] / bar[:-1]])
        betas = np.float32(1) - alphas
    return _cumprod(np.float32(1) - betas)


def finite_sigmas(abar: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Return the timesteps of finite noise and their sigma `sqrt((1 - abar) / abar)`, both ascending.

    Timesteps of infinite sigma (the zero-SNR end) are left out. Raises CheckpointError unless sigma rises with the timestep.
    """
    timesteps = np.flatnonzero(abar > 0)
    bar = abar[timesteps].astype(np.float64)
    with np.errstate(invalid="ignore"):
        sigmas = np.sqrt((1 - bar) / bar)
    if len(sigmas) < 2 or not (np.isfinite(sigmas).all() and sigmas[0] > 0 and (np.diff(sigmas) > 0).all()):
        raise CheckpointError("the scheduler's betas do not make noise that rises from step to step: correct its configuration")
    return timesteps.astype(np.float64), sigmas


def _linspace(start: float, end: float, count: int) -> NDArray[np.float32]:
    """Count from both ends with a float32 step and one rounding an entry, as torch does."""
    low, high = np.float32(start), np.float32(end)
    step = np.float64((high - low) / np.float32(count - 1))
    index = np.arange(count)
    return np.where(index < count // 2, low + step * index, high - step * (count - 1 - index)).astype(np.float32)


def _cumprod(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply in float64 and round once an entry, as torch does on the CPU."""
    return np.cumprod(values.astype(np.float64)).astype(np.float32)
