"""From how many samples on students generalize, in one sentence computed from the analysis."""

from __future__ import annotations

import math

from pfd_engine.analysis.scaling import ScalingAnalysis
from pfd_engine.analysis.sentences.wording import Row, join, rows_of

NO_SCALING = "No student of this sweep has been measured yet, so nothing can be said about memorization and generalization."
CENSORED = {
    "below": "{size} lies closer to its teacher than to its training set at its smallest N = {n_min:,} already",
    "above": "{size} lies closer to its training set than to its teacher at its largest N = {n_max:,} still",
    "unknown": "{size} lacks values",
}


def scaling_sentence(analysis: ScalingAnalysis) -> str:
    """Say from how many samples on students generalize."""
    rows = rows_of(analysis.crossings)
    if not rows:
        return NO_SCALING
    found = [row for row in rows if not row["censored"]]
    others = [CENSORED[row["censored"]].format(**row) for row in rows if row["censored"]]
    if not found:
        return f"E_mem and E_gen do not cross within the values of N measured: {join(others)}."
    ends = found if len(found) == 1 else [found[0], found[-1]]
    stated = [f"N* = {row['crossing']:,.0f} ({_samples(row)}) samples on for {row['size']}" for row in ends]
    more = f"; {join(others)}" if others else ""
    return f"Students generalize instead of memorizing from {join(stated)}{more}."


def _samples(row: Row) -> str:
    """The interval of a crossing; one that leaves the grid of N is open there."""
    covers = ", over the noises alone" if row["covers"] == "noises" else ""
    low, high = row["ci_low"], row["ci_high"]
    if low > 0 and not math.isinf(high):
        return f"{low:,.0f} to {high:,.0f}{covers}"
    if low > 0:
        return f"at least {low:,.0f}{covers}"
    return f"{'not bounded' if math.isinf(high) else f'at most {high:,.0f}'}{covers}"
