"""Bias and variance in a few sentences computed from their analysis: one claim each, with one interval."""

from __future__ import annotations

from collections import Counter

from pfd_engine.analysis.bias_variance import IDENTITY, BiasVarianceAnalysis
from pfd_engine.analysis.sentences.amounts import images, parameters
from pfd_engine.analysis.sentences.wording import Row, join, rows_of
from pfd_engine.measure.bias_variance import FEWEST
from pfd_engine.wording.numbers import count, with_interval

NO_PARTS = "No size of this sweep has all its students yet, so its error cannot be split into bias and variance."
NAMES = {"bias2": "bias²", "variance": "variance"}


def bias_variance_sentence(analysis: BiasVarianceAnalysis) -> str:
    """Say how bias and variance move with the size, which of them is the larger part where, and what is not to be trusted."""
    rows = rows_of(analysis.table)
    if not rows:
        return NO_PARTS
    said = [*_trends(analysis, rows), _larger_part(rows), *_doubts(rows)]
    return " ".join(sentence for sentence in said if sentence)


def _trends(analysis: BiasVarianceAnalysis, rows: list[Row]) -> list[str]:
    """Compare the largest size with the smallest: one sentence for each part and direction, with the interval at the clearest N."""
    along = [row for row in rows_of(analysis.trends) if row["along"] == "size"]
    sizes = {row["size"]: _size(row) for row in rows}
    steps = max(row["step"] for row in rows)

    def trained(chosen: list[Row]) -> str:
        seen = images([int(row["at"]) for row in chosen])
        return f"After {steps:,} training steps on {seen}" if steps else f"Trained on {seen}"

    said = []
    for part, name in NAMES.items():
        mine = [row for row in along if row["quantity"] == part]
        told = 0
        for direction, more in (("falls", "less"), ("rises", "more")):
            chosen = [row for row in mine if row["direction"] == direction]
            told += len(chosen)
            if chosen:
                clearest = max(chosen, key=lambda row: min(abs(row["ci_low"]), abs(row["ci_high"])))
                size = with_interval(*_positive(clearest))
                where = f" at N = {int(clearest['at']):,}" if len(chosen) > 1 else ""
                first, last = sizes[clearest["from"]], sizes[clearest["to"]]
                said.append(f"{trained(chosen)}, students {last} have {more} {name} than those {first}, by {size}{where}.")
        if mine and len(mine) > told and any(row["ci_low"] == row["ci_low"] for row in mine):
            others = trained([row for row in mine if row["direction"] == "undetermined"])
            said.append(f"{others}, no difference of the {name} of small and large students is told from 0.")
    return said


def _positive(row: Row) -> tuple[float, float, float]:
    """Return a change as a positive number, with its interval."""
    ends = sorted((abs(row["ci_low"]), abs(row["ci_high"])))
    return abs(row["change"]), ends[0], ends[1]


def _size(row: Row) -> str:
    known = row["parameters"] == row["parameters"]
    return f"of {parameters(row['parameters'])} parameters" if known else f"of size {row['size']}"


def _larger_part(rows: list[Row]) -> str:
    """Count which part is the larger one, over all sizes and N whose students are enough for an interval."""
    known = [row for row in rows if row["share_low"] == row["share_low"]]
    if not known:
        return ""
    counts = Counter(row["dominates"] for row in known)
    told = [f"{name} in {counts[part]}" for part, name in (("variance", "variance"), ("bias", "bias²")) if counts[part]]
    open_ones = f"in {counts['undetermined']} it is undetermined" if counts["undetermined"] else ""
    larger = f"the larger part of E_gen² is {join(told)}" if told else "it is undetermined which part of E_gen² is larger"
    return f"Of {count(len(known), 'combination')} of size and N, {larger}{f', and {open_ones}' if told and open_ones else ''}."


def _doubts(rows: list[Row]) -> list[str]:
    """Say where there is no interval, or none to be trusted, and where the identity does not hold."""
    said = []
    few = [row for row in rows if row["students"] < FEWEST]
    if few:
        where = "" if len(few) == len(rows) else f" of {len(few)} of them"
        said.append(f"Fewer than {FEWEST} students do not tell how bias and variance scatter, so there is no interval{where}.")
    marked = [row for row in rows if row["outlier"] is True]
    if marked:
        places = join([f"{_size(row)} at N = {row['num_samples']:,}" for row in marked])
        said.append(f"Of the students {places}, one carries more of the variance than chance explains, so that intervals hold less often.")
    if any(row["outlier"] is None for row in rows if not row["students"] < FEWEST):
        said.append("Whether a single student carries most of a variance was not stored with these rows.")
    worst = max(row["residual"] for row in rows)
    if worst > IDENTITY:
        said.append(f"bias² + variance misses E_gen² by up to {worst:.1g} of it.")
    return said
