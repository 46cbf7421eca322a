"""From how many samples on students generalize, and how that grows with their size, in sentences computed from the analysis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pfd_engine.analysis.collapse import RATIO
from pfd_engine.analysis.scaling import FEWEST_SIZES, PAPER_EXPONENT, UNDETERMINED, ScalingAnalysis
from pfd_engine.analysis.sentences.wording import Row, join, rows_of
from pfd_engine.words import count

NO_SCALING = "No student of this sweep has been measured yet, so nothing can be said about memorization and generalization."
LEVEL = 0.05


def scaling_sentence(analysis: ScalingAnalysis) -> str:
    """Say in one sentence a claim from how many training samples on students generalize, and how that grows with their size.

    The first and the last size with an N* are stated, and every size without one; the exponent with its interval, or what it lacks.
    """
    rows = rows_of(analysis.crossings)
    if not rows:
        return NO_SCALING
    names, budget = _names(rows), f"after {count(analysis.steps, 'training step')}"
    ends = {(row["size"], row["end"]): row for row in rows_of(analysis.ends)}
    found = [row for row in rows if not row["censored"]]
    said = [] if found else [f"{budget.capitalize()}, no size goes from closer to its training set to closer to its teacher as N grows."]
    for row in found[:1] + found[1:][-1:]:
        student, number = f"student of {names[row['size']]} needs about", f"{_number(row['crossing'])}"
        if row is found[0]:
            aim = "to lie closer to its teacher than to its training set"
            said.append(f"{budget.capitalize()}, a {student} {number} training images {_interval(row)} {aim}.")
        else:
            said.append(f"A {student} {number} {_interval(row)}.")
    for row in rows:
        if row["censored"]:
            said += _without(row, f"A student of {names[row['size']]}", ends)
    return " ".join([*said, *_several(analysis, names), *_growth(analysis, names, ends, budget)])


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


def _interval(row: Row) -> str:
    """The interval of a crossing; one that leaves the grid of N is open there."""
    low, high = row["ci_low"], row["ci_high"]
    noises = " over the noises alone" if row["covers"] == "noises" else ""
    if low > 0 and not math.isinf(high):
        return f"[{_number(low)}, {_number(high)}]{noises}"
    bound = f"at least {_number(low)}" if low > 0 else f"at most {_number(high)}" if not math.isinf(high) else "not bounded by these N"
    return f"({bound}{noises})"


def _without(row: Row, student: str, ends: dict[tuple[str, str], Row]) -> list[str]:
    """Say why a size has no N*, and what bounds it."""
    if row["censored"] == "unknown":
        return [f"{student} was measured at too few values of N to tell."]
    low, high = row["ci_low"], row["ci_high"]
    noises = " over the noises alone" if row["covers"] == "noises" else ""
    small = row["censored"] == "below"
    end, place = (ends[row["size"], "small"], "smallest") if small else (ends[row["size"], "large"], "largest")
    n, ratio = f"{end['num_samples']:,}", f"{end['ratio']:.2f} [{end['ci_low']:.2f}, {end['ci_high']:.2f}]"
    if end["closer"] == UNDETERMINED:
        unclear = f"At N = {n}, its {place}, it cannot be told which of the two it lies closer to (E_mem / E_gen is {ratio}{noises})."
        bound = f"at most {_number(high)}" if 0 < high < math.inf else f"at least {_number(low)}" if 0 < low < math.inf else ""
        if row["censored"] == "again":
            return [f"{student} has no such number.", unclear]
        return [f"{student} needs {bound}{noises}." if bound else f"For {student[:1].lower()}{student[1:]} no bound is known.", unclear]
    if row["censored"] == "again":
        return [f"{student} has no such number: at N = {n}, its {place}, it lies closer to its training set again."]
    if small:
        return [f"{student} needs fewer than {n}: there, at its {place} N, it lies closer to its teacher already."]
    return [f"{student} needs more than {n}: there, at its {place} N, it still lies closer to its training set."]


def _several(analysis: ScalingAnalysis, names: dict[str, str]) -> list[str]:
    """Name all crossings of the sizes that have more than one."""
    said = []
    for size, rows in analysis.all_crossings.groupby("size", sort=False):
        if len(rows) > 1 and str(size) in names:
            at = [f"{_number(row['num_samples'])} (to {row['begins']})" for row in rows_of(rows)]
            counted = "" if rows["begins"].iloc[-1] == "memorizing" else "; the last one counts"
            said.append(f"Its two errors cross {len(rows)} times for {names[str(size)]}: at N of about {join(at)}{counted}.")
    return said


def _growth(analysis: ScalingAnalysis, names: dict[str, str], ends: dict[tuple[str, str], Row], budget: str) -> list[str]:
    """State the exponent with its interval, beside the paper's, or what it lacks."""
    fit, sizes = analysis.exponent, analysis.exponent.sizes
    left_out = _left_out(analysis, names, ends)
    if fit.value != fit.value:
        reason = (
            f"{len(sizes) or 'none'} {'does' if len(sizes) in (0, 1) else 'do'}" if len(sizes) < FEWEST_SIZES else "these do not differ"
        )
        needs = f"An exponent of N* needs at least {FEWEST_SIZES} sizes that go from memorizing to generalizing within the measured N"
        return [f"{needs}, and {reason}.", *left_out]
    value, low, high = (_signed(number) for number in (fit.value, fit.ci_low, fit.ci_high))
    across = f"from {names[sizes[0]].removesuffix(' parameters')} to {names[sizes[-1]]}"
    said = [
        f"Over the {len(sizes)} sizes {across} that go from memorizing to generalizing, the exponent a of N* ~ parameters^a is "
        f"{value} [{low}, {high}] {budget}.",
        f"The paper's 1/2 lies {'within' if fit.ci_low <= PAPER_EXPONENT <= fit.ci_high else 'outside'} this interval"
        f"{', and so does 0, no growth at all' if fit.ci_low <= 0 <= fit.ci_high else ''}.",
    ]
    p = f"(p {_p_value(fit.lack_of_fit)})"
    if fit.lack_of_fit != fit.lack_of_fit:
        said.append("Whether one power law fits these sizes cannot be tested without a second student seed.")
    elif fit.lack_of_fit < LEVEL:
        said.append(f"One power law does not describe these sizes well: log N* bends more than student seeds explain {p}.")
    else:
        said.append(f"A bend away from one power law is not clearly seen {p}.")
    return said + left_out + _collapse(analysis)


