"""The same-noise wall: which noises to show, and their end points as small PNGs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pfd_engine.flow.empirical import nearest_samples
from pfd_engine.flow.maps import FlowMap
from pfd_engine.measure.end_points import EndPoints

if TYPE_CHECKING:
    from pfd_engine.measure.pfd import PFDEstimate

PER_GROUP, FIRST = 8, 16
LONGEST_SIDE, FIRST_LONGEST_SIDE = 256, 512


@dataclass(frozen=True)
class Chosen:
    """A noise whose pair is kept: its row among those measured, its place by distance (0: nearest), and why it is kept."""

    row: int
    rank: int
    group: str


def pair_events(
    estimate: PFDEstimate,
    maps: Mapping[str, FlowMap],
    blocks: Sequence[range],
    shape: Sequence[int],
    end_points: EndPoints,
    training_samples: Tensor | None,
) -> Iterator[dict[str, Any]]:
    """Yield pairs as events: the nearest, median and farthest ones, and those of the first noises, which all students of a teacher share.

    `maps` are `teacher`, `student` and, with a training set, `empirical`. `rank` is the pair's place among all noises, 0 the nearest;
    `distance` is not squared. Each has the student's nearest training image, and the first noises the empirical map's, where there is a
    training set. What is no image has no pairs.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        return
    chosen = chosen_pairs(estimate.distances, PER_GROUP, FIRST)
    seeds = list(dict.fromkeys(int(estimate.seeds[pair.row]) for pair in chosen))
    ends = {role: dict(zip(seeds, end_points.pick(maps[role], seeds, blocks, shape), strict=True)) for role in ("teacher", "student")}
    empirical: dict[int, Tensor] = {}
    if "empirical" in maps:
        first = [int(estimate.seeds[pair.row]) for pair in chosen if pair.group == "first"]
        empirical = dict(zip(first, end_points.pick(maps["empirical"], first, blocks, shape), strict=True))
    yield from _events(chosen, estimate.distances, estimate.seeds, ends["teacher"], ends["student"], empirical, training_samples)


def pairs_as_events(
    distances: NDArray[np.float64],
    seeds: NDArray[np.int64],
    teacher: Tensor,
    student: Tensor,
    empirical: Tensor,
    training_samples: Tensor,
    per_group: int,
    first: int,
) -> Iterator[dict[str, Any]]:
    """Yield pairs of end points that are all at hand: squared distances and seeds `(M,)`, teacher and student `(M, *shape)`, the
    empirical map's of the first noises `(first or more, *shape)`."""
    if teacher.ndim != 4 or teacher.shape[1] not in (1, 3):
        return
    chosen = chosen_pairs(distances, per_group, min(first, len(empirical)))
    by_seed = [dict(zip(map(int, seeds), images, strict=False)) for images in (teacher, student, empirical)]
    yield from _events(chosen, distances, seeds, by_seed[0], by_seed[1], by_seed[2], training_samples)


def _events(
    chosen: Sequence[Chosen],
    squared: NDArray[np.float64],
    seeds: NDArray[np.int64],
    teacher: Mapping[int, Tensor],
    student: Mapping[int, Tensor],
    empirical: Mapping[int, Tensor],
    training_samples: Tensor | None,
) -> Iterator[dict[str, Any]]:
    nearest: Tensor | None = None
    if training_samples is not None:
        samples = training_samples.cpu()
        drawn = torch.stack([student[int(seeds[pair.row])].cpu() for pair in chosen])
        nearest = samples[nearest_samples(drawn, samples, count=1)[1][:, 0]]
    for i, pair in enumerate(chosen):
        seed, first = int(seeds[pair.row]), pair.group == "first"
        side = FIRST_LONGEST_SIDE if first else LONGEST_SIDE
        yield {
            "type": "pair",
            "seed": seed,
            "rank": pair.rank,
            "group": pair.group,
            "distance": float(np.sqrt(squared[pair.row])),
            "teacher_png": to_png(teacher[seed], side),
            "student_png": to_png(student[seed], side),
            "nearest_png": None if nearest is None else to_png(nearest[i], side),
            "empirical_png": to_png(empirical[seed], side) if first and seed in empirical else None,
        }


def chosen_pairs(squared: NDArray[np.float64], per_group: int = PER_GROUP, first: int = FIRST) -> list[Chosen]:
    """Return which pairs of noises with squared distances `(M,)` to keep: those of `chosen_ranks` by rank, then the first ones by row."""
    order = np.argsort(squared, kind="stable")
    rank = {int(row): place for place, row in enumerate(order)}
    extremes = [Chosen(int(order[place]), place, group) for place, group in chosen_ranks(len(order), per_group)]
    return extremes + [Chosen(row, rank[row], "first") for row in range(min(first, len(order)))]


def chosen_ranks(count: int, per_group: int = PER_GROUP) -> list[tuple[int, str]]:
    """Return `(rank, group)` of up to `per_group` nearest, median and farthest of `count` noises each, without repetition, by rank."""
    size = min(per_group, count // 3) or 1
    middle = (count - size) // 2
    groups = dict.fromkeys(range(size), "nearest")
    groups |= dict.fromkeys(range(count - size, count), "farthest")
    groups |= {rank: "median" for rank in range(middle, middle + size) if rank not in groups}
    return sorted(groups.items())


def to_png(image: Tensor, longest_side: int = LONGEST_SIDE) -> str:
    """Return an image `(1 or 3, H, W)` in [-1, 1], clipped to it, as base64 PNG of at most so many pixels on its longest side."""
    array = image.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    picture.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
