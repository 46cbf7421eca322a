"""The questions that the compare wall asks of a store: which students kept images, and what is known of their noises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pfd_engine.store.database import Store
from pfd_engine.store.queries.runs import OF_RUN, ORDINARY

_STUDENTS = (
    "with newest as (select *, max(source) over (partition by run_id) as best from runs), "
    "kept as (select distinct run_id, source, student from pairs) "
    "select k.run_id, k.student, r.kind, r.teacher, r.student as reference, r.created, r.source, "
    "json_extract_string(r.config, '$.name') as name, json_extract_string(r.config, '$.objective') as objective, "
    "json_extract_string(r.config, '$.size') as size, json_extract_string(r.config, '$.outside_range') as outside_range "
    "from kept k join newest r on r.run_id = k.run_id and r.source = k.source and r.source = r.best "
)
_ORDER = "order by k.student is not null, r.created desc nulls last, k.run_id, k.student"


def students_with_images(store: Store, text: str = "", limit: int = 300) -> list[dict[str, Any]]:
    """Return the students that kept images, those of runs with one student first, then the newest run first.

    Columns: `run_id`, `student` (None: the run has one alone), `kind`, `teacher`, `reference` (of an evaluation's student), `name` (a
    sweep's), `objective`, `size`, `outside_range` (`teacher` for a diagnostic map), `created`, `source`.

    All words of `text` occur in what names a student; capitals do not matter.
    """
    named = "lower(concat_ws(' ', k.run_id, k.student, r.student, r.teacher, r.config))"
    words = text.lower().split()[:8]
    where = " and ".join(f"contains({named}, ?)" for _ in words) or "true"
    return store.rows(f"{_STUDENTS} where {where} {_ORDER} limit ?", [*words, limit])


def students_of(store: Store, run_ids: Sequence[str], limit: int = 2_000) -> list[dict[str, Any]]:
    """Return the students of some runs that kept images, as `students_with_images` does."""
    return store.rows(f"{_STUDENTS} where list_contains(?::varchar[], k.run_id) {_ORDER} limit ?", [list(run_ids), limit])


def facts_of_student(store: Store, run_id: str, student: str | None) -> dict[str, Any]:
    """Return what was measured of a student against its teacher: names, revisions, descriptor, noises, solver, training set; its last
    step. Empty where nothing was."""
    found = store.rows(
        "select teacher, teacher_revision, student, student_revision, descriptor, num_noises, noise_seed, solver, solver_steps, "
        f"student_steps, training_set, num_samples, step, metric, value, ci_low, ci_high from measurements where {OF_RUN} "
        "and metric in ('PFD', 'E_gen') and band is null and (?::varchar is null or student = ?) "
        f"order by step desc nulls last, {ORDINARY} desc limit 1",
        [run_id, run_id, student, student],
    )
    return found[0] if found else {}


def distances_of_seeds(store: Store, run_id: str, student: str | None, seeds: Sequence[int]) -> dict[str, dict[int, float]]:
    """Return the distances (not squared) of some noises by metric and seed: `teacher` (PFD or E_gen) and `empirical` (E_mem); those of a
    diagnostic map only where there is nothing else."""
    rows = store.rows(
        f"with mine as (select * from noise_distances where {OF_RUN} and student is not distinct from ?) "
        'select metric, seeds_start, "values" from mine '
        "where metric in ('PFD', 'E_gen', 'E_mem') and step is not distinct from (select max(step) from mine) "
        f"order by {ORDINARY}",  # a later one takes the place of an earlier one
        [run_id, run_id, student],
    )
    found: dict[str, dict[int, float]] = {"teacher": {}, "empirical": {}}
    for row in rows:
        values, start = row["values"], row["seeds_start"]
        known = found["empirical" if row["metric"] == "E_mem" else "teacher"]
        known |= {seed: max(0.0, values[seed - start]) ** 0.5 for seed in seeds if start <= seed < start + len(values)}
    return found
