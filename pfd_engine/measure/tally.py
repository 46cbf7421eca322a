"""Distances of pairs of maps over blocks of noises: the one loop that measures, and the tally that joins blocks to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfd_engine.analysis.intervals import CONFIDENCE, Interval, pfd_interval
from pfd_engine.errors import RunError
from pfd_engine.flow.maps import FlowMap, same_map
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.end_points import EndPoints, Progress

Pairs = Mapping[str, tuple[str, str]]
KEPT_FEATURES = 2**27  # numbers, 1 GiB: what per-noise deviations may keep in memory


@dataclass(frozen=True)
class PairBlock:
    """What one block of seeds contributes to the distance of one pair of maps.

    Sums over the block's noises of the features of both maps, `(dim Psi,)`, and of their squared norms.
    """

    seeds: range
    distances: NDArray[np.float64]
    sum_p: NDArray[np.float64]
    sum_q: NDArray[np.float64]
    squares_p: float
    squares_q: float


@dataclass
class Tally:
    """The blocks of one pair of maps; properties join them by seed and sum once, so that their order never matters."""

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
    def value(self) -> float:
        """The distance, `sqrt(mean d)`."""
        return float(np.sqrt(np.mean(self.distances)))

    @property
    def shuffled(self) -> float:
        """The ceiling: the same end points with teacher and student paired at random, in expectation over all pairs m != n, exactly."""
        blocks, count = self._sorted, len(self.distances)
        sum_p = np.sum([block.sum_p for block in blocks], axis=0)
        sum_q = np.sum([block.sum_q for block in blocks], axis=0)
        squares = math.fsum(block.squares_p + block.squares_q for block in blocks)
        all_pairs = count * squares - 2 * float(sum_p @ sum_q)
        return math.sqrt(max(0.0, (all_pairs - float(self.distances.sum())) / (count * (count - 1))))

    @property
    def spreads(self) -> tuple[float, float]:
        """The constant baseline of both maps, `sqrt(mean |Psi Phi - mean|^2)`: no constant feature lies closer to a map than this."""
        blocks, count = self._sorted, len(self.distances)
        sums = np.sum([block.sum_p for block in blocks], axis=0), np.sum([block.sum_q for block in blocks], axis=0)
        squares = math.fsum(block.squares_p for block in blocks), math.fsum(block.squares_q for block in blocks)
        p, q = (math.sqrt(max(0.0, (square - float(total @ total) / count) / count)) for square, total in zip(squares, sums, strict=True))
        return p, q

    @property
    def dimension(self) -> int:
        return len(self.blocks[0].sum_p)

    def interval(self, confidence: float = CONFIDENCE, *, identical: bool = False, strata: NDArray[np.int64] | None = None) -> Interval:
        """Return the distance with its standard error and interval; `identical` tells that both maps are one and the same.

        `strata` numbers the condition of each noise `(M,)`, in the order of the seeds.
        """
        distances = self.distances
        return pfd_interval(distances, confidence, jump_bound=self.shuffled, identical=identical and not distances.any(), strata=strata)


class Deviations:
    """Squared deviations `|Psi Phi - mean|^2` of one map's end points from their mean over all noises, noise by noise.

    The mean is known at the end only, so features are kept until then, up to 1 GiB; beyond that there are no deviations.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, Tensor] = {}
        self._numbers = 0

    def add(self, seeds: range, features: Tensor) -> None:
        """Add a block's features `(n, dim Psi)`."""
        self._numbers += features.numel()
        if self._numbers > KEPT_FEATURES:
            self._blocks.clear()
        else:
            self._blocks[seeds.start] = features

    @property
    def squared(self) -> NDArray[np.float64] | None:
        """The squared deviations `(M,)` in the order of their seeds, None where they would have taken too much memory."""
        if not self._blocks or self._numbers > KEPT_FEATURES:
            return None
        features = torch.cat([self._blocks[start] for start in sorted(self._blocks)])
        return np.asarray((features - features.mean(0)).square().sum(1).numpy())


@dataclass(frozen=True)
class BlockMeasurement:
    """One block of seeds as measured: end points `(n, *shape)` and features `(n, dim Psi)` by map, and each pair's contribution."""

    seeds: range
    end_points: dict[str, Tensor]
    features: dict[str, Tensor]
    pairs: dict[str, PairBlock]
    conditions: list[Hashable] | None = None


class Remembered:
    """A map whose features stay in memory block by block, and the first `shown` end points of each block: many students meet it."""

    def __init__(self, flow_map: FlowMap, shown: int) -> None:
        self.flow_map, self.shown = flow_map, shown
        self.blocks: dict[range, tuple[Tensor, Tensor]] = {}


