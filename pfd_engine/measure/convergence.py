"""How much of a distance the solver itself makes: convergence against few-step maps, and the solver error of each pair of maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pfd_engine.configs.evaluate import MAX_STEPS
from pfd_engine.flow.maps import FlowMap, Solved, SolverMap
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.end_points import EndPoints, Progress
from pfd_engine.measure.solver_error import SolverError, finer_steps, solver_error, subset_size
from pfd_engine.measure.tally import Pairs, Remembered, Tally, measure, tallied


@dataclass(frozen=True)
class Convergence:
    """The maps as they are measured; `converged` False where the most steps allowed did not suffice."""

    maps: dict[str, FlowMap]
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
        return Convergence(maps)
    [name] = solved
    [other] = set(maps) - {name}
    block = [solver_block(blocks)]
    coarse = maps[name]
    while True:
        assert isinstance(coarse, SolverMap)
        fine = coarse.with_steps(2 * coarse.steps)
        trio = {"coarse": coarse, "fine": fine, "other": maps[other]}
        pairs = {"step": ("coarse", "fine"), "coarse": ("coarse", "other")}
        tallies = yield from tallied(measure(trio, pairs, block, shape, psi, end_points, condition), pairs)
        step, distance = tallies["step"].value, tallies["coarse"].value
        small = max(0.1 * distance, 1e-3 * math.sqrt(tallies["step"].dimension))
        if step < small or fine.steps > MAX_STEPS:
            return Convergence({**maps, name: coarse}, converged=step < small)
        coarse = fine


def solver_block(blocks: Sequence[range]) -> range:
    """Return the seeds that solver errors are found on: a quarter of all, 8 to 256, all in the first block."""
    return range(blocks[0].start, blocks[0].start + subset_size(sum(map(len, blocks)), len(blocks[0])))


def solver_errors(
    maps: Mapping[str, FlowMap | Remembered],
    pairs: Pairs,
    tallies: Mapping[str, Tally],
    blocks: Sequence[range],
    shape: Sequence[int],
    psi: Descriptor,
    end_points: EndPoints,
    condition: Callable[[range], Any] | None = None,
) -> Generator[Progress, None, dict[str, SolverError | None]]:
    """Return the solver error of each pair in `tallies`, from the first noises followed again with 2n and 4n steps on both sides.

    None for a pair of which neither map has a solver. Other maps, such as few-step students, stay as they are. Where maps differ
    in their steps or in their solver's order there is no common order to extrapolate by, so that the error is a bound.
    """
    block = solver_block(blocks)
    plain = {name: m.flow_map if isinstance(m, Remembered) else m for name, m in maps.items()}
    with_solver = {name: m for name, m in plain.items() if isinstance(m, Solved)}
    solved = {name: pair for name, pair in pairs.items() if with_solver.keys() & set(pair)}
    if not solved:
        return dict.fromkeys(pairs)
    grids = {(m.steps, m.solver.order) for m in with_solver.values()}
    n, order = max(grids)
    squared = {name: {n: tallies[name].distances[: len(block)]} for name in solved}
    for finer in finer_steps(n):
        followed = plain | {name: m.with_steps(m.steps * finer // n) for name, m in with_solver.items()}
        again = yield from tallied(measure(followed, solved, [block], shape, psi, end_points, condition), solved)
        for name, tally in again.items():
            squared[name][finer] = tally.distances
    return {
        name: solver_error(tallies[name].value, squared[name], order if len(grids) == 1 else None) if name in solved else None
        for name in pairs
    }