def _collapse(analysis: ScalingAnalysis) -> list[str]:
    chosen = analysis.collapse[(analysis.collapse["kind"] == "fitted") & (analysis.collapse["curve"] == RATIO)]
    row = next(iter(rows_of(chosen)), None)
    if row is None or not row["score"] > 0 or row["ci_low"] != row["ci_low"]:
        return []
    score, low, high = (_signed(100 * row[name], 0) for name in ("score", "ci_low", "ci_high"))
    share = f"{score} % [{low}, {high}] of their variance" if row["score"] < 0.995 else f"nearly all of their variance (at least {low} %)"
    orders = f"as much is removed in {100 * row['p_value']:.2g} % of the orders in which the sizes can be put"
    return [f"Setting the curves of E_mem / E_gen of all sizes against N / parameters^a removes {share}; {orders}."]


def _left_out(analysis: ScalingAnalysis, names: dict[str, str], ends: dict[tuple[str, str], Row]) -> list[str]:
    """Name the sizes that do not enter the exponent, by the reason."""
    without = [str(row["size"]) for row in rows_of(analysis.crossings) if not row["in_fit"]]
    early = [size for size in without if not ends[size, "small"]["reached"]]
    late = [size for size in without if size not in early and not ends[size, "large"]["reached"]]
    others = [size for size in without if size not in early + late]
    said = []
    if early:
        said.append(f"{_sizes(early, names)} left out: at the smallest N, E_mem is not below half of E_gen, so that smaller N are missing.")
    if late:
        said.append(f"{_sizes(late, names)} left out: at the largest N, E_gen is not below 3/4 of E_mem, so that larger N are missing.")
    if others:
        said.append(f"{_sizes(others, names)} left out: the number of parameters or N* is not known.")
    return said


def _sizes(sizes: Sequence[str], names: dict[str, str]) -> str:
    texts = [names[size] for size in sizes]
    if all(text.endswith(" parameters") for text in texts):
        texts = [text.removesuffix(" parameters") for text in texts[:-1]] + texts[-1:]
    return f"The size{'s' if len(texts) > 1 else ''} of {join(texts)} {'are' if len(texts) > 1 else 'is'}"


def _signed(value: float, digits: int = 2) -> str:
    """Write a number without a negative zero, with a typographic minus."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
