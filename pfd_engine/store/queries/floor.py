"""What a store knows of the retrained floor: how far apart two models lie that differ in their training seed only (MATH.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from pfd_engine.errors import PFDError
from pfd_engine.store.database import Store
from pfd_engine.store.queries.runs import OWN_FIRST
from pfd_engine.workspace import PUBLISHED_DATABASE

KEPT = ("value", "ci_low", "ci_high", "num_noises", "twin")  # what a result keeps of the floor
# A checkpoint that differs from another in its training seed only: it measures the floor and is not a student to rank.
IS_TWIN = "json_extract_string(metadata, '$.twin_of.revision') is not null"


@dataclass(frozen=True)
class RetrainedFloor:
    """The PFD of a teacher and its twin, with its standard error and 95 % interval over `num_noises` noises, in the descriptor's unit.

    `twin` is the second teacher's reference; `run_id` and `source` tell which evaluation measured it.
    """

    value: float
    stderr: float
    ci_low: float
    ci_high: float
    num_noises: int
    twin: str
    run_id: str
    source: str


def retrained_floor(
    store: Store,
    teacher_revision: str,
    descriptor: str,
    solver: str,
    steps: int,
    sigma_range: tuple[float, float] | None = None,
    noise_seed: int | None = None,
) -> RetrainedFloor | None:
    """Return the measured floor of a teacher for one descriptor and one solver with its number of steps, None where there is none.

    A floor is an evaluation of the teacher and its twin, a student whose metadata name the teacher's revision under `twin_of.revision`:
    revisions are of contents, so that a floor measured elsewhere serves any copy of the same teacher. `sigma_range` is the `(sigma_min,
    sigma_max)` that both were followed through (None: the widest that was measured). Of several evaluations one's own come before those of
    others, then the one whose first seed is `noise_seed`, then the one over the most noises, then the newest.
    """
    low, high = sigma_range or (None, None)
    found = store.rows(
        "select m.value, m.stderr, m.ci_low, m.ci_high, m.num_noises, m.student as twin, m.run_id, m.source "
        "from measurements m left join runs r on r.run_id = m.run_id and r.source = m.source "
        "where m.experiment = 'evaluation' and m.metric = 'PFD' and m.band is null and m.student_steps is null "
        "and m.outside_range is distinct from 'teacher' and m.teacher_guidance is null and m.student_guidance is null "
        "and m.teacher_revision = ? and m.descriptor = ? and m.solver = ? and m.solver_steps = ? "
        "and (?::double is null or abs(m.sigma_min - ?) <= 1e-6 * m.sigma_min and abs(m.sigma_max - ?) <= 1e-6 * m.sigma_max) "
        "and m.stderr is not null and m.ci_low is not null and m.ci_high is not null and m.num_noises is not null "
        "and exists (select 1 from checkpoints c where c.source = m.source and c.reference = m.student "
        "and c.revision = m.student_revision and json_extract_string(c.metadata, '$.twin_of.revision') = m.teacher_revision) "
        f"order by m.{OWN_FIRST}, m.sigma_max / m.sigma_min desc, coalesce(m.noise_seed = ?, false) desc, "
        "m.num_noises desc, r.created desc nulls last, m.run_id limit 1",
        [teacher_revision, descriptor, solver, steps, low, low, high, noise_seed],
    )
    return RetrainedFloor(**found[0]) if found else None


def constant_image(
    store: Store, teacher_revision: str, descriptor: str, solver: str, steps: int, sigma_range: tuple[float, float], noises: range
) -> float | None:
    """Return the constant baseline of a teacher over some noises, from any row that states it for them; None where none does.

    It belongs to the teacher and the noises, whatever student was measured with them. Noises are a range of seeds.
    """
    low, high = sigma_range
    found = store.rows(
        "select spread from measurements where metric in ('PFD', 'E_gen') and spread is not null and teacher_revision = ? "
        "and descriptor = ? and solver = ? and solver_steps = ? "
        "and abs(sigma_min - ?) <= 1e-6 * sigma_min and abs(sigma_max - ?) <= 1e-6 * sigma_max "
        f"and noise_seed = ? and num_noises = ? order by {OWN_FIRST}, run_id limit 1",
        [teacher_revision, descriptor, solver, steps, low, high, noises.start, len(noises)],
    )
    return float(found[0]["spread"]) if found else None


def floor_of_result(store: Store, details: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the floor of a result's teacher, measured in the same way, with the entries that results keep; None where there is none.

    `details` is the object that `--json` prints. A student with a sampler of its own has no floor.
    """
    teacher = found if isinstance(found := details.get("teacher"), Mapping) else {}
    revision, descriptor, solver, steps = teacher.get("revision"), details.get("descriptor"), details.get("solver"), details.get("steps")
    low, high = details.get("sigma_min"), details.get("sigma_max")
    if not (isinstance(revision, str) and isinstance(descriptor, str) and isinstance(solver, str) and isinstance(steps, int)):
        return None
    if details.get("student_steps") is not None or not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return None
    floor = retrained_floor(store, revision, descriptor, solver, steps, (float(low), float(high)), details.get("noise_seed"))
    return None if floor is None else {name: getattr(floor, name) for name in KEPT}


def twins(store: Store) -> set[tuple[str, str | None]]:
    """Return reference and revision of every checkpoint that is another one retrained with another seed."""
    return {(row["reference"], row["revision"]) for row in store.rows(f"select reference, revision from checkpoints where {IS_TWIN}")}


def published_floor(
    teacher_revision: str, descriptor: str, solver: str, steps: int, sigma_range: tuple[float, float], noise_seed: int
) -> RetrainedFloor | None:
    """Return the floor that the published results hold for a teacher, as `retrained_floor` does; None where they cannot be read."""
    try:
        with Store(None, PUBLISHED_DATABASE) as store:
            return retrained_floor(store, teacher_revision, descriptor, solver, steps, sigma_range, noise_seed)
    except (PFDError, OSError, duckdb.Error):
        return None
