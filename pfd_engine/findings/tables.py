"""The tables of the finding pages as headings and rows of texts, and the line below each plot: for the pages and the static snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pfd_engine.wording import numbers as words

if TYPE_CHECKING:
    import pandas as pd

    from pfd_engine.analysis import BiasVarianceAnalysis, DynamicsAnalysis, ScalingAnalysis

PAPER_EXPONENT = 0.5
NOTES = {
    "collapse": "Collapse: the share of the variance between the sizes' curves that goes when they are set against N / parametersᵃ, with "
    "its 95 % interval, on the part of the axis that all of them share with and without rescaling. p: the share of the orders of the "
    "sizes in which at least as much goes, given where the collapse is above 0. Below 0, rescaling drives the curves apart.",
    "crossings": "N* is where E_mem and E_gen cross: below it a student lies closer to its training set, above it to its teacher. It "
    "depends on the training budget. The exponent is fitted to the sizes that go from memorizing (E_mem below half of E_gen at the "
    "smallest N) to generalizing (E_gen below 3/4 of E_mem at the largest); its interval is the t interval of the residuals over sizes.",
    "verdicts": "A move is the difference of the mean curve between two checkpoints, paired by student and noise. All intervals and bounds "
    "of a sweep hold together with 95 % confidence, over every pair of checkpoints and every N; a move counts where its interval excludes "
    "0. A peak or a dip at the last step may go on. A double descent is called one only where the map with the teacher's denoiser outside "
    "the trained range falls, rises and falls, too. Where the error of a constant image was measured, a column says whether a dip or a "
    "peak is worse.",
    "bands": "The squared error in bands of the principal components of the teacher's samples, leading components at the bottom; the bands "
    "add up to E_gen² exactly.",
    "parts": "Bias² is how far the mean of the students lies from the teacher, variance how far they lie from their mean; together they "
    "are E_gen² exactly. Bias² is estimated without bias and can come out slightly below 0. The intervals of the shares hold together over "
    "all rows. Where one student carries more of the variance than chance explains, a column says so and the diamond is hollow: the "
    "intervals hold less often than 95 % then. A rare kind of student that none of these is would not be noticed at all.",
}


class Table(NamedTuple):
    """Headings, and rows of as many texts each; nothing is escaped."""

    headings: list[str]
    rows: list[list[str]]


def collapse_table(analysis: ScalingAnalysis) -> Table | None:
    """Return how well curves collapse with the fitted exponent and with the paper's; None where no two sizes can be compared."""
    exponent, scores = analysis.exponent, analysis.collapse
    if scores.empty:
        return None
    curves = list(dict.fromkeys(scores["curve"]))
    cells = {(row["kind"], row["curve"]): _collapse_cell(row) for row in scores.to_dict("records")}
    fitted = words.with_interval(exponent.value, exponent.ci_low, exponent.ci_high)
    rows = [
        *([["fitted", fitted, *(cells["fitted", curve] for curve in curves)]] if exponent.value == exponent.value else []),
        ["the paper's", f"{PAPER_EXPONENT:g}", *(cells["paper", curve] for curve in curves)],
        ["none", "0", *("0 %, by definition" for _ in curves)],
    ]
    return Table(["Rescaling", "Exponent a of N* ~ parametersᵃ", *(f"Collapse of {curve}" for curve in curves)], rows)


def crossings_table(analysis: ScalingAnalysis) -> Table:
    """Return N* of each size with its interval and whether the exponent uses it; the training budget stands in the heading."""
    says = {
        "below": "no crossing",
        "above": "no crossing",
        "again": "none: closer to its training set again at N = {n_max:,}",
        "unknown": "too few values of N",
    }
    others = analysis.all_crossings
    rows = []
    for row in analysis.crossings.to_dict("records"):
        at = others[others["size"] == row["size"]]["num_samples"]
        several = f" (crosses at {', '.join(f'{n:,.0f}' for n in at)})" if len(at) > 1 else ""
        value = says[row["censored"]].format(n_max=row["n_max"]) if row["censored"] else f"{row['crossing']:,.0f}"
        known = row["parameters"] == row["parameters"]
        names = [str(row["size"]), words.parameters(int(row["parameters"]) if known else None)]
        used = "yes" if row["in_fit"] and analysis.exponent.value == analysis.exponent.value else "no"
        rows.append([*names, value + several, _bounds(row), f"{row['seeds']}", used])
    reached = f"N* after {words.count(analysis.steps, 'step')}"
    return Table(["Size", "Parameters", reached, "95 % interval", "Student seeds", "In the exponent"], rows)


