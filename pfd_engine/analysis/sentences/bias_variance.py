"""Bias and variance in one sentence computed from their analysis."""

from __future__ import annotations

from collections import Counter

from pfd_engine.analysis.bias_variance import IDENTITY, BiasVarianceAnalysis
from pfd_engine.analysis.sentences.wording import Row, join, percent, rows_of

NO_PARTS = "No size of this sweep has all its students yet, so its error cannot be split into bias and variance."


def bias_variance_sentence(analysis: BiasVarianceAnalysis) -> str:
    """Say which part of the squared error dominates where, how both move with the size, and whether the identity holds."""
    rows = rows_of(analysis.table)
    if not rows:
        return NO_PARTS
    counts = Counter(row["dominates"] for row in rows)
    said = [f"{part} in {counts[part]}" for part in ("variance", "bias") if counts[part]]
    said += [f"undetermined in {counts['undetermined']}"] if counts["undetermined"] else []
    ends = rows if len(rows) == 1 else [rows[0], rows[-1]]
    shares = [f"{percent(row, 'share')} for {row['size']} at N = {row['num_samples']:,.0f}" for row in ends]
    cells = f"{len(rows)} combinations" if len(rows) > 1 else "1 combination"
    worst = max(row["residual"] for row in rows)
    exact = f"; bias² + variance misses E_gen² by up to {worst:.1g} of it" if worst > IDENTITY else ""
    parts = f"of {cells} of size and N the larger part of E_gen² is {join(said)} (variance's share: {join(shares)})"
    trend = _trend(rows_of(analysis.trends))
    return f"{f'{trend}; {parts}' if trend else f'O{parts[1:]}'}{exact}."


def _trend(trends: list[Row]) -> str:
    """Compare the largest size with the smallest, and with nothing between."""
    along = [row for row in trends if row["along"] == "size"]
    parts = []
    for part, name in (("bias2", "bias²"), ("variance", "variance")):
        directions = [row["direction"] for row in along if row["quantity"] == part]
        words = {"falls": f"less {name}", "rises": f"more {name}"}
        said = [f"{word} at {directions.count(move)} of {len(directions)} N" for move, word in words.items() if move in directions]
        if directions:
            parts.append(join(said) if said else f"no clearly different {name}")
    return f"{along[0]['to']} has {join(parts)} than {along[0]['from']}" if parts else ""
