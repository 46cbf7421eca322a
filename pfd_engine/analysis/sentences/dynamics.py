"""What longer training does, in a few sentences computed from its analysis: one claim each, with one interval or bound."""

from __future__ import annotations

from itertools import groupby

from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, FALLS, HUMP, MOVES, OVERFITTING, RISES, TURNS, WORSE, DynamicsAnalysis
from pfd_engine.analysis.sentences.amounts import images, interval, student
from pfd_engine.analysis.sentences.wording import Row, join, rows_of
from pfd_engine.wording.numbers import upper_bound

NO_DYNAMICS = "No student of this sweep has been measured yet, so nothing can be said about longer training."
NOT_CHECKED = "This was not checked against the noise levels that training drew, so it is not called a double descent."
INSIDE = "With the teacher's denoiser outside the trained range"
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
    if row["verdict"] in (DOUBLE_DESCENT, TURNS, OVERFITTING, HUMP, FALLS, RISES):
        return str(row["verdict"])
    return "a move" if row["fall_low"] > 0 or row["rise_low"] > 0 else NOTHING


def _sentences(subject: str, rows: list[Row], analysis: DynamicsAnalysis) -> list[str]:
    """What is said of rows of one kind: of a single one, if E_gen turns."""
    row, kind = rows[0], _kind(rows[0])
    where = f"from step {row['rise_from']:,} to step {row['rise_to']:,}" if row["rise_low"] > 0 else ""
    most = {move: max(row[f"no_{move}_above"] for row in rows) for move in ("rise", "fall", "second_fall")}
    if kind == DOUBLE_DESCENT:
        said = [f"{subject} shows a double descent: its E_gen falls, rises and falls again."]
        said += [f"The rise, {where}, is {interval(row, 'rise')}.", *_inside(row, "rise")]
        return said + ([NO_SPREAD] if analysis.spread is None else _levels(row, analysis.spread))
    if kind == TURNS:
        said = [f"{subject} gets better, worse and better: its E_gen falls, rises and falls again."]
        said += [f"The rise, {where}, is {interval(row, 'rise')}.", *_why_no_double_descent(row)]
        return said + ([NO_SPREAD] if analysis.spread is None else _levels(row, analysis.spread))
    if kind == OVERFITTING:
        said = [f"{subject} learns first and then overfits: its E_gen rises by {interval(row, 'rise')} {where}."]
        later = f"a fall above {upper_bound(most['second_fall'])} is excluded" if most["second_fall"] > 0 else "it falls no more"
        return [*said, f"After step {row['dip_step']:,}, {later}.", *_inside(row, "rise"), *_levels(row, analysis.spread)]
    if kind == HUMP:
        said = [f"{subject} gets worse before it gets better: its E_gen rises by {interval(row, 'rise')} {where}, and then falls."]
        return said + _inside(row, "rise") + _levels(row, analysis.spread)
    if kind == FALLS:
        return [f"{subject} only gets better: its E_gen falls, and {_excluded('rise', most['rise'])}.", *_all_inside(rows, "fall")]
    if kind == RISES:
        return [f"{subject} only gets worse: its E_gen rises, and {_excluded('fall', most['fall'])}.", *_all_inside(rows, "rise")]
    if row["second_fall_low"] > 0:
        return [f"{subject} gets better, worse and better, but at no checkpoint is its E_gen clearly lower than both before and after."]
    if row["fall_low"] > 0 and row["rise_low"] > 0:
        said = [f"{subject} learns first and then gets worse, but whether its E_gen falls again is undetermined."]
        return said + _inside(row, "rise")
    if row["fall_low"] > 0:
        said = [f"{subject} gets better, but a rise of its E_gen by up to {upper_bound(most['rise'])} on the way is not excluded."]
        return said + _inside(row, "fall")
    if row["rise_low"] > 0:
        said = [f"{subject} gets worse, but a fall of its E_gen by up to {upper_bound(most['fall'])} on the way is not excluded."]
        return said + _inside(row, "rise")
    return [f"{subject} shows neither a clear fall nor a clear rise of its E_gen."]


def _inside(row: Row, move: str) -> list[str]:
    """Say whether a move is there in the diagnostic map: the student inside its trained range, the teacher outside; nothing if unknown."""
    value, low, high = (row[f"inside_{move}{part}"] for part in ("", "_low", "_high"))
    if value != value:
        return []
    name = move.replace("_", " ")
    if low > 0:
        found = "is there, too"
    elif high < 0:
        found = "turns into a fall" if move == "rise" else "turns into a rise"
    else:
        found = "vanishes" if high < row[move] else "is not clear"
    return [f"{INSIDE} the {name} {found}: {interval(row, f'inside_{move}')}."]


def _all_inside(rows: list[Row], move: str) -> list[str]:
    """Say the same of a move that several N have, by name where it is not there for each; nothing if it is not known for all."""
    if len(rows) == 1:
        return _inside(rows[0], move)
    if any(row[f"inside_{move}"] != row[f"inside_{move}"] for row in rows):
        return []
    missing = [row["num_samples"] for row in rows if row[f"inside_{move}_low"] <= 0]
    return [f"{INSIDE} the {move} is not clear for {images(missing)}." if missing else f"{INSIDE} each {move} is there, too."]


def _why_no_double_descent(row: Row) -> list[str]:
    """Say what the diagnostic map shows of a curve that falls, rises and falls, where it does not show all three moves."""
    if any(row[f"inside_{move}"] != row[f"inside_{move}"] for move in MOVES):
        return [NOT_CHECKED]
    lost = next(move for move in ("rise", *MOVES) if row[f"inside_{move}_low"] <= 0)
    return [*_inside(row, lost), "So it is not called a double descent."]


def _excluded(move: str, most: float) -> str:
    return f"a {move} above {upper_bound(most)} is excluded" if most > 0 else f"it {move}s between no two checkpoints"


def _levels(row: Row, spread: float | None) -> list[str]:
    """Say which turns of a curve are worse than a constant image."""
    places = [name for name in ("dip", "peak") if row[f"{name}_level"] == WORSE]
    if not places or spread is None:
        return []
    return [f"Its {join(places)} {'is' if len(places) == 1 else 'are'} worse than a constant image, whose E_gen would be {spread:.2f}."]