def verdicts_table(analysis: DynamicsAnalysis, size: str) -> Table:
    """Return the verdict for each N of a size, with the moves behind it and what else is excluded.

    Where the error of a constant image is known, another column says whether dip and peak are worse; where the diagnostic map was measured,
    another one what it has in the place of the rise.
    """
    rows = []
    checked = analysis.trained_range_checked
    known = analysis.spread is not None
    for row in _records(analysis.verdicts):
        if row["size"] == size:
            moves = [_move(row, name) for name in ("fall", "rise", "second_fall")]
            students = f"{row['seeds']}" + (f" ({row['left_out']} left out)" if row["left_out"] else "")
            inside = words.with_interval(row["inside_rise"], row["inside_rise_low"], row["inside_rise_high"])
            more = ([inside] if checked else []) + ([_turns(row)] if known else [])
            rows.append([f"{row['num_samples']:,}", str(row["verdict"]), *moves, *more, students])
    headings = [
        "N",
        "Verdict",
        "E_gen falls by (steps)",
        "Rises by (steps)",
        "Then falls by (steps)",
        *(["Rise with the teacher outside the trained range"] if checked else []),
        *(["Worse than a constant image"] if known else []),
        "Students",
    ]
    return Table(headings, rows)


def parts_table(analysis: BiasVarianceAnalysis) -> Table:
    """Return bias², variance and their sum for each size and N."""
    rows = []
    records = _records(analysis.table)
    told = any(row["outlier"] is not None for row in records)
    for row in records:
        parts = [words.with_interval(row[part], row[f"{part}_low"], row[f"{part}_high"]) for part in ("bias2", "variance", "E_gen2")]
        share = percent(row["share"], row["share_low"], row["share_high"])
        parameters = words.parameters(int(row["parameters"])) if row["parameters"] == row["parameters"] else "–"
        larger = {"bias": "bias²"}.get(row["dominates"], str(row["dominates"]))
        students = "–" if row["students"] != row["students"] else f"{row['students']:.0f}"
        marked = [{True: "yes", False: "no", None: "–"}[row["outlier"]]] if told else []
        rows.append([str(row["size"]), parameters, f"{row['num_samples']:,}", *parts, share, larger, students, *marked])
    headings = ["Size", "Parameters", "N", "Bias²", "Variance", "E_gen²", "Variance's share", "Larger part", "Students"]
    return Table(headings + (["One student dominates"] if told else []), rows)


def students_table(measurements: pd.DataFrame, distances: pd.DataFrame | None = None) -> Table:
    """Return each size and N of a sweep with its measured students and the mean E_gen at their last step, 95 % over the seeds.

    With `distances` (`sweep_queries.sweep_distances`), and where baselines were measured, another column counts the verdicts on them.
    """
    from pfd_engine.analysis import seed_means, student_verdicts

    judged = None if distances is None else student_verdicts(measurements, distances)
    means = seed_means(measurements, "E_gen")
    last = means[means["step"] == means.groupby(["size", "num_samples"])["step"].transform("max")]
    rows = []
    for row in last.to_dict("records"):
        known = row["parameters"] == row["parameters"]
        numbers = [f"{row['num_samples']:,}", f"{row['seeds']}", words.with_interval(row["value"], row["ci_low"], row["ci_high"])]
        if judged is not None and len(judged):
            alike = judged[(judged["size"] == row["size"]) & (judged["num_samples"] == row["num_samples"])]["verdict"]
            numbers.append(", ".join(f"{word}: {count}" for word, count in alike.value_counts().items()) or "–")
        rows.append([str(row["size"]), words.parameters(int(row["parameters"]) if known else None), *numbers])
    verdicts = ["Verdicts"] if judged is not None and len(judged) else []
    return Table(["Size", "Parameters", "N", "Student seeds", "E_gen", *verdicts], rows)


