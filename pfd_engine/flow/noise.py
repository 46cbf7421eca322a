"""The noise bank: an absolute seed gives the same noise whatever the batch, device, shard or order (MATH.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pfd_engine.seeds import check_seed_range


def noise(start: int, stop: int, shape: Sequence[int]) -> Tensor:
    """Return unit noise `(stop - start, *shape)`, float32 on the CPU.

    Row i is `randn(shape)` of a CPU generator seeded with `start + i`.

    Raises ValueError unless `0 <= start <= stop <= 2**32`.
    """
    check_seed_range(start, stop)
    return noise_of(range(start, stop), shape)


def noise_of(seeds: Iterable[int], shape: Sequence[int], draw: int = 0) -> Tensor:
    """Return unit noise for any seeds, `(len(seeds), *shape)`, float32 on the CPU.

    `draw=0` is the noise that becomes x_T; `draw=k` is the k-th re-noising of a stochastic sampler, the same generator's
    draw k + 1, so that a few-step student's own noise is as reproducible as its start.
    """
    seeds = list(seeds)
    for seed in (min(seeds, default=0), max(seeds, default=0)):
        check_seed_range(seed, seed + 1)
    generator = torch.Generator()
    rows = torch.empty(len(seeds), *shape)
    for row, seed in zip(rows, seeds, strict=True):
        generator.manual_seed(seed)
        for _ in range(draw):
            torch.randn(*shape, generator=generator)
        torch.randn(*shape, generator=generator, out=row)
    return rows
