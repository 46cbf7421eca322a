"""How much of a distance the solver itself makes: convergence against few-step maps, and the discretization error."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pfd_engine.config import MAX_STEPS
from pfd_engine.descriptors import Descriptor
from pfd_engine.endpoints import EndPoints, Progress
from pfd_engine.flow_maps import FlowMap, SolverMap
from pfd_engine.measurement import Tally, measure

SUBSET_AT_LEAST, SUBSET_AT_MOST = 8, 64


@dataclass(frozen=True)
class Convergence:
    """The maps as they are measured, with the discretization error where finding them already told it."""

    maps: dict[str, FlowMap]
    error: float | None
    converged: bool = True


def converge(
    maps: dict[str, FlowMap],
    blocks: Sequence[range],
    shape: Sequence[int],
    psi: Descriptor,
    end_points: EndPoints,
    condition: Callable[[range], Any] | None = None,
) -> Generator[Progress, None, Convergence]:
    """Against a few-step map, double the other side's steps until `PFD(n, 2n)` is below a tenth of the PFD or 1e-3 sqrt(dim).

    Solver error cancels between two PF-ODE maps but not here (MATH.md, section 2). Other pairs are returned as they are.
    """
    solved = [name for name, m in maps.items() if isinstance(m, SolverMap)]
    if len(solved) != 1:
        return Convergence(maps, None)
    [name] = solved
    [other] = set(maps) - {name}
    block = [discretization_block(blocks)]
    coarse = maps[name]
    while True:
        assert isinstance(coarse, SolverMap)
        fine = coarse.with_steps(2 * coarse.steps)
        trio = {"coarse": coarse, "fine": fine, "other": maps[other]}
        pairs = {"step": ("coarse", "fine"), "coarse": ("coarse", "other"), "fine": ("fine", "other")}
        tallies = {pair: Tally() for pair in pairs}
        for measured in measure(trio, pairs, block, shape, psi, end_points, condition):
            if isinstance(measured, Progress):
                yield measured
                continue
            for pair, contribution in measured.pairs.items():
                tallies[pair].add(contribution)
        step, distance = tallies["step"].interval().value, tallies["coarse"].interval().value
        small = max(0.1 * distance, 1e-3 * math.sqrt(tallies["step"].dimension))
        if step < small or fine.steps > MAX_STEPS:
            error = abs(tallies["fine"].interval().value - distance)
            return Convergence({**maps, name: coarse}, error, converged=step < small)
        coarse = fine


def discretization_block(blocks: Sequence[range]) -> range:
    """Return the subset of the seeds for the discretization error: a sixteenth of them, 8 to 64, all in the first block."""
    count = sum(map(len, blocks))
    size = min(max(count // 16, SUBSET_AT_LEAST), SUBSET_AT_MOST, len(blocks[0]))
    return range(blocks[0].start, blocks[0].start + size)


def discretization_error(
    maps: Mapping[str, FlowMap],
    tally: Tally,
    blocks: Sequence[range],
    shape: Sequence[int],
    psi: Descriptor,
    end_points: EndPoints,
    condition: Callable[[range], Any] | None = None,
) -> Generator[Progress, None, float | None]:
    """Return `|PFD_2n - PFD_n|` on a subset of the seeds already measured; None where neither side has a solver."""
    if not any(isinstance(m, SolverMap) for m in maps.values()):
        return None
    block = discretization_block(blocks)
    fine = {name: m.with_steps(2 * m.steps) if isinstance(m, SolverMap) else m for name, m in maps.items()}
    tally_fine = Tally()
    for measured in measure(fine, {"PFD": ("teacher", "student")}, [block], shape, psi, end_points, condition):
        if isinstance(measured, Progress):
            yield measured
        else:
            tally_fine.add(measured.pairs["PFD"])
    doubled = tally_fine.distances
    return float(abs(np.sqrt(doubled.mean()) - np.sqrt(tally.distances[: len(block)].mean())))
