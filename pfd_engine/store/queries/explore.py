"""The questions of the Explore page: numbers of all runs, filtered, grouped and aggregated in DuckDB, a bounded part at a time.

Values enter as bound parameters alone; the names of columns come from the tables below, and any other is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfd_engine.errors import InputError
from pfd_engine.store.database import Store
from pfd_engine.store.queries.runs import ORDINARY, OWN

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]

# What can be filtered by; texts all.
FILTERS = ("experiment", "source", "teacher", "family", "objective", "size", "metric", "descriptor", "state")
# What can be grouped by, and by what its groups are put in order.
GROUPS = {
    "experiment": "experiment", "source": "source", "teacher": "teacher", "family": "family", "objective": "objective",
    "size": "min(parameters)", "num_samples": "num_samples", "student_seed": "student_seed", "student_steps": "student_steps",
    "step": "step", "run_id": "run_id", "student": "student",
}  # fmt: skip
# Never averaged over: other quantities, other units, other parts of the spectrum.
APART = ("metric", "descriptor", "band")
AXES = ("num_samples", "parameters", "step", "student_steps", "num_noises")
ROW_COLUMNS = (
    "run_id", "source", "state", "experiment", "teacher", "student", "family", "size", "parameters", "objective", "num_samples",
    "student_seed", "step", "student_steps", "metric", "band", "value", "stderr", "ci_low", "ci_high", "descriptor", "num_noises",
)  # fmt: skip
ROW_ORDERS = ("created", "value", "num_samples", "parameters", "step", "metric", "student", "teacher")
GROUP_ORDERS = ("groups", "mean", "numbers")
SPREADS = {
    "stderr": ("mean(value) - stddev_samp(value) / sqrt(count(*))", "mean(value) + stddev_samp(value) / sqrt(count(*))"),
    "range": ("min(value)", "max(value)"),
    "quantiles": ("quantile_cont(value, 0.05)", "quantile_cont(value, 0.95)"),
}
# Numbers of the diagnostic map are never taken for a student's: their quantity has another name.
NAMED_APART = (
    f"(select * replace (case when {ORDINARY} then metric else concat(metric, ' (diagnostic map)') end as metric) from measurements)"
)
RELATIONS = ("difference", "ratio")
MAX_VALUES, MAX_POINTS, MAX_EXPORT = 200, 2_000, 100_000


@dataclass(frozen=True)
class Selection:
    """Which numbers: any of the `chosen` values of each column, students whose name contains a text, N within a closed range; `last`
    leaves out what was measured before the last training step of its run. Results of others are among them where their source is chosen,
    or with `pulled`: no mean is ever of one's own numbers and theirs unasked."""

    chosen: tuple[tuple[str, tuple[str, ...]], ...] = ()
    student: str = ""
    n_low: int | None = None
    n_high: int | None = None
    last: bool = False
    pulled: bool = False

    def query(self) -> Query:
        """Return the query of all selected numbers, with the `state` and `created` of their runs; a run of several sources counts once."""
        conditions, sources = ["true"], list(dict(self.chosen).get("source", ()))
        parameters: list[Any] = [sources] if sources else []
        for name, values in self.chosen:
            _check(name, FILTERS, "filter")
            if values and name != "source":
                conditions.append(f"list_contains(?::varchar[], {name})")
                parameters.append(list(values))
        if self.student:
            conditions.append("contains(lower(student), lower(?))")
            parameters.append(self.student)
        for bound, sign in ((self.n_low, ">="), (self.n_high, "<=")):
            if bound is not None:
                conditions.append(f"num_samples {sign} ?")
                parameters.append(bound)
        steps = ""
        if self.last:
            conditions.append("(step is null or step = last_step)")
            steps = (
                " join (select run_id, source, max(step) as last_step from measurements group by run_id, source) l using (run_id, source)"
            )
        own = "" if self.pulled else f"where {OWN}"
        of_source = "where list_contains(?::varchar[], source)" if sources else own
        sql = (
            f"select m.*, state, created from {NAMED_APART} m join (select run_id, max(source) as source, arg_max(state, source) as state, "
            f"arg_max(created, source) as created from runs {of_source} group by run_id) r using (run_id, source)"
            f"{steps} where {' and '.join(conditions)}"
        )
        return sql, parameters


