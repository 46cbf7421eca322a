"""Distances of pairs of maps over blocks of noises: the loop that measures, and the tally that joins blocks to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfd_engine.descriptors import Descriptor
from pfd_engine.endpoints import EndPoints, Progress
from pfd_engine.errors import RunError
from pfd_engine.flow_maps import FlowMap
from pfd_engine.intervals import CONFIDENCE, Interval, pfd_interval


@dataclass(frozen=True)
class PairBlock:
    """What one block of seeds contributes to the distance of one pair of maps."""

    seeds: range
    distances: NDArray[np.float64]
    sum_p: NDArray[np.float64]
    sum_q: NDArray[np.float64]
    squares: float


@dataclass
class Tally:
    """The blocks of one pair of maps; `estimate` joins them by seed and sums once, so that their order never matters."""

    blocks: list[PairBlock] = field(default_factory=list)

    def add(self, block: PairBlock) -> None:
        """Add a block; raises ValueError where its seeds were added before and RunError where a distance is not finite."""
        if any(block.seeds.start < other.seeds.stop and other.seeds.start < block.seeds.stop for other in self.blocks):
            raise ValueError(f"the seeds [{block.seeds.start}, {block.seeds.stop}) were measured twice: join disjoint blocks")
        bad = np.flatnonzero(~np.isfinite(block.distances))
        if len(bad):
            raise RunError(
                f"{len(bad)} of {len(block.seeds)} noises end in values that are not finite (the first is seed {block.seeds[bad[0]]}): "
                "the model or the solver is unstable there, so check the checkpoint or take more steps"
            )
        self.blocks.append(block)

    @property
    def _sorted(self) -> list[PairBlock]:
        return sorted(self.blocks, key=lambda block: block.seeds.start)

    @property
    def seeds(self) -> NDArray[np.int64]:
        return np.concatenate([np.asarray(block.seeds, dtype=np.int64) for block in self._sorted])

    @property
    def distances(self) -> NDArray[np.float64]:
        """Squared distances d_m `(M,)`, in the order of their seeds."""
        return np.concatenate([block.distances for block in self._sorted])

    @property
    def shuffled(self) -> float:
        """The ceiling: the same end points with teacher and student paired at random, in expectation over all pairs m != n, exactly."""
        blocks, count = self._sorted, len(self.distances)
        sum_p = np.sum([block.sum_p for block in blocks], axis=0)
        sum_q = np.sum([block.sum_q for block in blocks], axis=0)
        all_pairs = count * math.fsum(block.squares for block in blocks) - 2 * float(sum_p @ sum_q)
        return math.sqrt(max(0.0, (all_pairs - float(self.distances.sum())) / (count * (count - 1))))

    @property
    def dimension(self) -> int:
        return len(self.blocks[0].sum_p)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return PFD with its standard error and interval."""
        return pfd_interval(self.distances, confidence)


@dataclass(frozen=True)
class BlockMeasurement:
    """One block of seeds as measured: end points by map `(n, *shape)`, and the contribution of each pair."""

    seeds: range
    end_points: dict[str, Tensor]
    pairs: dict[str, PairBlock]


def measure(
    maps: Mapping[str, FlowMap],
    pairs: Mapping[str, tuple[str, str]],
    blocks: Iterable[range],
    shape: Sequence[int],
    descriptor: Descriptor,
    end_points: EndPoints,
    condition: Callable[[range], Any] | None = None,
) -> Iterator[Progress | BlockMeasurement]:
    """Follow every map from the same noises, block by block; yield progress, and the distances of the named pairs once a block is done."""
    for seeds in blocks:
        images: dict[str, Tensor] = {}
        for name, flow_map in maps.items():
            images[name] = yield from end_points(flow_map, seeds, shape, condition and condition(seeds))
        with torch.inference_mode():
            features = {name: descriptor(x0).double().cpu() for name, x0 in images.items()}
        yield BlockMeasurement(seeds, images, {name: pair_block(seeds, features[p], features[q]) for name, (p, q) in pairs.items()})


def pair_block(seeds: range, p: Tensor, q: Tensor) -> PairBlock:
    """Return what a tally needs of two maps' features over one block of seeds, `(n, dim Psi)` float64 on the CPU each."""
    squares = float(p.square().sum() + q.square().sum())
    return PairBlock(seeds, (p - q).square().sum(1).numpy(), p.sum(0).numpy(), q.sum(0).numpy(), squares)
