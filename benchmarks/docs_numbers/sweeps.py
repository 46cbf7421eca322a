"""What the documents say of the published sweeps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np

from benchmarks.docs_numbers.results import MissingData, Results
from pfd_engine.analysis import collapse_sentence, scaling_details
from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, HUMP
from pfd_engine.analysis.moves import Moves, comparisons, moves
from pfd_engine.analysis.sentences.amounts import images, parameters
from pfd_engine.analysis.sentences.wording import join, rows_of
from pfd_engine.findings.sweeps import BiasVariance, Dynamics, Finding, Scaling
from pfd_engine.findings.tables import percent, verdicts_table
from pfd_engine.store.queries.sweeps import sweep_distances
from pfd_engine.wording import numbers as words

USUAL, RARE = "training-dynamics-usual", "training-dynamics"


def design(name: str) -> Callable[[Results], str]:
    """Say how many students of which sizes and N a sweep has."""

    def text(results: Results) -> str:
        students = results.sweep(name).students
        numbers = sorted(int(n) for n in students["num_samples"].unique())
        seeds = sorted(set(students.groupby(["size", "num_samples"])["student_seed"].nunique()))
        found = results.store.rows(
            "select distinct parameters from measurements where run_id = ? and student_seed is not null order by 1", [results.run_id(name)]
        )
        counts = [row["parameters"] for row in found]
        if None in counts:
            raise MissingData(f"the number of parameters of some students of the sweep {name}")
        sizes = f"of {parameters(counts[0])} parameters"
        if len(counts) > 1:
            sizes = f"of {len(counts)} sizes from {parameters(counts[0])} to {parameters(counts[-1])} parameters"
        seen = images(numbers) if len(numbers) < 7 else f"{numbers[0]:,} to {numbers[-1]:,} images"
        return f"{len(students):,} students {sizes}, trained on {seen}, {_from_to(seeds)} for each size and number of images"

    return text


def _from_to(numbers: list[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def lines(text: str) -> str:
    """Put each sentence on a line of its own, which Markdown joins again: a change then shows as one line."""
    return re.sub(r"(?<=\.) (?=[A-Z])", "\n", text)


def sentence(name: str) -> Callable[[Results], str]:
    return lambda results: lines(results.sweep(name).sentence)


def scaling(results: Results) -> Scaling:
    finding = results.sweep("scaling")
    assert isinstance(finding, Scaling)
    return finding


def dynamics(results: Results, name: str) -> Dynamics:
    finding = results.sweep(name)
    assert isinstance(finding, Dynamics)
    return finding


def details(results: Results) -> str:
    return "\n".join(scaling_details(scaling(results).analysis))


def collapse(results: Results) -> str:
    """Say what rescaling N does to the ratio of both errors, and to E_gen alone, which tells another story."""
    said = collapse_sentence(scaling(results).analysis)
    rows = [row for row in rows_of(scaling(results).analysis.collapse) if (row["kind"], row["curve"]) == ("fitted", "E_gen")]
    if not said or not rows:
        raise MissingData("a collapse of the scaling curves")
    score, low, high = (rows[0][name] for name in ("score", "ci_low", "ci_high"))
    alone = f"removes {percent(score, low, high)} of it"
    if high < 0:
        alone = f"makes it larger, by {percent(-score, -high, -low)}"
    elif low <= 0:
        alone = f"is not seen to remove any of it ({percent(score, low, high)})"
    return lines(f"{said} The variance between the curves of E_gen alone is another matter: the same rescaling {alone}.")


def larger_part(results: Results) -> str:
    """Say at how many sizes variance, or bias squared, is the larger part for each N."""
    finding = results.sweep("bias-variance")
    assert isinstance(finding, BiasVariance)
    said = []
    for n, rows in finding.analysis.table.groupby("num_samples"):
        counts, total = Counter(rows["dominates"]), len(rows)
        parts = [f"{name} at {counts[part]}" for part, name in (("variance", "variance"), ("bias", "bias²")) if counts[part]]
        if counts["undetermined"]:
            parts.append(f"undetermined at {counts['undetermined']}")
        said.append(f"At N = {int(n):,}, the larger part is {join(parts)} of {total} sizes.")
    return "\n".join(said)


def size_of_dynamics(results: Results) -> str:
    (size,) = {parameters(row["parameters"]) for name in (USUAL, RARE) for row in rows_of(dynamics(results, name).analysis.verdicts)}
    return size


def no_double_descent(results: Results) -> str:
    verdicts = [row["verdict"] for name in (USUAL, RARE) for row in rows_of(dynamics(results, name).analysis.verdicts)]
    found = verdicts.count(DOUBLE_DESCENT)
    return f"{found or 'none'} of {len(verdicts)} curves does so beyond doubt"


def dynamics_table(results: Results) -> str:
    rows: list[list[str]] = []
    for name in (USUAL, RARE):
        finding = dynamics(results, name)
        analysis, (size,) = finding.analysis, finding.students["size"].unique()
        table, label = verdicts_table(analysis, size), f"`{name}`, {_noise_levels(finding)}, {_students_each(finding)} students each"
        if not rows:
            named = [heading if heading[1:2] == "_" else heading[:1].lower() + heading[1:] for heading in table.headings[1:-1]]
            rows = [["sweep", "N", *named], ["---"] * (len(named) + 2)]
        for verdict, row in zip(rows_of(analysis.verdicts), table.rows, strict=True):
            cells = ["" if cell == "–" else cell for cell in row[:-1]]
            if verdict["verdict"] == HUMP:
                cells[2] += " before the rise"
            rows.append([label, *cells])
            label = ""
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |").replace("|  |", "| |") for row in rows)


def _noise_levels(finding: Finding) -> str:
    found = re.search(r"ln σ ~ N\(.*?\)", str(finding.facts["training"]))
    if found is None:
        raise MissingData("the noise levels that the students of a sweep were trained on")
    return found[0].replace("σ", "sigma")


def _students_each(finding: Dynamics) -> str:
    (students,) = set(finding.analysis.verdicts["seeds"])
    return f"{students}"


def error_at(n: int, step: int) -> Callable[[Results], str]:
    """E_gen at one N and step of the sweep that rarely draws low noise levels, with an interval that holds together with all others."""

    def text(results: Results) -> str:
        found, steps = _moves(results, n)
        value, margin = found.mean[_index(steps, step)], found.level_margin[_index(steps, step)]
        return words.with_interval(value, value - margin, value + margin)

    return text


def rise(n: int, start: int, end: int) -> Callable[[Results], str]:
    """How far E_gen of that sweep rises between two steps, with an interval that holds together with all others."""

    def text(results: Results) -> str:
        found, steps = _moves(results, n)
        move = found.rise(_index(steps, start), _index(steps, end))
        return words.with_interval(move.value, move.ci_low, move.ci_high)

    return text


def _moves(results: Results, n: int) -> tuple[Moves, list[int]]:
    """Return the moves of one curve, corrected for all curves of its sweep, and its steps."""
    distances = sweep_distances(results.store, results.run_id(RARE)).query("metric == 'E_gen'")
    curve = distances[distances["num_samples"] == n]
    steps = sorted(int(step) for step in curve["step"].unique())
    ordered = [rows.sort_values("step")["squared"] for _, rows in curve.groupby("student_seed")]
    if not ordered or any(len(rows) != len(steps) for rows in ordered):
        raise MissingData(f"E_gen at every checkpoint of all students at N = {n} of the sweep {RARE}")
    squared = np.stack([np.stack([np.asarray(values) for values in rows]) for rows in ordered])
    curves = len(dynamics(results, RARE).analysis.verdicts)
    return moves(squared, comparisons(len(steps)) * curves), steps


def _index(steps: list[int], step: int) -> int:
    if step not in steps:
        raise MissingData(f"a checkpoint at step {step} of the sweep {RARE}")
    return steps.index(step)
