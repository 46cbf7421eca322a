"""The same-noise wall: which noises to show, and their end points as small PNGs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pfd_engine.empirical import nearest_samples
from pfd_engine.endpoints import EndPoints
from pfd_engine.flow_maps import FlowMap

if TYPE_CHECKING:
    from pfd_engine.distance import PFDEstimate

PER_GROUP = 8
LONGEST_SIDE = 256


def pair_events(
    estimate: PFDEstimate,
    maps: Mapping[str, FlowMap],
    blocks: Sequence[range],
    shape: Sequence[int],
    end_points: EndPoints,
    training_samples: Tensor | None,
) -> Iterator[dict[str, Any]]:
    """Yield the nearest, median and farthest pairs as events, with the student's nearest training image; none for what is no image.

    `rank` is the pair's place among all noises, 0 the nearest; `distance` is not squared.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        return
    order = np.argsort(estimate.distances, kind="stable")
    ranks = chosen_ranks(len(order), PER_GROUP)
    seeds = [int(estimate.seeds[order[rank]]) for rank, _ in ranks]
    teacher, student = (end_points.pick(maps[role], seeds, blocks, shape) for role in ("teacher", "student"))
    yield from _events(ranks, seeds, estimate.distances[order], teacher, student, training_samples)


def pairs_as_events(
    distances: NDArray[np.float64], seeds: NDArray[np.int64], teacher: Tensor, student: Tensor, training_samples: Tensor, per_group: int
) -> Iterator[dict[str, Any]]:
    """Yield pairs of end points that are all at hand: squared distances and seeds `(M,)`, teacher and student `(M, *shape)`."""
    if teacher.ndim != 4 or teacher.shape[1] not in (1, 3):
        return
    order = np.argsort(distances, kind="stable")
    ranks = chosen_ranks(len(order), per_group)
    rows = [int(order[rank]) for rank, _ in ranks]
    yield from _events(ranks, [int(seeds[row]) for row in rows], distances[order], teacher[rows], student[rows], training_samples)


def _events(
    ranks: Sequence[tuple[int, str]],
    seeds: Sequence[int],
    ordered: NDArray[np.float64],
    teacher: Tensor,
    student: Tensor,
    training_samples: Tensor | None,
) -> Iterator[dict[str, Any]]:
    nearest = None
    if training_samples is not None:
        samples = training_samples.cpu()
        nearest = samples[nearest_samples(student, samples, count=1)[1][:, 0]]
    for i, (rank, group) in enumerate(ranks):
        yield {
            "type": "pair",
            "seed": seeds[i],
            "rank": rank,
            "group": group,
            "distance": float(np.sqrt(ordered[rank])),
            "teacher_png": to_png(teacher[i]),
            "student_png": to_png(student[i]),
            "nearest_png": None if nearest is None else to_png(nearest[i]),
        }


def chosen_ranks(count: int, per_group: int = PER_GROUP) -> list[tuple[int, str]]:
    """Return `(rank, group)` of up to `per_group` nearest, median and farthest of `count` noises each, without repetition, by rank."""
    size = min(per_group, count // 3) or 1
    middle = (count - size) // 2
    groups = dict.fromkeys(range(size), "nearest")
    groups |= dict.fromkeys(range(count - size, count), "farthest")
    groups |= {rank: "median" for rank in range(middle, middle + size) if rank not in groups}
    return sorted(groups.items())


def to_png(image: Tensor) -> str:
    """Return an image `(1 or 3, H, W)` in [-1, 1], clipped to it, as base64 PNG of at most 256 pixels on its longest side."""
    array = image.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
