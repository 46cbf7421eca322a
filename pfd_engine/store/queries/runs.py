"""The questions that pages and the command line ask of a store; every value enters as a bound parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pfd_engine.store.database import Store

if TYPE_CHECKING:
    import pandas as pd

# A run that was published from this very workspace is in both sources: its own rows ('workspace' sorts last) are taken then.
# The rows of others neither push one's own out of a limited answer nor stand above them.
OWN_SOURCES = ("workspace", "published")
OWN = f"source in {OWN_SOURCES}"
OWN_FIRST = f"{OWN} desc"
# Rows of the diagnostic map, in which the teacher acts outside the student's trained range, belong to no model and are never mixed with
# those of students.
ORDINARY = "outside_range is distinct from 'teacher'"
OF_RUN = "run_id = ? and source = (select max(source) from runs where run_id = ?)"


def runs(store: Store, limit: int = 500) -> pd.DataFrame:
    """Return runs as ingested, newest first and those of others last, one row a run; live progress is in the run folders (`runs`)."""
    return store.frame(
        "select * from runs qualify row_number() over (partition by run_id order by source desc) = 1 "
        f"order by {OWN_FIRST}, created desc nulls last, run_id desc limit ?",
        [limit],
    )


def run(store: Store, run_id: str) -> dict[str, Any] | None:
    """Return one run, None if it is unknown; `config`, `versions` and `result` (the object of `--json`) are parsed, or None."""
    found = store.rows("select * from runs where run_id = ? order by source desc limit 1", [run_id])
    if not found:
        return None
    return {name: _parsed(value) if name in ("config", "versions", "result") else value for name, value in found[0].items()}


def measurements_of(store: Store, run_id: str) -> pd.DataFrame:
    """Return the measurements of one run, the columns of the `measurements` contract, sorted by metric and band."""
    return store.frame(f"select * from measurements where {OF_RUN} order by metric, band nulls first", [run_id, run_id])


def measurements(
    store: Store,
    *,
    run_ids: Sequence[str] = (),
    metrics: Sequence[str] = (),
    teacher: str | None = None,
    student: str | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return measurements of all sources, newest run first; a filter left out admits everything."""
    sql, parameters = measurements_query(run_ids=run_ids, metrics=metrics, teacher=teacher, student=student, limit=limit)
    return store.frame(sql, parameters)


def measurements_query(
    *,
    run_ids: Sequence[str] = (),
    metrics: Sequence[str] = (),
    teacher: str | None = None,
    student: str | None = None,
    limit: int | None = None,
) -> tuple[str, list[Any]]:
    """Return the query behind `measurements` with its parameters, for `Store.rows` and `Store.write`."""
    conditions: list[str] = []
    parameters: list[Any] = []
    for name, values in (("run_id", list(run_ids)), ("metric", list(metrics))):
        if values:
            conditions.append(f"list_contains(?::varchar[], m.{name})")
            parameters.append(values)
    for name, value in (("teacher", teacher), ("student", student)):
        if value is not None:
            conditions.append(f"m.{name} = ?")
            parameters.append(value)
    where = " and ".join(conditions) or "true"
    sql = (
        "select m.* from measurements m left join (select run_id, source, created from runs) r using (run_id, source) "
        f"where {where} order by r.created desc nulls last, m.run_id, m.metric, m.band nulls first, m.source"
    )
    if limit is not None:
        sql += " limit ?"
        parameters.append(limit)
    return sql, parameters


def latest_results(store: Store, limit: int = 10) -> pd.DataFrame:
    """Return the newest PFD values, those of others last, one row a run: its measurement's columns with `created`, `finished`, `seconds`
    and, where the run has them, `e_mem` and `memorization_ratio` (NULL else)."""
    return store.frame(
        "with other as (select run_id, source, max(value) filter (metric = 'E_mem') as e_mem, "
        "max(value) filter (metric = 'memorization_ratio') as memorization_ratio from measurements group by run_id, source) "
        "select m.*, r.created, r.finished, r.seconds, o.e_mem, o.memorization_ratio from measurements m "
        "join runs r using (run_id, source) join other o using (run_id, source) where m.metric = 'PFD' and m.band is null "
        "qualify row_number() over (partition by m.run_id order by m.source desc) = 1 "
        f"order by m.{OWN_FIRST}, r.created desc limit ?",
        [limit],
    )


