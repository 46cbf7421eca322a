"""The verdict on every student of a sweep, judged by the one rule from what was stored of it at its last step."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pfd_engine.analysis.students import usable
from pfd_engine.analysis.verdicts import Interval, judge_student

STUDENT = ["size", "num_samples", "student_seed"]
COLUMNS = [*STUDENT, "step", "verdict", "reason", "sentence"]
METRICS = ("E_gen", "E_mem", "E_emp")


def student_verdicts(measurements: pd.DataFrame, distances: pd.DataFrame, floor: Interval | float | None = None) -> pd.DataFrame:
    """Return the verdict on each student of which E_gen, E_mem and E_emp have per-noise distances at its last measured step.

    Columns `size`, `num_samples`, `student_seed`, `step`, `verdict`, `reason` and `sentence` (`judge_student`). Both spreads are taken from
    the rows of E_gen and E_mem at that step as numbers, and a student without them is undetermined at best, or neither. One whose rows have
    no memorization ratio has fewer than two distinct samples. `floor` is the PFD of two teachers that differ in their training seed only.
    Empty where no row states a spread: sweeps from before the baselines were measured.
    """
    if "spread" not in measurements or measurements["spread"].isna().all():
        return pd.DataFrame(columns=COLUMNS)
    rows = usable(distances)
    numbers = measurements.dropna(subset=[*STUDENT, "step"]).drop_duplicates([*STUDENT, "step", "metric", "band"], keep="last")
    stored = {key: dict(zip(found["metric"], found["spread"], strict=True)) for key, found in numbers.groupby([*STUDENT, "step"])}
    verdicts: list[tuple[object, ...]] = []
    for student, found in rows.groupby(STUDENT):
        step = found["step"].max()
        squared = {row.metric: np.asarray(row.squared, dtype=np.float64) for row in found[found["step"] == step].itertuples()}
        spreads = stored.get((*student, step))
        if not set(METRICS) <= set(squared) or spreads is None:
            continue
        judged = judge_student(
            *(squared[metric] for metric in METRICS),
            spread_teacher=_known(spreads.get("E_gen")),
            spread_empirical=_known(spreads.get("E_mem")),
            floor=floor,
            distinct_samples=int(found["num_samples"].iloc[0]) if "memorization_ratio" in spreads else 1,
        )
        verdicts.append((*student, int(step), judged.word, judged.reason, judged.sentence))
    return pd.DataFrame(verdicts, columns=COLUMNS)


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
