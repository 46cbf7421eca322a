"""The closed-form denoiser of a training set, exact and in bounded memory, and the nearest training samples of an image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pfd_engine.flow.denoisers import Sigma

BLOCK_ELEMENTS = 2**22


class EmpiricalDenoiser:
    """The denoiser of the empirical distribution of `samples` `(N, *sample_shape)`: `D = sum_i w_i y_i` (MATH.md, section 1).

    The weights `softmax_i(-|x - y_i|^2 / (2 sigma^2))` are exact: computed in float64, in log space and in blocks over i with an
    online softmax, so that memory grows with neither N x B x d nor N x B. Its flow map returns the training set's own images,
    which is why the distance to it measures memorization (E_mem). Samples are kept in their dtype, on their device.
    """

    def __init__(self, samples: Tensor) -> None:
        samples = torch.as_tensor(samples)
        if samples.ndim < 2 or samples.shape[0] < 1 or samples[0].numel() < 1:
            raise ValueError(f"samples is {tuple(samples.shape)}: give (N, *sample_shape) with N >= 1")
        if not torch.isfinite(samples).all():
            raise ValueError("samples contain NaN or infinite values: give finite samples")
        self.samples = samples.reshape(samples.shape[0], -1)
        self.shape = tuple(samples.shape[1:])
        self.device = samples.device

    @cached_property
    def content_key(self) -> str:
        """sha256 of the samples: the identity of this denoiser's cached end points."""
        digest = hashlib.sha256(f"empirical-1:{self.samples.dtype}:{tuple(self.samples.shape)}".encode())
        digest.update(self.samples.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        flat = x.reshape(x.shape[0], -1).double()
        precision = (1 / torch.as_tensor(sigma, dtype=torch.float64, device=x.device) ** 2).reshape(-1, 1)
        # -|x - y|^2 / (2 sigma^2) up to a term that does not depend on y: (x.y - |y|^2 / 2) / sigma^2
        running_max = torch.full((x.shape[0], 1), -torch.inf, dtype=torch.float64, device=x.device)
        total = torch.zeros_like(running_max)
        weighted = torch.zeros_like(flat)
        for _, block in _blocks(self.samples, x):
            logits = torch.addmm(-0.5 * block.square().sum(1), flat, block.T).mul_(precision)
            block_max = torch.maximum(running_max, logits.amax(1, keepdim=True))
            weights = logits.sub_(block_max).exp_()
            shrink = (running_max - block_max).exp_()
            total = total.mul_(shrink).add_(weights.sum(1, keepdim=True))
            weighted = weighted.mul_(shrink).addmm_(weights, block)
            running_max = block_max
        return (weighted / total).reshape(x.shape).to(x.dtype)


def nearest_samples(images: Tensor, samples: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """Return the `count` smallest Euclidean distances `(B, count)`, float64, and their indices into samples, nearest first.

    images `(B, *shape)`, samples `(N, *shape)` with N >= count; blocked over N.
    """
    flat = images.reshape(images.shape[0], -1).double()
    best = torch.full((len(flat), count), torch.inf, dtype=torch.float64, device=images.device)
    index = torch.zeros((len(flat), count), dtype=torch.int64, device=images.device)
    for start, block in _blocks(samples.reshape(samples.shape[0], -1), images):
        squared = torch.addmm(block.square().sum(1), flat, block.T, alpha=-2).add_(flat.square().sum(1, keepdim=True))
        distance = squared.clamp_min_(0).sqrt_()
        candidates = torch.arange(start, start + len(block), device=images.device).expand_as(distance)
        best, order = torch.cat([best, distance], 1).topk(count, largest=False)
        index = torch.cat([index, candidates], 1).gather(1, order)
    return best, index


def _blocks(samples: Tensor, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield `(start, float64 rows)` of samples on x's device, each block bounded in size against both B and d."""
    size = max(1, BLOCK_ELEMENTS // max(x.shape[0], samples.shape[1]))
    for start in range(0, samples.shape[0], size):
        yield start, samples[start : start + size].to(device=x.device, dtype=torch.float64)
