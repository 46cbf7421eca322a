"""The finding pages of the snapshot, from the rows of a store: the same analyses, figures and tables as in the dashboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfd_engine import figures
from pfd_engine.analysis import collapse_sentence, pareto_front, scaling_details, trade_off_sentence
from pfd_engine.findings import sweeps as findings
from pfd_engine.findings.tables import NOTES, baselines_line, collapse_table, crossings_table, parts_table, shared_line, verdicts_table
from pfd_engine.findings.trade_offs import trade_off_frame, with_noises
from pfd_engine.site.blocks import Code, Facts, Figure, Heading, Note, Page, Prose, Rows, Sentence, Wall
from pfd_engine.store.database import Store
from pfd_engine.store.queries import runs as store_queries
from pfd_engine.store.queries.sweeps import sweep_baselines, sweep_measurements, sweep_runs
from pfd_engine.walls.same_noise import Pair
from pfd_engine.wording import numbers as words

if TYPE_CHECKING:
    import pandas as pd

FILES = {"scaling": "scaling.html", "training-dynamics": "dynamics.html", "bias-variance": "bias-variance.html"}
NAMES = {"scaling": "Scaling", "training-dynamics": "Training dynamics", "bias-variance": "Bias-variance"}
TITLES = {
    "scaling": "Scaling: from memorizing to generalizing",
    "training-dynamics": "Training dynamics: what longer training does",
    "bias-variance": "Bias and variance of students",
}
COSTS = {"network_calls": "Network calls", "parameters": "Parameters", "seconds": "Seconds of training"}
HOLLOW = "Hollow points do not keep the noise-to-image coupling: their PFD measures coupling and distribution together."
MOST = 2
OWN = store_queries.OWN_SOURCES  # what was pulled from others is shown where it is named, with its source


@dataclass(frozen=True)
class Sweep:
    """A sweep to show: its id, its name, what its data say, and what all its numbers share."""

    run_id: str
    name: str
    sentence: str
    facts: dict[str, Any]


def chosen_sweeps(store: Store, experiment: str, run_ids: list[str] | None) -> list[Sweep]:
    """Return the named sweeps of an experiment, or the first of each name, two at most."""
    found = sweep_runs(store, experiment)
    if run_ids is None:
        named = {row["name"]: row for row in reversed(found) if row["source"] in OWN}
        found = list(reversed(named.values()))[:MOST]
    else:
        found = [row for row in found if row["run_id"] in run_ids]
    twice = Counter(row["name"] or row["run_id"] for row in found)
    return [_sweep(store, experiment, row, unique=twice[row["name"] or row["run_id"]] == 1) for row in found]


def finding_page(store: Store, experiment: str, sweeps: list[Sweep]) -> Page:
    """Return the page of an experiment with a section for each sweep."""
    blocks: list[Any] = []
    for sweep in sweeps:
        blocks.append(Heading(f"Sweep {sweep.name}"))
        blocks.append(Sentence(sweep.sentence, figures.COLORS["variance" if experiment == "bias-variance" else "E_gen"]))
        measurements = sweep_measurements(store, sweep.run_id)
        blocks += DRAW[experiment](store, sweep)
        blocks += _walls(store, sweep, measurements)
        blocks += _source(store, sweep)
    return Page(FILES[experiment], NAMES[experiment], TITLES[experiment], blocks)


def trade_offs_page(store: Store, run_ids: list[str] | None) -> Page:
    """Return the page of errors against costs: the teacher and descriptor with the most students."""
    everything = trade_off_frame(store, run_ids)
    if run_ids is None:
        everything = everything[everything["source"].isin(OWN)]
    blocks: list[Any] = []
    if not everything.empty:
        group = everything["group"].value_counts(sort=True).index[0]
        mine = everything[everything["group"] == group]
        blocks.append(Note(f"Teacher and descriptor: {group}."))
        for cost, label in COSTS.items():
            frame = pareto_front(with_noises(mine[mine[cost].notna() & (mine[cost] > 0)]), cost, "E_gen")
            if frame.empty:
                continue
            unit = words.unit(frame["descriptor"].iloc[0])
            sentence = trade_off_sentence(frame, cost, "E_gen", figures.COSTS[cost], "name", unit)
            note = "" if frame["keeps_coupling"].all() else HOLLOW
            left_out = len(mine) - len(frame)
            caption = f"{words.count(len(frame), 'student')}, each at its last step." + (f" {note}" if note else "")
            caption += f" {left_out} of {len(mine)} results state no {label.lower()} and are left out." if left_out else ""
            drawn = figures.trade_offs(frame, cost, unit)
            blocks += [
                Heading(label),
                Sentence(sentence, figures.COLORS["E_gen"]),
                Figure(f"trade-offs-{cost}", drawn, f"E_gen against {figures.COSTS[cost]}. {sentence}", frame, caption),
            ]
    return Page("trade-offs.html", "Trade-offs", "Trade-offs: error against cost", blocks)


def _sweep(store: Store, experiment: str, row: dict[str, Any], *, unique: bool) -> Sweep:
    sentence = row["finding"] or findings.finding_sentence(store, row["run_id"], experiment)
    name = row["name"] if unique and row["name"] else f"{row['name'] or experiment} ({row['run_id']})"
    return Sweep(row["run_id"], name, sentence, findings.facts(store, row["run_id"]))


def _scaling(store: Store, sweep: Sweep) -> Iterator[Any]:
    analysis = findings.scaling(store, sweep.run_id).analysis
    if analysis.curves.empty:
        return
    unit, fitted = words.unit(sweep.facts.get("descriptor")), analysis.exponent.value
    beside = sweep_baselines(store, sweep.run_id)
    caption = shared_line(sweep.facts, baselines_line(beside), "bands and intervals: 95 %, over students and noises")
    for name, exponent in (("scaling", 0.0), ("scaling-rescaled", fitted)):
        if exponent == exponent:
            frame = figures.scaling_frame(analysis.curves, analysis.crossings, exponent)
            drawn = figures.scaling(frame, exponent, unit, beside)
            axis = f"N / parameters^{exponent:.2f}" if exponent else "the training samples N"
            yield Figure(f"{name}-{sweep.name}", drawn, f"E_gen and E_mem against {axis}. {sweep.sentence}", frame, caption)
    yield Heading("Where E_mem and E_gen cross", 3)
    yield Rows(crossings_table(analysis), NOTES["crossings"])
    yield from map(Note, scaling_details(analysis))
    if (table := collapse_table(analysis)) is not None:
        yield Heading("Do the curves of all sizes fall onto one another?", 3)
        yield Rows(table, NOTES["collapse"])
        if said := collapse_sentence(analysis):
            yield Note(said)


def _dynamics(store: Store, sweep: Sweep) -> Iterator[Any]:
    found = findings.dynamics(store, sweep.run_id)
    analysis, bands = found.analysis, found.bands
    beside = sweep_baselines(store, sweep.run_id)
    caption = shared_line(sweep.facts, baselines_line(beside), "bands: 95 % at each step by itself, over students and noises")
    for size in map(str, analysis.curves["size"].unique() if len(analysis.curves) else ()):
        frame = figures.dynamics_frame(analysis.curves, analysis.verdicts, found.losses, size)
        drawn = figures.dynamics(frame, words.unit(sweep.facts.get("descriptor")), beside)
        yield Figure(f"dynamics-{sweep.name}-{size}", drawn, f"E_gen and losses along training, {size}. {sweep.sentence}", frame, caption)
        yield Heading(f"Verdict for each N, {size}", 3)
        yield Rows(verdicts_table(analysis, size), NOTES["verdicts"])
        turning = analysis.verdicts[(analysis.verdicts["size"] == size) & analysis.verdicts["peak_step"].notna()]["num_samples"]
        known = bands[bands["size"] == size]["num_samples"]
        if len(known):
            at = int(turning.iloc[0] if len(turning) else known.min())
            split = figures.bands_frame(bands, found.totals, size, at)
            yield Heading(f"What is learned, or overfitted, when: N = {at:,}", 3)
            alt = f"E_gen squared along training by bands of principal components, N = {at:,}"
            yield Figure(f"bands-{sweep.name}-{size}-{at}", figures.bands(split), alt, split, NOTES["bands"])


def _bias_variance(store: Store, sweep: Sweep) -> Iterator[Any]:
    analysis = findings.bias_variance(store, sweep.run_id).analysis
    if analysis.table.empty:
        return
    yield Note(NOTES["parts"])
    caption = shared_line(sweep.facts, "intervals: 95 %, over students and noises")
    places: list[tuple[str, str | int]] = [("size", int(n)) for n in sorted(analysis.table["num_samples"].unique())]
    places += [("num_samples", str(size)) for size in list(analysis.table["size"].unique())[-1:]]
    for along, at in places:
        frame = figures.parts_frame(analysis.table, along, at)
        what = f"against size, at N = {at:,}" if along == "size" else f"against N, for {at}"
        yield Heading(f"Bias² and variance {what}", 3)
        alt = f"Bias squared and variance stacked {what}. {sweep.sentence}"
        yield Figure(f"parts-{sweep.name}-{at}", figures.parts(frame, along), alt, frame, caption)
    yield Heading("All sizes and N", 3)
    yield Rows(parts_table(analysis))


DRAW: dict[str, Callable[[Store, Sweep], Iterator[Any]]] = {
    "scaling": _scaling,
    "training-dynamics": _dynamics,
    "bias-variance": _bias_variance,
}


def _walls(store: Store, sweep: Sweep, measurements: pd.DataFrame) -> Iterator[Any]:
    """Yield the images of the largest size's student of the fewest and of the most samples."""
    students = measurements[measurements["student_seed"].notna()]
    if students.empty:
        return
    largest = students[students["parameters"] == students["parameters"].max()].sort_values(["num_samples", "student_seed"])
    most = largest[largest["num_samples"] == largest["num_samples"].max()]
    names = dict.fromkeys([str(largest["student"].iloc[0]), str(most["student"].iloc[0])])
    shown = [(name, pairs) for name in names if (pairs := read_pairs(store, sweep.run_id, name))]
    if shown:
        yield Heading("Same noise, both models", 3)
    for name, pairs in shown:
        caption = f"{words.student(name)}, at its last training step. Below each pair: the distance between teacher and student."
        yield Wall(pairs, caption, few=True)


