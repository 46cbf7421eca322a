"""The questions that the finding pages ask of a store: which sweeps there are, and the rows of one of them; all bounded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pfd_engine.store.database import Store
from pfd_engine.store.queries.floor import IS_TWIN, constant_image, retrained_floor
from pfd_engine.store.queries.runs import OF_RUN, ORDINARY, OWN, OWN_FIRST

if TYPE_CHECKING:
    import pandas as pd

FINDING_RULE = 4  # which rules wrote a stored sentence; one of other rules is written anew from its rows
MAX_ROWS = 400_000
MAX_DISTANCES = 20_000
MAX_RESULTS = 5_000
RECIPE = "json_extract(r.config, ['$.training', '$.objective', '$.steps'])"
SAME_STUDENT = (
    f"case when e.{OWN} then '' else e.source end, e.teacher, e.teacher_revision, e.student, e.student_revision, e.student_seed, "
    "e.student_steps, e.training_set, e.descriptor, e.num_noises, e.noise_seed, e.solver, e.solver_steps, "
    f"case when e.metric = 'E_gen' then {RECIPE}::varchar end"
)


def sweep_runs(store: Store, experiment: str, limit: int = 50) -> list[dict[str, Any]]:
    """Return the sweeps of an experiment that have rows, newest first.

    Each has `run_id`, `source`, `state`, `created`, `students`, `teacher`, `name` (that of its spec, None where it is not known), `finding`
    (the sentence that a published sweep brings along, None where there is none or older rules wrote it) and `stamp`, which changes whenever
    rows are added. The workspace's own come first, then the published one of the experiment's own name, then other published ones, then
    those of others.
    """
    found = store.rows(
        "select m.run_id, m.source, any_value(r.state) as state, any_value(r.created) as created, "
        "any_value(r.config) as config, any_value(r.result) as result, "
        "any_value(m.teacher) as teacher, count(distinct m.student) filter (m.student_seed is not null) as students, "
        "concat(count(*), '-', m.source) as stamp "
        "from measurements m join runs r using (run_id, source) where m.experiment = ? group by m.run_id, m.source "
        "qualify row_number() over (partition by m.run_id order by m.source desc) = 1 "
        f"order by m.{OWN_FIRST}, created desc nulls last, m.run_id limit ?",
        [experiment, limit],
    )
    sweeps = [
        {name: value for name, value in row.items() if name not in ("config", "result")}
        | {"name": _entry(row["config"], "name"), "finding": _finding(row["result"])}
        for row in found
    ]
    places = {"workspace": 0, "published": 1}

    def place(sweep: dict[str, Any]) -> tuple[int, bool]:
        return places.get(sweep["source"], 2), sweep["source"] == "published" and sweep["name"] != experiment

    return sorted(sweeps, key=place)


def sweep_measurements(store: Store, run_id: str) -> pd.DataFrame:
    """Return the numbers of a sweep: `student`, `size`, `parameters`, `num_samples`, `student_seed`, `step`, `metric`, `band`, `value`,
    `stderr`, `ci_low`, `ci_high`, `spread`. Rows of all students of a size and N together have no `student_seed`; those of the diagnostic
    map are left out."""
    return store.frame(
        "select student, size, parameters, num_samples, student_seed, step, metric, band, value, stderr, ci_low, ci_high, spread "
        f"from measurements where {OF_RUN} and {ORDINARY} order by parameters, size, num_samples, student_seed, step, metric, band limit ?",
        [run_id, run_id, MAX_ROWS],
    )


def sweep_distances(store: Store, run_id: str) -> pd.DataFrame:
    """Return the squared per-noise distances of a sweep's students, a row a student, step and metric, `squared` by noise seed `(M,)`;
    those of the diagnostic map are left out."""
    return _distances(store, run_id, ORDINARY)


def diagnostic_distances(store: Store, run_id: str) -> pd.DataFrame:
    """Return the same of the diagnostic map, whose metric is E_gen: the student inside its trained range, the teacher outside."""
    return _distances(store, run_id, "outside_range = 'teacher'")


def _distances(store: Store, run_id: str, which: str) -> pd.DataFrame:
    return store.frame(
        "select student, student_seed, size, num_samples, step, metric, "
        'flatten(list("values" order by seeds_start)) as squared '
        f"from noise_distances where {OF_RUN} and student is not null and {which} "
        "group by student, student_seed, size, num_samples, step, metric "
        "order by size, num_samples, student_seed, step, metric limit ?",
        [run_id, run_id, MAX_DISTANCES],
    )


def sweep_facts(store: Store, run_id: str) -> dict[str, Any]:
    """Return what all numbers of a sweep share: `teacher` and its revision, `descriptor`, `solver`, `solver_steps`, `sigma_min`,
    `sigma_max`, noises, student seeds, `objective`, the last `step`; empty where there is no such sweep."""
    found = store.rows(
        "select any_value(teacher) as teacher, any_value(teacher_revision) as teacher_revision, any_value(descriptor) as descriptor, "
        "any_value(solver) as solver, any_value(solver_steps) as solver_steps, any_value(sigma_min) as sigma_min, "
        "any_value(sigma_max) as sigma_max, any_value(num_noises) as num_noises, "
        "any_value(noise_seed) as noise_seed, any_value(objective) as objective, max(step) as step, "
        "list(distinct student_seed order by student_seed) filter (student_seed is not null) as student_seeds "
        f"from measurements where {OF_RUN} and {ORDINARY} having count(*) > 0",
        [run_id, run_id],
    )
    return found[0] if found else {}


def sweep_baselines(store: Store, run_id: str) -> dict[str, float]:
    """Return what every E_gen of a sweep is set beside, as far as it is known.

    `constant_image` is the distance of the best constant image to the teacher over the sweep's noises, as the sweep's own rows state it or
    others of the same teacher and noises. `retrained_floor` is that of a teacher retrained with another seed.
    """
    stated = store.rows(
        f"select spread from measurements where {OF_RUN} and {ORDINARY} and metric = 'E_gen' and spread is not null limit 1",
        [run_id, run_id],
    )
    known = {"constant_image": float(stated[0]["spread"])} if stated else {}
    facts = sweep_facts(store, run_id)
    named: list[Any] = [facts.get(name) for name in ("teacher_revision", "descriptor", "solver", "solver_steps", "sigma_min", "sigma_max")]
    if None not in named:
        revision, descriptor, solver, steps, low, high = named
        first, count = facts.get("noise_seed"), facts.get("num_noises")
        if not known and first is not None and count:
            found = constant_image(store, revision, descriptor, solver, steps, (low, high), range(first, first + count))
            known = {"constant_image": found} if found is not None else {}
        floor = retrained_floor(store, revision, descriptor, solver, steps, (low, high), facts.get("noise_seed"))
        known |= {"retrained_floor": floor.value} if floor is not None else {}
    return known


def trade_off_rows(store: Store, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Return every student's distance to its teacher with what it costs, one's own and then the newest first, each at its last step.

    `E_gen` is the PFD of an evaluation or the E_gen of a sweep's student, with `ci_low` and `ci_high`; `seconds` is the time of training
    (sweeps alone state it); `result` is the JSON text of an evaluation's or distillation's result, missing for a sweep. What was measured
    again, the same student by the same recipe on the same noises, counts once: a finished run before others, then the newest. `run_ids`
    leaves out all other runs. A teacher retrained with another seed is not a student and is left out, and so is the diagnostic map.
    """
    ids = None if run_ids is None else list(run_ids)
    return store.frame(
        "with newest as (select run_id, max(source) as source, arg_max(created, source) as created from runs group by run_id), "
        "errors as (select m.*, created from measurements m join newest using (run_id, source) where metric in ('PFD', 'E_gen') "
        f"and band is null and (metric = 'PFD' or student_seed is not null) and {ORDINARY} and not exists (select 1 from checkpoints c "
        f"where c.reference = m.student and c.revision = m.student_revision and {IS_TWIN}) "
        "and (?::varchar[] is null or list_contains(?::varchar[], run_id)) "
        "qualify row_number() over (partition by run_id, student, student_revision, student_steps order by step desc) = 1 "
        f"order by m.{OWN_FIRST}, created desc, run_id, student, student_steps limit ?) "
        "select e.run_id, e.source, e.experiment, e.teacher, e.teacher_revision, e.student, e.size, e.parameters, e.objective, "
        "e.num_samples, e.student_seed, e.step, e.student_steps, e.solver, e.solver_steps, e.descriptor, e.num_noises, e.noise_seed, "
        "e.value as E_gen, e.ci_low, e.ci_high, s.value as seconds, case when e.metric = 'PFD' then r.result end as result "
        "from errors e join runs r on r.run_id = e.run_id and r.source = e.source left join measurements s on s.metric = 'seconds' "
        "and s.band is null and s.student_seed is not null and s.run_id = e.run_id and s.source = e.source and s.student = e.student "
        f"and s.step = e.step and s.{ORDINARY} qualify row_number() over (partition by {SAME_STUDENT} "
        "order by r.state = 'finished' desc, r.created desc nulls last, e.run_id) = 1 "
        f"order by e.{OWN_FIRST}, r.created desc, e.run_id, e.student, e.student_steps",
        [ids, ids, MAX_RESULTS],
    )


def _finding(result: str | None) -> str | None:
    """Return the sentence that a result brings along, None where today's rules did not write it."""
    return _entry(result, "finding") if _entry(result, "finding_rule") == str(FINDING_RULE) else None


def _entry(text: str | None, name: str) -> str | None:
    """Return one entry of a JSON object, as a text."""
    values = json.loads(text) if text else None
    found = values.get(name) if isinstance(values, dict) else None
    return str(found) if found else None
