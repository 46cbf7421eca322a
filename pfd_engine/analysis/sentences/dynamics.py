"""What longer training does, in a few sentences computed from its analysis: one claim each, with one interval or bound."""

from __future__ import annotations

from itertools import groupby

from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, FALLS, HUMP, OVERFITTING, RISES, WORSE, DynamicsAnalysis
from pfd_engine.analysis.sentences.amounts import images, interval, student
from pfd_engine.analysis.sentences.wording import Row, join, rows_of
from pfd_engine.words import upper_bound

NO_DYNAMICS = "No student of this sweep has been measured yet, so nothing can be said about longer training."
NOT_CHECKED = "This was not checked against the noise levels that training drew."
CHECKED = "The sweep also measured its students inside the noise levels that training drew alone: look there before building on this."
NOTHING = "no move"
TOGETHER = (FALLS, RISES, NOTHING)  # what can be said of several N in one sentence
NO_SPREAD = "Whether its dip is better than a constant image was not measured."


def dynamics_sentence(analysis: DynamicsAnalysis) -> str:
    """Say for each size and N whether E_gen falls, rises, or both, with the interval of the move that decides it."""
    rows = [row for row in rows_of(analysis.verdicts) if row["seeds"] > 0]
    if not rows:
        return NO_DYNAMICS
    said = [sentence for _, group in groupby(rows, key=lambda row: row["size"]) for sentence in _of_size(list(group), analysis)]
    return " ".join(said)


def _of_size(rows: list[Row], analysis: DynamicsAnalysis) -> list[str]:
    """The sentences of one size by ascending N; what can be said in one sentence of several N is."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kind = _kind(row)
        kinds.setdefault(kind if kind in TOGETHER else f"{kind} {row['num_samples']}", []).append(row)
    opening = f"Over {max(row['last_step'] for row in rows):,} training steps, {student(rows[0])}"
    said: list[str] = []
    for alike in kinds.values():
        numbers = [row["num_samples"] for row in alike]
        said += _sentences(f"{'One' if said else opening} trained on {images(numbers)}", alike, analysis)
    return said


def _kind(row: Row) -> str:
    """The verdict of a row, or where it is undetermined, whether a move is clear."""
    if row["verdict"] in (DOUBLE_DESCENT, OVERFITTING, HUMP, FALLS, RISES):
        return str(row["verdict"])
    return "a move" if row["fall_low"] > 0 or row["rise_low"] > 0 else NOTHING


def _sentences(subject: str, rows: list[Row], analysis: DynamicsAnalysis) -> list[str]:
    """What is said of rows of one kind: of a single one, if E_gen turns."""
    row, kind = rows[0], _kind(rows[0])
    where = f"from step {row['rise_from']:,} to step {row['rise_to']:,}" if row["rise_low"] > 0 else ""
    most = {move: max(row[f"no_{move}_above"] for row in rows) for move in ("rise", "fall", "second_fall")}
    if kind == DOUBLE_DESCENT:
        said = [f"{subject} shows a double descent: its E_gen falls, rises and falls again."]
        said += [f"The rise, {where}, is {interval(row, 'rise')}.", CHECKED if analysis.trained_range_checked else NOT_CHECKED]
        return said + ([NO_SPREAD] if analysis.spread is None else _levels(row, analysis.spread))
    if kind == OVERFITTING:
        said = [f"{subject} learns first and then overfits: its E_gen rises by {interval(row, 'rise')} {where}."]
        later = f"a fall above {upper_bound(most['second_fall'])} is excluded" if most["second_fall"] > 0 else "it falls no more"
        return [*said, f"After step {row['dip_step']:,}, {later}.", *_levels(row, analysis.spread)]
    if kind == HUMP:
        said = [f"{subject} gets worse before it gets better: its E_gen rises by {interval(row, 'rise')} {where}, and then falls."]
        return said + _levels(row, analysis.spread)
    if kind == FALLS:
        return [f"{subject} only gets better: its E_gen falls, and {_excluded('rise', most['rise'])}."]
    if kind == RISES:
        return [f"{subject} only gets worse: its E_gen rises, and {_excluded('fall', most['fall'])}."]
    if row["second_fall_low"] > 0:
        return [f"{subject} gets better, worse and better, but at no checkpoint is its E_gen clearly lower than both before and after."]
    if row["fall_low"] > 0 and row["rise_low"] > 0:
        return [f"{subject} learns first and then gets worse, but whether its E_gen falls again is undetermined."]
    if row["fall_low"] > 0:
        return [f"{subject} gets better, but a rise of its E_gen by up to {upper_bound(most['rise'])} on the way is not excluded."]
    if row["rise_low"] > 0:
        return [f"{subject} gets worse, but a fall of its E_gen by up to {upper_bound(most['fall'])} on the way is not excluded."]
    return [f"{subject} shows neither a clear fall nor a clear rise of its E_gen."]


def _excluded(move: str, most: float) -> str:
    return f"a {move} above {upper_bound(most)} is excluded" if most > 0 else f"it {move}s between no two checkpoints"


def _levels(row: Row, spread: float | None) -> list[str]:
    """Say which turns of a curve are worse than a constant image."""
    places = [name for name in ("dip", "peak") if row[f"{name}_level"] == WORSE]
    if not places or spread is None:
        return []
    return [f"Its {join(places)} {'is' if len(places) == 1 else 'are'} worse than a constant image, whose E_gen would be {spread:.2f}."]
