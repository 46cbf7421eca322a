"""From how many samples on students generalize, and how that grows with their size, in sentences computed from the analysis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pfd_engine.analysis.collapse import RATIO
from pfd_engine.analysis.crossings import ABOVE, AGAIN, BELOW, MEMORIZING, UNKNOWN
from pfd_engine.analysis.scaling import FEWEST_SIZES, PAPER_EXPONENT, UNDETERMINED, ScalingAnalysis
from pfd_engine.analysis.sentences.wording import Row, join, rows_of
from pfd_engine.analysis.students import NOISES
from pfd_engine.wording.numbers import count

NO_SCALING = "No student of this sweep has been measured yet, so nothing can be said about memorization and generalization."
LEVEL = 0.05
PLACES = {"small": "smallest", "large": "largest"}


def scaling_sentence(analysis: ScalingAnalysis) -> str:
    """Say in one sentence a claim from how many training samples on students generalize, and how that grows with their size.

    The first and the last size with an N* are stated, every size without one, and the exponent with its interval, or what it lacks.
    """
    rows = rows_of(analysis.crossings)
    if not rows:
        return NO_SCALING
    names, budget = _names(rows), _budget(analysis)
    found, measured = [row for row in rows if not row["censored"]], [row for row in rows if row["censored"] != UNKNOWN]
    said = []
    if measured and not found:
        said.append(f"{budget.capitalize()}, no size goes from closer to its training set to closer to its teacher as N grows.")
    for row in found[:1] + found[1:][-1:]:
        student, number = f"student of {names[row['size']]} needs about", f"{_number(row['crossing'])}"
        if row is found[0]:
            aim = "to lie closer to its teacher than to its training set"
            said.append(f"{budget.capitalize()}, a {student} {number} training images {_interval(row)} {aim}.")
        else:
            said.append(f"A {student} {number} {_interval(row)}.")
    said += [_without(row, f"A student of {names[row['size']]}", _end(analysis, row)) for row in measured if row["censored"]]
    if few := [str(row["size"]) for row in rows if row["censored"] == UNKNOWN]:
        said.append(f"Students of {_sizes(few, names)} were measured at too few values of N to tell.")
    return " ".join([*said, *_several(analysis, names), *_no_better_than_constant(analysis, names), *_growth(analysis, names, budget)])


def scaling_details(analysis: ScalingAnalysis) -> list[str]:
    """Say what stands behind `scaling_sentence`: what cannot be told, which sizes the exponent leaves out, and whether it fits."""
    names = _names(rows_of(analysis.crossings))
    said = []
    for row in rows_of(analysis.crossings):
        end = _end(analysis, row)
        if row["censored"] in (BELOW, ABOVE, AGAIN) and end["closer"] == UNDETERMINED:
            ratio = f"E_mem / E_gen is {end['ratio']:.2f} [{end['ci_low']:.2f}, {end['ci_high']:.2f}]{_noises(end)}"
            place = f"at N = {end['num_samples']:,}, its {PLACES[end['end']]}"
            said.append(f"Whether a student of {names[row['size']]} lies closer to its teacher {place}, cannot be told: {ratio}.")
    if analysis.exponent.value == analysis.exponent.value:
        said += _left_out(analysis, names)
        if not analysis.exponent.lack_of_fit < LEVEL:
            said.append(_fit(analysis))
    return said


def collapse_sentence(analysis: ScalingAnalysis) -> str:
    """Say how much of the difference between the curves of all sizes the fitted exponent removes; empty where it removes nothing."""
    chosen = analysis.collapse[(analysis.collapse["kind"] == "fitted") & (analysis.collapse["curve"] == RATIO)]
    row = next(iter(rows_of(chosen)), None)
    if row is None or not row["score"] > 0 or row["ci_low"] != row["ci_low"]:
        return ""
    score, low, high = (_signed(100 * row[name], 0) for name in ("score", "ci_low", "ci_high"))
    share = f"{score} % [{low}, {high}]{_noises(row)} of their variance"
    if row["score"] >= 0.995:
        share = f"nearly all of their variance (at least {_signed(math.floor(100 * row['ci_low']), 0)} %{_noises(row)})"
    orders = f"as much is removed in {100 * row['p_value']:.2g} % of the orders in which the sizes can be put"
    return (
        f"Setting the curves of log(E_mem / E_gen) of all sizes {_budget(analysis)} against N / parameters^a with the fitted a "
        f"removes {share}; {orders}."
    )


def _budget(analysis: ScalingAnalysis) -> str:
    return f"after {count(analysis.steps, 'training step')}"


def _names(rows: list[Row]) -> dict[str, str]:
    """Name each size by its parameters, and by its own name where that is not unique or not known."""
    written = {row["size"]: _parameters(row) for row in rows}
    twice = Counter(written.values())
    return {size: f"{text} ({size})" if twice[text] > 1 or text.startswith("unknown") else text for size, text in written.items()}


def _parameters(row: Row) -> str:
    """Write the number of parameters with two digits or three, `22 k parameters`: its code and its exact number stand in the table."""
    if row["parameters"] != row["parameters"]:
        return "unknown size"
    limit, unit = next((pair for pair in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if row["parameters"] >= pair[0]), (1, ""))
    scaled = row["parameters"] / limit
    return f"{scaled:.{1 if scaled < 9.95 and unit else 0}f}{unit} parameters"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def _noises(row: Row) -> str:
    return " over the noises alone" if row["covers"] == NOISES else ""


def _interval(row: Row) -> str:
    """The interval of a crossing; one that leaves the grid of N is open there."""
    low, high = row["ci_low"], row["ci_high"]
    if low > 0 and not math.isinf(high):
        return f"[{_number(low)}, {_number(high)}]{_noises(row)}"
    bound = f"at least {_number(low)}" if low > 0 else f"at most {_number(high)}" if not math.isinf(high) else "not bounded by these N"
    return f"({bound}{_noises(row)})"


def _end(analysis: ScalingAnalysis, row: Row) -> Row:
    """Return the end of the grid that tells why a size has no N*: the smallest N where it generalizes from there on, else the largest."""
    wanted = "small" if row["censored"] == BELOW else "large"
    return next(end for end in rows_of(analysis.ends) if (end["size"], end["end"]) == (row["size"], wanted))


def _without(row: Row, student: str, end: Row) -> str:
    """Say why a size has no N*, and what bounds it."""
    n, place, clear = f"{end['num_samples']:,}", PLACES[end["end"]], end["closer"] != UNDETERMINED
    if row["censored"] == AGAIN:
        return (
            f"{student} has no such number: at N = {n}, its {place}, it {'lies' if clear else 'may lie'} closer to its training set again."
        )
    if clear and row["censored"] == BELOW:
        return f"{student} needs fewer than {n}: there, at its {place} N, it lies closer to its teacher already."
    if clear:
        return f"{student} needs more than {n}: there, at its {place} N, it still lies closer to its training set."
    low, high = row["ci_low"], row["ci_high"]
    if 0 < high < math.inf or 0 < low < math.inf:
        return f"{student} needs {f'at most {_number(high)}' if high < math.inf else f'at least {_number(low)}'}{_noises(row)}."
    return f"{student} needs a number that these N do not bound."


def _several(analysis: ScalingAnalysis, names: dict[str, str]) -> list[str]:
    """Name all crossings of the sizes that have more than one."""
    said = []
    for size, rows in analysis.all_crossings.groupby("size", sort=False):
        if len(rows) > 1 and str(size) in names:
            at = [f"{_number(row['num_samples'])} (to {row['begins']})" for row in rows_of(rows)]
            counted = "" if rows["begins"].iloc[-1] == MEMORIZING else "; the last one counts"
            said.append(f"Its two errors cross {len(rows)} times for {names[str(size)]}: at N of about {join(at)}{counted}.")
    return said


def _no_better_than_constant(analysis: ScalingAnalysis, names: dict[str, str]) -> list[str]:
    """Name the sizes whose E_gen lies at no N clearly below that of a constant image: their N* says nothing of generalizing."""
    if analysis.spread is None:
        return []
    errors = analysis.curves[analysis.curves["metric"] == "E_gen"]
    clear = set(errors[errors["ci_high"] < analysis.spread]["size"])
    sizes = [size for size in names if size not in clear]
    constant = f"clearly closer to their teacher than a constant image, whose E_gen would be {analysis.spread:.2f}"
    return [f"At no measured N are students of {_sizes(sizes, names)} {constant}."] if sizes else []


def _growth(analysis: ScalingAnalysis, names: dict[str, str], budget: str) -> list[str]:
    """State the exponent with its interval, beside the paper's, or what it lacks."""
    fit, sizes = analysis.exponent, analysis.exponent.sizes
    if fit.value != fit.value:
        have = f"{len(sizes) or 'none'} {'do' if len(sizes) > 1 else 'does'}" if len(sizes) < FEWEST_SIZES else "these are of one size"
        needs = f"at least {FEWEST_SIZES} sizes that go from memorizing to generalizing within the measured N"
        return [f"An exponent of N* ~ parameters^a needs {needs}, and {have}.", *_left_out(analysis, names)]
    value, low, high = (_signed(number) for number in (fit.value, fit.ci_low, fit.ci_high))
    across = f"from {names[sizes[0]].removesuffix(' parameters')} to {names[sizes[-1]]}"
    said = [
        f"Over the {len(sizes)} sizes {across} that go from memorizing to generalizing, the exponent a of N* ~ parameters^a is "
        f"{value} [{low}, {high}] {budget}.",
        f"The paper's 1/2 lies {'within' if fit.ci_low <= PAPER_EXPONENT <= fit.ci_high else 'outside'} this interval"
        f"{', and so does 0, no growth at all' if fit.ci_low <= 0 <= fit.ci_high else ''}.",
    ]
    return [*said, _fit(analysis)] if fit.lack_of_fit < LEVEL else said


