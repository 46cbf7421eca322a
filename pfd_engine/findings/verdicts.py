"""The verdict on a stored result, judged from its rows by the one rule, and how it is said on pages, the static site and cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.intervals import CONFIDENCE
from pfd_engine.analysis.verdicts import GEN_SPREAD, MEM_GEN, Verdict, judge_student
from pfd_engine.wording import numbers as words

if TYPE_CHECKING:
    from pfd_engine.store.database import Store

Array = NDArray[np.float64]
Distances = Mapping[str, Array]
METRICS = ("PFD", "E_mem", "E_emp")
SPREADS = ("spread", "E_emp_spread")  # squared deviations from the mean end point, of the teacher and of the empirical map
LARGEST_CONFIDENCE = 1 - 1e-6
MEASURE_AGAIN = "measure the pair again to get a verdict"
LEADS = {
    "memorizes": "The student memorizes",
    "generalizes": "The student generalizes",
    "neither": "The student neither memorizes nor generalizes",
    "undetermined": "Undetermined",
}
BADGES = {"memorizes": "red", "generalizes": "green", "neither": "orange", "undetermined": "gray"}
NO_VERDICT = ("coupling", "guidance", "no training set")
COLORS = {"memorizes": "E_mem", "generalizes": "E_gen"}
DIAGNOSTIC = (
    "this is a diagnostic map, in which the student acts inside the noise levels that its training covered, and the teacher outside them. "
    "It belongs to no model"
)

TWIN = "it differs from the teacher in its training seed only, so this PFD is the retrained floor that students are set beside"


@dataclass(frozen=True)
class Judged:
    """A stored result with its verdict: `details` is the object that `--json` prints, with the retrained floor that the store knows today;
    `distances` and `seeds` are those of `read_distances`. `is_twin`: the student is the teacher retrained with another seed."""

    details: Mapping[str, Any]
    distances: dict[str, Array]
    seeds: NDArray[np.int64]
    is_twin: bool = False

    @property
    def verdict(self) -> Verdict | None:
        """The verdict by today's rule."""
        return judge_stored(self.details, self.distances)


@dataclass(frozen=True)
class Said:
    """A verdict in words: what it comes to, one reason as a sentence without its full stop, the paired comparison behind it (may be
    empty), and the name of its color in `figures.COLORS`."""

    lead: str
    reason: str
    paired: str
    color: str


def judge_runs(store: Store, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Judged]:
    """Return stored results with their verdicts; `results` maps the id of an evaluation or distillation to its object."""
    from pfd_engine.store.queries.floor import floor_of_result, twins

    found, retrained = read_distances(store, results), twins(store)
    judged = {}
    floors: dict[str, dict[str, Any] | None] = {}  # most results of a list share their teacher and its grid
    for run_id, details in results.items():
        distances, seeds = found.get(run_id, ({}, np.empty(0, dtype=np.int64)))
        student = _mapping(details.get("student"))
        is_twin = (student.get("reference"), student.get("revision")) in retrained
        floor = None if is_twin else details.get("retrained_floor")
        if floor is None and not is_twin:
            names = ("descriptor", "solver", "steps", "student_steps", "sigma_min", "sigma_max")
            key = repr([_mapping(details.get("teacher")).get("revision"), *(details.get(name) for name in names)])
            floor = floors[key] if key in floors else floors.setdefault(key, floor_of_result(store, details))
        judged[run_id] = Judged({**details, "retrained_floor": floor}, distances, seeds, is_twin)
    return judged


def read_distances(store: Store, run_ids: Iterable[str]) -> dict[str, tuple[dict[str, Array], NDArray[np.int64]]]:
    """Return for each run the squared distances of its evaluation by metric, and their seeds.

    All are on the seeds of the PFD and in their order; a metric that was not measured on these seeds is left out, and a run without a PFD.
    The rows of a sweep's many students are not among them.
    """
    blocks = store.rows(
        "with of as (select run_id, max(source) as source from runs where list_contains(?::varchar[], run_id) group by run_id) "
        'select run_id, metric, seeds_start, seeds_stop, "values" from noise_distances join of using (run_id, source) '
        "where student is null and list_contains(?::varchar[], metric) order by run_id, metric, seeds_start",
        [list(run_ids), [*METRICS, *SPREADS]],
    )
    return paired_distances(blocks)


