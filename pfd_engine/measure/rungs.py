"""`--steps auto`: the smallest rung of solver steps whose own error stays below half the interval, one for a teacher and range.

Comparisons between students use one grid (MATH.md, section 3), so that a rung, once chosen for a teacher, is kept in the workspace and used
for every later student of it.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from pfd_engine.flow.maps import FlowMap, Solved, SolverMap, hash_of
from pfd_engine.measure.convergence import solver_block, solver_errors
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.end_points import EndPoints, Progress
from pfd_engine.measure.pfd import PAIR
from pfd_engine.measure.solver_error import RUNGS
from pfd_engine.measure.tally import measure, tallied
from pfd_engine.runs.folder import replace_file

KEPT_FROM = 256  # noises of an evaluation whose rung is kept: fewer have so wide an interval that the coarsest rung would do


def choose_rung(
    maps: Mapping[str, FlowMap], blocks: Sequence[range], shape: Sequence[int], psi: Descriptor, end_points: EndPoints
) -> Generator[Progress, None, int]:
    """Return the smallest rung at which the solver error of teacher and student stays below half the interval of all noises; else the last.

    Both are followed from a quarter of the noises (8 to 256), and the interval of all is extrapolated from theirs.
    """
    block = solver_block(blocks)
    for rung in RUNGS:
        at_rung = {name: m.with_steps(rung) if isinstance(m, Solved) else m for name, m in maps.items()}
        tallies = yield from tallied(measure(at_rung, PAIR, [block], shape, psi, end_points), PAIR)
        errors = yield from solver_errors(at_rung, PAIR, tallies, blocks, shape, psi, end_points)
        interval, error = tallies["PFD"].interval(), errors["PFD"]
        half = (interval.ci_high - interval.ci_low) / 2 * np.sqrt(len(block) / sum(map(len, blocks)))
        if error is None or abs(error.value) <= half:
            break
    return rung


def known_rung(folder: Path, teacher: SolverMap, descriptor: str) -> int | None:
    """Return the rung that was chosen for a teacher, solver, range and descriptor before; None where none was."""
    rung = _read(folder).get(_key(teacher, descriptor))
    return rung if rung in RUNGS else None


def keep_rung(folder: Path, teacher: SolverMap, descriptor: str, rung: int) -> int:
    """Keep a rung for later students of the teacher, and return it, or the one that was kept first."""
    key = _key(teacher, descriptor)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / "rungs.lock")):
        rungs = _read(folder)
        if key is None or rungs.get(key) in RUNGS:
            return int(rungs[key]) if key in rungs else rung
        replace_file(folder / "rungs.json", json.dumps(rungs | {key: rung}, sort_keys=True).encode(), durable=True)
    return rung


def _key(teacher: SolverMap, descriptor: str) -> str | None:
    content = getattr(teacher.denoiser, "content_key", None)
    return content and hash_of("rung", content, teacher.solver.name, teacher.sigma_min, teacher.sigma_max, teacher.rho, descriptor)


def _read(folder: Path) -> dict[str | None, int]:
    try:
        found = json.loads((folder / "rungs.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