def _source(store: Store, sweep: Sweep) -> Iterator[Any]:
    yield Heading("Where this comes from", 3)
    yield from provenance(store, sweep.run_id, [("Teacher", str(sweep.facts.get("teacher") or "–"))])


def provenance(store: Store, run_id: str, models: Sequence[tuple[str, str]] = ()) -> Iterator[Any]:
    """Yield where the numbers of a run come from, its models first, and the command that measures them again."""
    run = store_queries.run(store, run_id) or {}
    versions = run.get("versions") if isinstance(run.get("versions"), dict) else {}
    yield Facts(
        [
            *models,
            *([] if run.get("source") in OWN else [("Source", str(run.get("source") or "–"))]),
            ("Time taken", words.duration(run.get("seconds"))),
            ("Device", str(run.get("device") or "–")),
            ("Versions", ", ".join(f"{name} {version}" for name, version in (versions or {}).items()) or "–"),
            ("Git commit", str(run.get("git_commit") or "–")),
            ("Run", run_id),
        ]
    )
    if run.get("command"):
        yield Code(str(run["command"]), "The same from the command line")


def read_pairs(store: Store, run_id: str, student: str | None = None) -> list[Pair]:
    """Return the same-noise pairs of a run, or of one student of a sweep, that have both images."""
    return [
        Pair(row["seed"], row["group"], row["distance"], row["teacher_png"], row["student_png"], row["nearest_png"])
        for row in store_queries.pairs(store, run_id, student)
        if row["teacher_png"] and row["student_png"]
    ]


def empty(blocks: list[Any]) -> list[Any]:
    """Return blocks, or the one that says that there is nothing to show."""
    return blocks or [Prose("Nothing of this kind is among the chosen results.")]