def _fit(analysis: ScalingAnalysis) -> str:
    """Say whether one power law fits."""
    p = analysis.exponent.lack_of_fit
    if p != p:
        return "Whether one power law fits these sizes cannot be tested without a second student seed."
    written = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    if p < LEVEL:
        return f"One power law does not describe these sizes well: log N* bends more than student seeds explain ({written})."
    return f"A bend of log N* away from one power law is not clearly seen ({written}, against the spread over student seeds)."


def _left_out(analysis: ScalingAnalysis, names: dict[str, str]) -> list[str]:
    """Name the sizes that do not enter the exponent, by the reason."""
    reached = {(row["size"], row["end"]): row["reached"] for row in rows_of(analysis.ends)}
    without = [str(row["size"]) for row in rows_of(analysis.crossings) if not row["in_fit"] and row["censored"] != UNKNOWN]
    early = [size for size in without if not reached[size, "small"]]
    late = [size for size in without if size not in early and not reached[size, "large"]]
    others = [size for size in without if size not in early + late]
    reasons = (
        (early, "memorize too little even at the smallest N (E_mem is not below half of E_gen): smaller N are missing"),
        (late, "generalize too little even at the largest N (E_gen is not below 3/4 of E_mem): larger N are missing"),
        (others, "have no known number of parameters"),
    )
    return [f"Left out of the exponent, students of {_sizes(sizes, names)} {reason}." for sizes, reason in reasons if sizes]


def _sizes(sizes: Sequence[str], names: dict[str, str]) -> str:
    texts = [names[size] for size in sizes]
    if all(text.endswith(" parameters") for text in texts):
        texts = [text.removesuffix(" parameters") for text in texts[:-1]] + texts[-1:]
    return join(texts)


def _signed(value: float, digits: int = 2) -> str:
    """Write a number without a negative zero, with a typographic minus."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
