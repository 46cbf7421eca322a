"""How big a stored distance is, and what limits it, in plain sentences: for pages, the static site, cards and exports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.intervals import FEW_NOISES, not_ruled_out, uneven_sum
from pfd_engine.analysis.verdicts import GEN_SPREAD, Verdict
from pfd_engine.measure.solver_error import next_rung
from pfd_engine.wording import numbers as words

Array = NDArray[np.float64]
Sentence = str  # without its full stop
SMALL_PRINT = ("no trained range", "1 of ")  # how notes on the trained range begin that do not stand among the warnings
BASELINES = {"constant_image": "Best constant image", "shuffled_ceiling": "Shuffled ceiling", "retrained_floor": "Retrained floor"}


def baselines(details: Mapping[str, Any], distances: Mapping[str, Array]) -> dict[str, float]:
    """Return what a PFD is set beside, as far as it is known: `constant_image`, `shuffled_ceiling` and `retrained_floor`.

    An older result may hold the deviations of the teacher's end points as distances alone.
    """
    spread, deviations = _number(details.get("spread")), distances.get("spread")
    if spread is None and deviations is not None:
        spread = math.sqrt(float(deviations.mean()))
    known = {
        "constant_image": spread,
        "shuffled_ceiling": _number(details.get("shuffled")),
        "retrained_floor": _number(_mapping(details.get("retrained_floor")).get("value")),
    }
    return {name: value for name, value in known.items() if value is not None}


def how_big(verdict: Verdict | None, known: Mapping[str, float], descriptor: str = "pixel") -> str:
    """Say how big a PFD is beside its `baselines`, in one or two sentences; empty where nothing is known."""
    parts = []
    compared = None if verdict is None else verdict.comparisons.get(GEN_SPREAD)
    constant, said = "constant image" if descriptor == "pixel" else "constant feature", ""
    if (spread := known.get("constant_image")) is not None:
        at = words.number(spread)
        if compared is None or _is_in_verdict(verdict):
            parts.append(f"the best {constant} lies {at} from the teacher")
        elif compared.below:
            said = f"The student is closer to its teacher than any {constant} can be ({at}). "
        elif compared.above:
            said = f"The student is farther from its teacher than the best {constant} is ({at}). "
        else:
            said = f"The student is not clearly closer to its teacher than the best {constant} is ({at}). "
    if (floor := known.get("retrained_floor")) is not None:
        parts.append(f"a teacher retrained with another seed lies {words.number(floor)} from the first")
    if (shuffled := known.get("shuffled_ceiling")) is not None:
        parts.append(f"two models that share no coupling would lie about {words.number(shuffled)} apart")
    scale = ", and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return said + (f"For scale: {scale}." if scale else "")


def _is_in_verdict(verdict: Verdict | None) -> bool:
    """Return whether a verdict, as it is said, sets the student beside a constant image already."""
    if verdict is None:
        return False
    compared = verdict.comparisons.get(GEN_SPREAD)
    farther = compared is not None and compared.above and verdict.word == "neither"
    return farther or verdict.word == "generalizes" or verdict.reason == "no training set"


def marks(details: Mapping[str, Any], distances: Mapping[str, Array], warnings: tuple[str, ...] = ()) -> Iterator[Sentence]:
    """Yield what a reader must know before using a result and its `warnings` do not say: few noises, sums that few noises carry, a
    student that extrapolates."""
    count = details.get("num_noises")
    if isinstance(count, int) and count < FEW_NOISES and not any("noises are few" in warning for warning in warnings):
        yield f"{count} noises are few: intervals from fewer than {FEW_NOISES} are rough, so measure more"
    for metric in ("PFD", "E_mem"):
        d = distances.get(metric)
        if d is not None and len(d) > 1 and not any(f"sum behind {metric}" in warning for warning in warnings):
            yield from filter(None, [uneven_sum(metric, d)])
    error, half = _solver_share(_mapping(details.get("memorization")))
    if error > half:
        yield f"the solver's own error of E_mem, about {error:.2g}, is larger than half the width of its interval, {half:.2g}"
    if (note := _range_note(details)) and not note.startswith(SMALL_PRINT):
        yield note


def footnotes(details: Mapping[str, Any]) -> Iterator[Sentence]:
    """Yield what stands in small print: what the noises cannot rule out, the solver's own error, and what is not known of training."""
    count = details.get("num_noises")
    if isinstance(count, int) and count >= 2:
        share = 100 * not_ruled_out(count)
        yield (
            f"These {count:,} noises cannot rule out that fewer than {share:.2g} % of all noises behave in a way that was not seen "
            "(95 % confidence)"
        )
    memorization = _mapping(details.get("memorization"))
    for name, values in (("PFD", details), ("E_mem", memorization)):
        if (error := _number(values.get("solver_error"))) is not None:
            yield f"{name} contains {_solver_error(error, extrapolated=bool(values.get('solver_error_extrapolated')))}"
    if (note := _range_note(details)).startswith(SMALL_PRINT):
        yield note
    total, distinct = memorization.get("num_samples"), memorization.get("num_distinct_samples")
    if isinstance(total, int) and isinstance(distinct, int) and distinct < total:
        different = words.count(distinct, "different sample")
        yield f"The training set holds {different} among {total:,}; the memorization ratio counts duplicates once"


def finer_steps(details: Mapping[str, Any]) -> int | None:
    """Return the number of solver steps to measure again with, where the solver's error exceeds half the interval; else None.

    None, too, where no rung is finer.
    """
    steps = details.get("steps")
    if not isinstance(steps, int):
        return None
    shares = [_solver_share(values) for values in (details, _mapping(details.get("memorization")))]
    return next_rung(steps) if any(error > half for error, half in shares) else None


def _range_note(details: Mapping[str, Any]) -> str:
    note = details.get("range_note")
    return note if isinstance(note, str) else ""


def _solver_share(values: Mapping[str, Any]) -> tuple[float, float]:
    """Return the size of a number's solver error, and half the width of its interval; 0 and 0 where one of them is not known."""
    error, low, high = (_number(values.get(name)) for name in ("solver_error", "ci_low", "ci_high"))
    return (0.0, 0.0) if error is None or low is None or high is None else (abs(error), (high - low) / 2)


def _solver_error(error: float, *, extrapolated: bool) -> str:
    if not extrapolated:
        return f"at most about {abs(error):.2g} of solver error, the largest change with two and four times the steps"
    change = f"{abs(error):.2g} {'smaller' if error >= 0 else 'larger'}"
    return f"solver error: with ever more steps it would be about {change} (extrapolated)"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