def noise_distances(store: Store, run_id: str, metric: str = "PFD") -> pd.DataFrame:
    """Return `seed` and squared `distance` d_m of every noise of a run, by seed; a seed measured twice counts once.

    Those of a diagnostic map are taken only at seeds where there is nothing else.
    """
    return store.frame(
        'with long as (select unnest(range(seeds_start, seeds_stop)) as seed, unnest("values") as distance, '
        f"not ({ORDINARY}) as last from noise_distances "
        f"where {OF_RUN} and metric = ?) select seed, arg_min(distance, last) as distance from long group by seed order by seed",
        [run_id, run_id, metric],
    )


def training_curves(store: Store, run_id: str) -> pd.DataFrame:
    """Return `student`, `student_seed`, `metric` (such as `train_loss`), `step` and `value` along the training of a run's students."""
    return store.frame(
        "select student, student_seed, metric, step, value from training_curves "
        f"where {OF_RUN} order by student, student_seed, metric, step",
        [run_id, run_id],
    )


def pairs(store: Store, run_id: str, student: str | None = None, *, first: bool = False) -> list[dict[str, Any]]:
    """Return the same-noise pairs of a run by rank (0: nearest): `group`, `rank`, `seed`, `distance` and the PNGs as bytes.

    `first` adds the group of that name: the first noises, which all students of a teacher share, in up to 512x512 and with the images of
    the empirical map.
    `student` names one of a sweep's students, whose pairs at its last step are returned.
    """
    of_student = "true" if student is None else "student = ? and step is not distinct from (select max(step) from mine where student = ?)"
    return store.rows(
        f"with mine as (select * from pairs where {OF_RUN}) "
        'select "group", rank, seed, distance, teacher_png, student_png, nearest_png, empirical_png '
        f"from mine where {of_student} and (? or \"group\" <> 'first') order by rank, seed",
        [run_id, run_id, *([] if student is None else [student, student]), first],
    )


def checkpoints(store: Store, reference: str | None = None) -> pd.DataFrame:
    """Return the checkpoints seen so far, one row for each revision and weights; `shape` and `metadata` are JSON texts."""
    return store.frame(
        "select * from checkpoints where ? is null or reference = ? "
        "qualify row_number() over (partition by reference, revision, weights order by source desc, role desc) = 1 "
        "order by reference, revision",
        [reference, reference],
    )


def training_sets(store: Store) -> pd.DataFrame:
    """Return the training sets seen so far, one row for each content."""
    return store.frame(
        "select * from training_sets qualify row_number() over (partition by name, content_hash order by source desc) = 1 order by name"
    )


def past_timings(store: Store, limit: int = 200) -> list[dict[str, Any]]:
    """Return what finished evaluations of this workspace took, newest first, as a basis for estimates.

    Each has `seconds`, `device`, `num_noises`, and for both sides `reference`, `parameters`, `family` and the network `calls` really made
    for all noises together (cached end points cost none) under `teacher` and `student`, and the `shape` of a sample.
    """
    timings = []
    for row in store.rows(
        "select result from runs where state = 'finished' and source = 'workspace' and result is not null order by created desc limit ?",
        [limit],
    ):
        result = _parsed(row["result"])
        try:
            sides = {
                role: {
                    "reference": result[role]["reference"],
                    "parameters": result[role]["parameters"],
                    "family": result[role]["family"],
                    "calls": result["network_calls_made"][role],
                }
                for role in ("teacher", "student")
            }
            shared = {name: result.get(name) for name in ("seconds", "device", "num_noises", "shape")}
        except (KeyError, TypeError):
            continue
        timings.append(shared | sides)
    return timings


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