def paired_distances(blocks: Iterable[Mapping[str, Any]]) -> dict[str, tuple[dict[str, Array], NDArray[np.int64]]]:
    """Return what `read_distances` does from rows of `noise_distances`; a seed that was measured twice counts once."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for block in blocks:
        by_seed = found.setdefault(block["run_id"], {}).setdefault(block["metric"], {})
        by_seed.update(zip(range(block["seeds_start"], block["seeds_stop"]), block["values"], strict=True))
    runs = {}
    for run_id, metrics in found.items():
        seeds = sorted(metrics.get("PFD", ()))
        if not seeds:
            continue
        same = [name for name in (*METRICS, *SPREADS) if name in metrics and metrics[name].keys() == metrics["PFD"].keys()]
        distances = {name: np.array([metrics[name][seed] for seed in seeds], dtype=np.float64) for name in same}
        runs[run_id] = distances, np.array(seeds, dtype=np.int64)
    return runs


def judge_stored(details: Mapping[str, Any], distances: Distances) -> Verdict | None:
    """Return the verdict on a stored result by today's rule, None for a diagnostic map and for fewer than 2 noises.

    `details` is the object that `--json` prints, `distances` the squared distances of `read_distances`. An older result lacks baselines:
    it is judged as far as its rows go, and is undetermined where they do not suffice. Its training set counts as distinct samples.
    """
    d_gen = distances.get("PFD")
    if d_gen is None or len(d_gen) < 2 or is_diagnostic(details):
        return None
    memorization = _mapping(details.get("memorization"))
    distinct = memorization.get("num_distinct_samples") or memorization.get("num_samples")
    floor = _number(_mapping(details.get("retrained_floor")).get("ci_high"))
    teacher, empirical = (distances.get(name) for name in SPREADS)
    guidances = [_number(details.get(name)) for name in ("teacher_guidance", "student_guidance")]
    return judge_student(
        d_gen,
        distances.get("E_mem"),
        distances.get("E_emp"),
        spread_teacher=_number(details.get("spread")) if teacher is None else teacher,
        spread_empirical=_number(memorization.get("spread")) if empirical is None else empirical,
        floor=floor,
        distinct_samples=distinct if isinstance(distinct, int) else None,
        keeps_coupling=not details.get("coupling_note"),
        guidance=next((w for w in guidances if w is not None and w != 1), 1.0),
        confidence=min(max(_number(details.get("confidence")) or CONFIDENCE, CONFIDENCE), LARGEST_CONFIDENCE),
    )


def is_diagnostic(details: Mapping[str, Any]) -> bool:
    """Return whether a result is of the map with the teacher's denoiser outside the student's trained range."""
    return details.get("outside_range") == "teacher"


def badge_of(verdict: Verdict | None) -> tuple[str, str] | None:
    """Return the word of a verdict with its color for a small mark beside a result; None where there is no verdict."""
    if verdict is None or verdict.reason in NO_VERDICT:
        return None
    if verdict.reason == "baseline not measured":
        return "judged by an older rule", BADGES["undetermined"]
    return verdict.word, BADGES[verdict.word]


def said(verdict: Verdict | None, details: Mapping[str, Any], *, is_twin: bool = False) -> Said | None:
    """Return a verdict in words, with the numbers of its result; None where there is nothing to say."""
    if is_diagnostic(details):
        return Said("No verdict", DIAGNOSTIC, "", "empirical map")
    if is_twin:
        return Said("Retrained teacher", TWIN, "", "empirical map")
    if verdict is None:
        return None
    paired = ""
    if (compared := verdict.comparisons.get(MEM_GEN)) is not None:
        paired = f"E_mem² − PFD² = {words.with_interval(compared.value, compared.ci_low, compared.ci_high)}, paired by noise"
    lead, color = LEADS[verdict.word], COLORS.get(verdict.word, "empirical map")
    if verdict.reason == "no training set":
        return Said("No verdict", _without_training_set(verdict), "", color)
    reason = _reason(verdict, details)
    if verdict.reason == "baseline not measured":
        reason += f": {MEASURE_AGAIN}"
    return Said("No verdict" if verdict.reason in NO_VERDICT else lead, reason, paired, color)


def _reason(verdict: Verdict, details: Mapping[str, Any]) -> str:
    memorization = _mapping(details.get("memorization"))
    count = memorization.get("num_samples")
    samples = words.count(count, "training sample") if isinstance(count, int) else "training set"
    to_set = f"the map of its {samples}{_in_brackets(memorization, 'e_mem')}"
    to_teacher = f"its teacher{_in_brackets(details, 'value')}"
    if verdict.word == "memorizes":
        return f"it is closer to {to_set} than to {to_teacher}, and closer to that map than a constant image is"
    if verdict.word == "generalizes":
        return (
            f"it is closer to {to_teacher} than to {to_set}, and closer to the teacher than a constant image "
            "and the map of its training set are"
        )
    if verdict.word == "neither":
        worse = verdict.comparisons.get(GEN_SPREAD)
        than = "a constant image is" if worse is not None and worse.above else "the map of its training set is"
        return f"it is farther from {to_teacher} than {than}, and it does not memorize"
    return verdict.sentence[:1].lower() + verdict.sentence[1:].rstrip(".")


def _without_training_set(verdict: Verdict) -> str:
    known = "the student's training set is not known, so nothing can be said of memorizing"
    compared = verdict.comparisons.get(GEN_SPREAD)
    if compared is None:
        return known
    if compared.below:
        return f"{known}. The student is closer to its teacher than a constant image is"
    if compared.above:
        return f"{known}. The student is farther from its teacher than a constant image is"
    return f"{known}. With these noises the student cannot be told to be closer to its teacher than a constant image is"


def _in_brackets(values: Mapping[str, Any], name: str) -> str:
    value, low, high = (_number(values.get(key)) for key in (name, "ci_low", "ci_high"))
    return "" if value is None else f" ({words.with_interval(value, low, high)})"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
