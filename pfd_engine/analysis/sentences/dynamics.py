"""What longer training does, in one sentence computed from its analysis."""

from __future__ import annotations

from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, MONOTONE, OVERFITTING, UNDETERMINED, DynamicsAnalysis
from pfd_engine.analysis.sentences.wording import Row, join, rows_of

NO_DYNAMICS = "No student of this sweep has been measured yet, so nothing can be said about longer training."
VERDICTS = {
    DOUBLE_DESCENT: "E_gen falls, rises and falls again (not checked against the noise levels that training drew",
    OVERFITTING: "students learn first and then overfit (",
    MONOTONE: "E_gen moves one way only (",
    UNDETERMINED: "the course of E_gen is undetermined",
}


def dynamics_sentence(analysis: DynamicsAnalysis) -> str:
    """Say which verdict holds for which N, with the interval of the move that decides it."""
    rows = [row for row in rows_of(analysis.verdicts) if row["seeds"] > 0]
    if not rows:
        return NO_DYNAMICS
    several = len({row["size"] for row in rows}) > 1
    parts: list[str] = []
    for verdict, words in VERDICTS.items():
        chosen = [row for row in rows if row["verdict"] == verdict]
        if chosen:
            names = join([f"{row['num_samples']:,}" + (f" ({row['size']})" if several else "") for row in chosen])
            parts.append(f"{'for' if parts else 'For'} N = {names} {words}{_evidence(verdict, chosen)}")
    return f"{'; '.join(parts)}."


def _evidence(verdict: str, rows: list[Row]) -> str:
    """The move that decides a verdict, at the N where it is clearest; nothing for an undetermined one."""
    if verdict == MONOTONE:
        opposite = max(row["rise_high"] if row["fall"] >= row["rise"] else row["fall_high"] for row in rows)
        return f"a move the other way above {max(opposite, 0):.2g} is excluded)"
    if verdict == UNDETERMINED:
        return ""
    move = "second_fall" if verdict == DOUBLE_DESCENT else "rise"
    row = max(rows, key=lambda row: row[f"{move}_low"])
    where = f" at N = {row['num_samples']:,}" if len(rows) > 1 else ""
    size = f"{row[move]:#.2g} ({row[f'{move}_low']:#.2g} to {row[f'{move}_high']:#.2g})"
    if verdict == DOUBLE_DESCENT:
        return f"; the second fall, from step {row['peak_step']:,} to {row['second_dip_step']:,}{where}, is {size})"
    most = max(row["second_fall_high"] for row in rows)
    second = f"a second fall above {most:.2g} is excluded" if most > 0 else "no second fall is seen"
    return f"a rise of {size} from the dip at step {row['dip_step']:,}{where}; {second})"
