"""Which generated images are copies of training samples, where a training set may hold a sample more than once (MATH.md, section 6)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from pfd_engine.flow.empirical import nearest_samples

MEMORIZED_BELOW = 1 / 3
EQUAL_BELOW = 1e-6
PROJECTIONS = 4
BLOCK_ELEMENTS = 2**22


def distinct_samples(samples: Tensor) -> Tensor:
    """Return the samples `(N, *shape)` without duplicates, `(n, *shape)` with n <= N, in their order.

    A sample is a duplicate where its Euclidean distance to an earlier one is below 1e-6 of the larger norm of the two. The result is exact:
    equal rows are found by their hash; for the others, a distance along four fixed directions is a lower bound of the distance, so that
    only pairs close along all four, few among any images, are compared in full and in float64. The time grows like N log N and the
    memory like N, but for the samples themselves. The number of distinct samples is the length of the result.
    """
    kept = _first_of_equal_rows(samples)
    rows = samples if len(kept) == len(samples) else samples[kept]
    repeated = _near_duplicates(rows.flatten(1))
    return rows[~repeated.to(rows.device)] if repeated.any() else rows


def count_memorized(images: Tensor, distinct: Tensor) -> int:
    """Count the images whose nearest training sample is closer than a third of the second nearest (MATH.md: memorization ratio).

    images `(B, *shape)`; `distinct` `(n, *shape)` with n >= 2, as `distinct_samples` returns them, on any device. The two distances are
    taken from differences in float64, so that an exact copy has distance 0.

    Raises ValueError for fewer than two distinct samples, among which there is no second nearest.
    """
    if len(distinct) < 2:
        raise ValueError(f"there are {len(distinct)} distinct training samples: a memorization ratio needs at least 2")
    _, index = nearest_samples(images, distinct)
    flat = images.flatten(1).double()
    nearest, second = (
        (flat - distinct[index[:, rank].to(distinct.device)].to(images.device).flatten(1).double()).norm(dim=1) for rank in (0, 1)
    )
    return int((torch.minimum(nearest, second) < MEMORIZED_BELOW * torch.maximum(nearest, second)).sum())


def _first_of_equal_rows(samples: Tensor) -> Tensor:
    """Return the indices of the rows that equal no earlier row, ascending; -0 equals 0."""
    seen: dict[bytes, int] = {}
    for start, block in _blocks(samples.flatten(1)):
        for offset, row in enumerate(block.add(0).cpu().numpy()):
            seen.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), start + offset)
    return torch.tensor(sorted(seen.values()), dtype=torch.int64, device=samples.device)


def _near_duplicates(rows: Tensor) -> Tensor:
    """Return which of the rows `(n, d)` are duplicates of an earlier one, `(n,)` bool on the CPU."""
    projected, norms = _projected(rows)
    order = projected[:, 0].argsort()
    along, within = projected[order], EQUAL_BELOW * (1 + 1e-3) * norms[order]  # the margin is for rounding and for the larger norm
    repeated = torch.zeros(len(rows), dtype=torch.bool)
    starts = torch.arange(len(rows))
    for offset in range(1, len(rows)):  # all pairs `offset` places apart along the first direction, while some are close along it
        starts = starts[: int((starts + offset < len(rows)).sum())]
        starts = starts[along[starts + offset, 0] - along[starts, 0] <= within[starts]]
        if not len(starts):
            break
        close = ((along[starts + offset] - along[starts]).abs() <= within[starts, None]).all(1)
        first, second = torch.stack([order[starts[close]], order[starts[close] + offset]]).sort(0).values
        unknown = ~repeated[second]
        repeated[_equal(rows, norms, first[unknown], second[unknown])] = True
    return repeated


def _equal(rows: Tensor, norms: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return those of the indices `second` `(P,)` whose rows are closer to the rows `first` `(P,)` than 1e-6 of the larger norm."""
    size = max(1, BLOCK_ELEMENTS // rows.shape[1])
    found = [second[:0]]
    for a, b in zip(first.split(size), second.split(size), strict=True):
        distances = (rows[a.to(rows.device)].double() - rows[b.to(rows.device)].double()).norm(dim=1).cpu()
        found.append(b[distances < EQUAL_BELOW * torch.maximum(norms[a], norms[b])])
    return torch.cat(found)


def _projected(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows `(n, d)` along orthonormal directions, `(n, min(4, d))`, and their norms `(n,)`, both float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    count = min(PROJECTIONS, rows.shape[1])
    directions = torch.linalg.qr(torch.randn(rows.shape[1], count, generator=generator, dtype=torch.float64)).Q
    parts = [(block.double().cpu() @ directions, block.double().norm(dim=1).cpu()) for _, block in _blocks(rows)]
    return torch.cat([along for along, _ in parts]), torch.cat([norms for _, norms in parts])


def _blocks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    size = max(1, BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]