@dataclass(frozen=True)
class Grouping:
    """How numbers are aggregated: by which columns, what band is around the mean (a key of `SPREADS`), and relative to which group.

    `baseline` is the `name` of a group (`groups_page`); each group is set against the baseline's of the same quantity, descriptor and band.
    """

    columns: tuple[str, ...]
    spread: str = "stderr"
    baseline: str = ""
    relation: str = "difference"

    def __post_init__(self) -> None:
        for column in self.columns:
            _check(column, tuple(GROUPS), "group")

    def query(self, selection: Selection) -> Query:
        """Return the query of the groups: their columns, `metric`, `descriptor`, `band`, `mean`, `low`, `high`, `stderr`, `numbers`, `runs`
        and, with a baseline, `relative` and `relative_stderr`.

        `stderr` is that of the mean (NULL for a single number). Those of a difference and a ratio take the groups as independent.
        """
        _check(self.spread, tuple(SPREADS), "band")
        _check(self.relation, RELATIONS, "relation")
        inner, parameters = selection.query()
        low, high = SPREADS[self.spread]
        by = ", ".join((*self.columns, *APART))
        places = "".join(f", {GROUPS[column]} as place_{column}" for column in self.columns)
        groups = (
            f"select {by}, mean(value) as mean, {low} as low, {high} as high, stddev_samp(value) / sqrt(count(*)) as stderr, "
            f"count(*) as numbers, count(distinct run_id) as runs{places} from ({inner}) group by {by}"
        )
        if not self.baseline:
            return f"select *, null::double as relative, null::double as relative_stderr from ({groups})", parameters
        ratio = "g.mean / nullif(b.mean, 0)"
        relative, error = {
            "difference": ("g.mean - b.mean", "sqrt(g.stderr ** 2 + b.stderr ** 2)"),
            "ratio": (ratio, f"sqrt(g.stderr ** 2 + ({ratio} * b.stderr) ** 2) / abs(nullif(b.mean, 0))"),
        }[self.relation]
        itself = " and ".join(f"g.{column} is not distinct from b.{column}" for column in self.columns)
        error = f"case when {itself} then 0 else {error} end"
        sql = (
            f"with g as ({groups}), b as (select * from g where {name_of(self.columns)} = ?) "
            f"select g.*, {relative} as relative, {error} as relative_stderr from g left join b on b.metric = g.metric "
            "and b.descriptor is not distinct from g.descriptor and b.band is not distinct from g.band"
        )
        return sql, [*parameters, self.baseline]

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that a table of the groups has."""
        relative = ("relative", "relative_stderr") if self.baseline else ()
        return (*self.columns, *APART, "mean", "low", "high", "stderr", *relative, "numbers", "runs")


def facets(store: Store) -> dict[str, dict[str, int]]:
    """Return the values of each column in `FILTERS` with how many numbers have them, the most frequent first."""
    sql, parameters = Selection(pulled=True).query()
    return {
        name: {
            str(row["value"]): int(row["numbers"])
            for row in store.rows(
                f"select {name} as value, count(*) as numbers from ({sql}) where {name} is not null group by {name} "
                "order by numbers desc, value limit ?",
                [*parameters, MAX_VALUES],
            )
        }
        for name in FILTERS
    }  # fmt: skip


def largest_n(store: Store) -> int:
    """Return the largest N of all numbers, 0 where none has one."""
    return int(store.rows("select coalesce(max(num_samples), 0) as n from measurements")[0]["n"])


def count_rows(store: Store, selection: Selection) -> int:
    """Return how many numbers are selected."""
    sql, parameters = selection.query()
    return int(store.rows(f"select count(*) as n from ({sql})", parameters)[0]["n"])


def count_groups(store: Store, selection: Selection, columns: Sequence[str]) -> int:
    """Return how many groups the selected numbers make."""
    sql, parameters = selection.query()
    by = ", ".join((*Grouping(tuple(columns)).columns, *APART))
    return int(store.rows(f"select count(*) as n from (select 1 from ({sql}) group by {by})", parameters)[0]["n"])


def rows_query(selection: Selection, order: str = "created", descending: bool = True) -> Query:
    """Return the query of the selected numbers themselves, in order; ties are broken, so that pages neither overlap nor leave gaps."""
    _check(order, ROW_ORDERS, "order")
    sql, parameters = selection.query()
    ties = "created desc nulls last, run_id, student, step, metric, band nulls first, descriptor, num_noises, noise_seed, student_steps"
    return f"select {', '.join(ROW_COLUMNS)} from ({sql}) order by {order} {_direction(descending)}, {ties}", parameters


def groups_query(selection: Selection, grouping: Grouping, order: str = "groups", descending: bool = False) -> Query:
    """Return the query of the groups in order, with the columns that `Grouping.shown` names."""
    _check(order, GROUP_ORDERS, "order")
    sql, parameters = grouping.query(selection)
    direction = _direction(descending)
    ties = ", ".join([*(f"place_{column} {direction}, {column} {direction}" for column in grouping.columns), *APART])
    by = ties if order == "groups" else f"{order} {direction}, {ties}"
    return f"select {', '.join(grouping.shown)} from ({sql}) order by {by}", parameters


def rows_page(store: Store, query: Query, page: int, size: int) -> pd.DataFrame:
    """Return one page of `rows_query` or `behind_query`, the first being 1."""
    return store.frame(f"{query[0]} limit ? offset ?", [*query[1], size, (page - 1) * size])


def groups_page(store: Store, query: Query, columns: Sequence[str], page: int, size: int) -> pd.DataFrame:
    """Return one page of `groups_query`, the first being 1, each group with its `name` (by which it can be the baseline) and its `key`
    (for `behind_query`, with the same `columns`)."""
    named = f"{name_of(columns)} as name, {name_of((*columns, *APART))} as key"
    return store.frame(f"select *, {named} from ({query[0]} limit ? offset ?)", [*query[1], size, (page - 1) * size])


def experiments(store: Store, selection: Selection) -> list[str]:
    """Return the experiments that the selected numbers come from, sorted."""
    sql, parameters = selection.query()
    return [row["experiment"] for row in store.rows(f"select distinct experiment from ({sql}) order by experiment", parameters)]


def has_group(store: Store, selection: Selection, columns: Sequence[str], name: str) -> bool:
    """Return whether a group of that `name` is among the selected numbers."""
    sql, parameters = selection.query()
    named = name_of(Grouping(tuple(columns)).columns)
    return bool(store.rows(f"select 1 from ({sql}) where {named} = ? limit 1", [*parameters, name]))


def points(store: Store, selection: Selection, x: str, color: str | None, spread: str) -> pd.DataFrame:
    """Return what the plot draws, `MAX_POINTS` rows at most: `x`, `color` (text, NULL without one), `place` (the order of colors),
    `metric`, `descriptor`, `band`, `mean`, `low`, `high`, `numbers`, `runs` and `key`, which `behind_query` takes."""
    _check(x, AXES, "axis")
    _check(spread, tuple(SPREADS), "band")
    if color is not None:
        _check(color, tuple(GROUPS), "color")
    sql, parameters = selection.query()
    low, high = SPREADS[spread]
    columns = (x, *((color,) if color and color != x else ()), *APART)
    shown, place = (f"{color}::varchar", GROUPS[color]) if color else ("null", "null")
    return store.frame(
        f"select {x} as x, {shown} as color, {place} as place, {', '.join(APART)}, mean(value) as mean, {low} as low, {high} as high, "
        f"count(*) as numbers, count(distinct run_id) as runs, {name_of(columns)} as key from ({sql}) where {x} is not null "
        f"group by {', '.join(columns)} order by place, color, {', '.join(APART)}, x limit ?",
        [*parameters, MAX_POINTS],
    )


def behind_query(selection: Selection, columns: Sequence[str], key: str) -> Query:
    """Return the query of the numbers behind one group: `columns` are those grouped by (with those of `APART` added), `key` its `key`."""
    sql, parameters = _behind(selection, columns, key)
    return f"select {', '.join(ROW_COLUMNS)} from ({sql}) order by run_id, student, step, num_noises, noise_seed", parameters


def count_behind(store: Store, selection: Selection, columns: Sequence[str], key: str) -> int:
    """Return how many numbers lie behind one group."""
    sql, parameters = _behind(selection, columns, key)
    return int(store.rows(f"select count(*) as n from ({sql})", parameters)[0]["n"])


def items(store: Store, names: Sequence[str]) -> dict[str, str]:
    """Return those of the `names` of students that there are, in their order, each with its experiment.

    A student is named by its `run_id`, that of a sweep by `run_id|student`.
    """
    pairs = [name.partition("|")[::2] for name in names]
    found = store.rows(
        "select distinct run_id, case when experiment = 'evaluation' then '' else student end as student, experiment from measurements "
        "where list_contains(?::varchar[], run_id)",
        [[run_id for run_id, _ in pairs]],
    )
    known = {(row["run_id"], row["student"]): str(row["experiment"]) for row in found}
    return {name: known[pair] for name, pair in zip(names, pairs, strict=True) if pair in known}


def _behind(selection: Selection, columns: Sequence[str], key: str) -> Query:
    columns = tuple(dict.fromkeys((*columns, *APART)))
    for column in columns:
        _check(column, (*GROUPS, *AXES, *APART), "group")
    sql, parameters = selection.query()
    return f"select * from ({sql}) where {name_of(columns)} = ?", [*parameters, key]


def name_of(columns: Sequence[str]) -> str:
    """Return the SQL expression of the text that names a group by its values."""
    return "concat_ws('|', " + ", ".join(f"coalesce({column}::varchar, '–')" for column in columns) + ")" if columns else "''"


def _direction(descending: bool) -> str:
    return "desc nulls last" if descending else "asc nulls last"


def _check(name: str, allowed: Sequence[str], what: str) -> None:
    if name not in allowed:
        raise InputError(f"{what} is {name[:40]!r}: choose one of {', '.join(allowed)}", what)