def shared_line(facts: Mapping[str, Any], *more: str) -> str:
    """Name what all numbers of a plot share: noises, descriptor, solver, teacher, students (`sweep_queries.sweep_facts`)."""
    start, count = facts.get("noise_seed"), facts.get("num_noises")
    seeds = [f"{seed:g}" for seed in facts.get("student_seeds") or []]
    solver, steps = str(facts.get("solver")), facts.get("solver_steps")
    solver += f", {words.count(steps, 'step')} on both sides" if steps else ", numbers of steps differ"
    parts = [
        f"M = {count:,} noises" + (f" (seeds {start} to {start + count - 1})" if start is not None else "") if count else "",
        f"Ψ: {facts.get('descriptor') or 'pixel'}",
        solver if facts.get("solver") else "",
        f"teacher {_teacher(facts)}",
        f"objective {facts['objective']}" if facts.get("objective") else "",
        f"student seeds {', '.join(seeds)}" if 0 < len(seeds) <= 10 else words.count(len(seeds), "student seed") if seeds else "",
        f"{words.count(facts['step'], 'training step')}" if facts.get("step") else "",
        facts.get("training") or "",
        *more,
    ]
    return " · ".join(part for part in parts if part)


def baselines_line(known: Mapping[str, float]) -> str:
    """Name what E_gen is set beside (`sweep_queries.sweep_baselines`); empty where nothing is known."""
    names = {"constant_image": "best constant image", "retrained_floor": "teacher retrained with another seed"}
    parts = [f"{label} {words.number(known[name])}" for name, label in names.items() if name in known]
    return f"E_gen of the {', of the '.join(parts)}" if parts else ""


def _teacher(facts: Mapping[str, Any]) -> str:
    revision = words.short_revision(facts.get("teacher_revision"))
    name = words.short(str(facts.get("teacher") or "?"))
    return f"{name} ({revision})" if revision and revision not in name else name


def percent(value: float, low: float, high: float) -> str:
    """Write a share with its interval in percent; a dash where it is not defined."""
    if value != value:
        return "–"
    digits = 1 if high - low < 0.02 else 0
    written = (
        f"{100 * value:.0f} %"
        if low != low or high != high
        else "{:.{d}f} % [{:.{d}f}, {:.{d}f}]".format(*(100 * number for number in (value, low, high)), d=digits)
    )
    return written.replace("-", "−")


def _collapse_cell(row: Mapping[Any, Any]) -> str:
    """Write a collapse score with its interval and, where it is above 0, how many orders of the sizes reach it."""
    score, p = row["score"], row["p_value"]
    written = percent(score, row["ci_low"], row["ci_high"]) + (" (noises alone)" if row["covers"] == "noises" and score == score else "")
    return written if p != p else f"{written}, p = {p:.2g}"


def _bounds(row: Mapping[Any, Any]) -> str:
    """Write the interval of N*; one that leaves the grid of N is a bound."""
    low, high = row["ci_low"], row["ci_high"]
    noises = " (noises alone)" if row["covers"] == "noises" else ""
    if row["censored"] in ("again", "unknown") or low != low or high != high:
        return "–"
    if low > 0 and high < float("inf"):
        return f"[{low:,.0f}, {high:,.0f}]{noises}"
    if low == float("inf") or high == 0:
        return (f"above {row['n_max']:,}" if high > 0 else f"below {row['n_min']:,}") + noises
    return (f"at least {low:,.0f}" if low > 0 else f"at most {high:,.0f}" if high < float("inf") else "not bounded") + noises


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _move(row: Mapping[str, Any], name: str) -> str:
    """Write a move with its steps, or the bound above which there is none; a dash where a curve without a rise has no second fall."""
    value, most = row[name], row[f"no_{name}_above"]
    if value == value:
        moved = words.with_interval(value, row[f"{name}_low"], row[f"{name}_high"])
        return f"{moved} ({row[f'{name}_from']:,} to {row[f'{name}_to']:,})"
    if most != most:
        return "–"
    return f"none above {words.upper_bound(most)}" if most > 0 else "none"


def _turns(row: Mapping[str, Any]) -> str:
    """Write which of dip and peak are worse than a constant image; a dash where there is no turn, or no constant image to compare with."""
    levels = {name: row[f"{name}_level"] for name in ("dip", "peak") if isinstance(row[f"{name}_level"], str)}
    said = [f"{name}: {'yes' if level == 'worse' else 'no' if level == 'better' else 'undetermined'}" for name, level in levels.items()]
    return ", ".join(said) or "–"