def measure(
    maps: Mapping[str, FlowMap | Remembered],
    pairs: Pairs,
    blocks: Iterable[range],
    shape: Sequence[int],
    descriptor: Descriptor,
    end_points: EndPoints,
    condition: Callable[[range], Any] | None = None,
) -> Iterator[Progress | BlockMeasurement]:
    """Follow every map from the same noises, block by block; yield progress, and the distances of the named pairs once a block is done."""
    for seeds in blocks:
        conditions = None if condition is None else condition(seeds)
        images: dict[str, Tensor] = {}
        features: dict[str, Tensor] = {}
        for name, flow_map in maps.items():
            if isinstance(flow_map, Remembered) and seeds in flow_map.blocks:
                images[name], features[name] = flow_map.blocks[seeds]
                continue
            followed = flow_map.flow_map if isinstance(flow_map, Remembered) else flow_map
            images[name] = yield from end_points(followed, seeds, shape, conditions)
            with torch.inference_mode():
                features[name] = descriptor(images[name]).double().cpu()
            if isinstance(flow_map, Remembered):
                images[name] = images[name][: flow_map.shown].cpu()
                flow_map.blocks[seeds] = images[name], features[name]
        contributions = {name: pair_block(seeds, features[p], features[q]) for name, (p, q) in pairs.items()}
        yield BlockMeasurement(seeds, images, features, contributions, None if conditions is None else list(map(_label, conditions)))


def _label(condition: Any) -> Hashable:
    """Return what tells a condition from others: the numbers of a tensor, a value as it is, or its text where it cannot be hashed."""
    if isinstance(condition, Tensor):
        return tuple(condition.flatten().tolist())
    return condition if isinstance(condition, Hashable) else repr(condition)


def tallied(work: Iterable[Progress | BlockMeasurement], pairs: Iterable[str]) -> Generator[Progress, None, dict[str, Tally]]:
    """Pass progress on and return each pair's tally over all blocks."""
    tallies = {name: Tally() for name in pairs}
    for measured in work:
        if isinstance(measured, Progress):
            yield measured
        else:
            for name, tally in tallies.items():
                tally.add(measured.pairs[name])
    return tallies


def pair_block(seeds: range, p: Tensor, q: Tensor) -> PairBlock:
    """Return what a tally needs of two maps' features over one block of seeds, `(n, dim Psi)` float64 on the CPU each."""
    distances = (p - q).square().sum(1).numpy()
    return PairBlock(seeds, distances, p.sum(0).numpy(), q.sum(0).numpy(), float(p.square().sum()), float(q.square().sum()))


@dataclass(frozen=True)
class Measured:
    """The tallies of all pairs, and the level of their intervals: 0.95, corrected for the looks under sequential stopping.

    `identical` names the pairs of one and the same map, whose distance is 0 as an identity.
    """

    tallies: dict[str, Tally]
    confidence: float
    identical: frozenset[str] = frozenset()
    conditions: list[Hashable] = field(default_factory=list)

    def interval(self, pair: str) -> Interval:
        """Return a pair's distance with its standard error and interval; with conditions, the interval is for these conditions."""
        numbers = {condition: number for number, condition in enumerate(dict.fromkeys(self.conditions))}
        strata = np.array([numbers[condition] for condition in self.conditions]) if len(numbers) > 1 else None
        return self.tallies[pair].interval(self.confidence, identical=pair in self.identical, strata=strata)


def measure_until(
    maps: Mapping[str, FlowMap],
    pairs: Pairs,
    blocks: Sequence[range],
    shape: Sequence[int],
    psi: Descriptor,
    end_points: EndPoints,
    condition: Callable[[range], Any] | None = None,
    target_relative_error: float | None = None,
) -> Generator[Progress | BlockMeasurement, None, Measured]:
    """Measure all pairs over all blocks, or until half the interval of `PFD` is below the target's share of it; yield every block.

    The target is looked at after the first block and at doublings; all intervals are then corrected for the looks.
    """
    total = sum(map(len, blocks))
    looks = look_schedule(blocks) if target_relative_error is not None else [total]
    identical = frozenset(name for name, (p, q) in pairs.items() if same_map(maps[p], maps[q]))
    measured = Measured({name: Tally() for name in pairs}, 1 - (1 - CONFIDENCE) / len(looks), identical)
    for block in measure(maps, pairs, blocks, shape, psi, end_points, condition):
        if isinstance(block, BlockMeasurement):
            for name, tally in measured.tallies.items():
                tally.add(block.pairs[name])
            measured.conditions.extend(block.conditions or ())
        yield block
        if isinstance(block, BlockMeasurement) and target_relative_error is not None:
            done = block.seeds.stop - blocks[0].start
            if done in looks and reached(measured.interval("PFD"), target_relative_error):
                break
    return measured


def look_schedule(blocks: Sequence[range]) -> list[int]:
    """Return the numbers of noises at which sequential stopping looks: the first block's, its doublings, and all."""
    totals = np.cumsum([len(block) for block in blocks])
    looks, at = [], int(totals[0])
    while at < totals[-1]:
        looks.append(at)
        at *= 2
    return [*looks, int(totals[-1])]


def reached(interval: Interval, target_relative_error: float) -> bool:
    """Tell whether half the interval is at most the target's share of the value."""
    return (interval.ci_high - interval.ci_low) / 2 <= target_relative_error * interval.value
