"""Is a student's error bias or variance, and how do both move with its size and with N? (The estimates: `measure/bias_variance.py`.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pfd_engine.analysis.quantiles import TAIL, t_quantile_of
from pfd_engine.analysis.students import whole_numbers
from pfd_engine.measure.bias_variance import BOTH, FEWEST, NOISES, outlier_share

IDENTITY = 1e-9
PARTS = ["bias2", "variance", "E_gen2"]
ABOUT = ["students", "effective_students", "largest_student_share"]
TABLE = ["size", "parameters", "num_samples", "step"]
TABLE += [f"{part}{suffix}" for part in PARTS for suffix in ("", "_stderr", "_low", "_high")]
TABLE += ["students", "freedom", "covers", "outlier", "residual", "share", "share_low", "share_high", "dominates"]
TRENDS = ["quantity", "along", "at", "from", "to", "value_from", "value_to", "change", "ci_low", "ci_high", "direction"]


@dataclass(frozen=True)
class BiasVarianceAnalysis:
    """What a bias-variance sweep shows.

    - `table`: one row a size and N, at its last step: `bias2`, `variance` and `E_gen2` as they were measured, with their intervals (NaN for
      fewer than 4 students); `students`; what the intervals cover (`covers`); `outlier`, whether one student carries more of the variance
      than chance explains (None where that was not stored); `residual` = |bias2 + variance - E_gen2| / E_gen2, which an exact identity
      keeps near rounding; `share` = variance / E_gen2 with its interval, corrected over all rows; `dominates`: `bias`, `variance` or
      `undetermined` (the share's interval contains 1/2).
    - `trends`: how each part changes from the smallest to the largest size (`along` = `size`, `at` = N), corrected over the parts and N,
      and from the smallest to the largest N (`along` = `num_samples`, `at` = size), corrected over the parts and sizes: `change` with its
      interval and `direction` `rises`, `falls` or `undetermined`.
    """

    table: pd.DataFrame
    trends: pd.DataFrame


def analyze_bias_variance(measurements: pd.DataFrame) -> BiasVarianceAnalysis:
    """Analyze one bias-variance sweep from its rows without a student seed: `bias2`, `variance`, `E_gen2` with standard errors.

    Each part's interval is the stored one. Corrected intervals are wider by the ratio of the t quantiles, whose degrees of freedom are the
    effective number of students minus 1; of older rows, which do not have it, those of all students. The share's interval is the delta
    method's: as bias^2 + variance = E_gen^2 holds exactly, the three standard errors give the covariance too. Trends take the two ends as
    independent, which is safe where they share training sets: these move both ends the same way, so that the true interval of the change is
    narrower. Combinations that miss a part are left out.
    """
    usable = measurements[measurements["band"].isna()].dropna(subset=["size", "num_samples", "value"])
    counts = _counts(usable)
    rows = usable[usable["metric"].isin(PARTS + ABOUT) & usable["student_seed"].isna()]
    rows = whole_numbers(rows.assign(step=rows["step"].fillna(0)), "num_samples", "step")
    rows = rows.drop_duplicates(["size", "num_samples", "step", "metric"], keep="last")
    groups = rows.groupby(["size", "num_samples"])
    found = [row for place, group in groups if (row := _row(group, counts.get(place))) is not None]
    found = [row | _share(row, TAIL / len(found)) for row in found]
    table = pd.DataFrame(found, columns=TABLE).sort_values(["parameters", "size", "num_samples"]).reset_index(drop=True)
    return BiasVarianceAnalysis(table, _trends(table))


def _counts(rows: pd.DataFrame) -> dict[Any, int]:
    """Return how many students of each size and N were measured: older rows do not say how many a decomposition rests on."""
    students = rows[(rows["metric"] == "E_gen") & rows["student_seed"].notna()]
    return dict(students.groupby(["size", "num_samples"])["student_seed"].nunique().items())


def _row(group: pd.DataFrame, count: int | None) -> dict[str, Any] | None:
    """Return a row of the table without its share; `count` is the number of students where the rows do not state it."""
    parts_of_step = group[group["metric"].isin(PARTS)]
    complete = parts_of_step[parts_of_step.groupby("step")["metric"].transform("nunique") == len(PARTS)]
    if complete.empty:
        return None
    last = group[group["step"] == complete["step"].max()]
    parts: dict[str, dict[str, Any]] = {str(row["metric"]): row for row in last.to_dict("records")}
    about = {name: float(parts[name]["value"]) if name in parts else np.nan for name in ABOUT}
    students = about["students"] if about["students"] == about["students"] else float(count or np.nan)
    row: dict[str, Any] = {name: parts["E_gen2"][name] for name in TABLE[:4]}
    for part in PARTS:
        for name, column in ((part, "value"), (f"{part}_stderr", "stderr"), (f"{part}_low", "ci_low"), (f"{part}_high", "ci_high")):
            known = column in ("value", "stderr") or not students < FEWEST
            row[name] = float(parts[part][column]) if known and parts[part][column] is not None else np.nan
    carried = about["effective_students"] if about["effective_students"] == about["effective_students"] else students
    stored = parts["variance"].get("covers")
    bias2, variance, error2 = (row[part] for part in PARTS)
    return row | {
        "students": students,
        "freedom": max(carried - 1, 1.0) if carried == carried else np.nan,
        "covers": stored if isinstance(stored, str) else NOISES if students < FEWEST else BOTH,
        "outlier": None
        if np.isnan(about["largest_student_share"])
        else bool(about["largest_student_share"] > outlier_share(int(students))),
        "residual": abs(bias2 + variance - error2) / error2 if error2 > 0 else np.nan,
    }


def _share(row: dict[str, Any], tail: float) -> dict[str, object]:
    """Return the variance's share: Var(v/E) = (Var v - 2 s Cov(v, E) + s^2 Var E) / E^2, where E = bias^2 + v."""
    if not row["E_gen2"] > 0:
        return {"share": np.nan, "share_low": np.nan, "share_high": np.nan, "dominates": "undetermined"}
    bias2, variance, error2 = (row[f"{part}_stderr"] ** 2 for part in PARTS)
    share = row["variance"] / row["E_gen2"]
    covariance = variance + (error2 - bias2 - variance) / 2
    spread = float(np.maximum(variance - 2 * share * covariance + share**2 * error2, 0.0))
    known = np.isfinite(row["variance_low"])
    half = float(t_quantile_of(row["freedom"], tail)) * np.sqrt(spread) / row["E_gen2"] if known else np.nan
    dominates = "variance" if share - half > 0.5 else "bias" if share + half < 0.5 else "undetermined"
    return {"share": share, "share_low": share - half, "share_high": share + half, "dominates": dominates}


def _trends(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for along, fixed in (("size", "num_samples"), ("num_samples", "size")):
        ends = []
        for at, group in table.groupby(fixed, sort=False):
            ordered = group.sort_values("parameters" if along == "size" else "num_samples")
            if len(ordered) > 1:
                ends.append((str(at), ordered.iloc[0], ordered.iloc[-1]))
        tail = TAIL / max(len(ends) * len(PARTS), 1)
        for at, first, last in ends:
            rows += [(part, along, at, str(first[along]), str(last[along]), *_change(part, first, last, tail)) for part in PARTS]
    return pd.DataFrame(rows, columns=TRENDS)


def _change(part: str, first: pd.Series, last: pd.Series, tail: float) -> tuple[object, ...]:
    """Both values, their difference, its interval (the margins of both ends joined) and its direction."""
    change = last[part] - first[part]
    (below_first, above_first), (below_last, above_last) = _margins(part, first, tail), _margins(part, last, tail)
    low, high = change - float(np.hypot(below_last, above_first)), change + float(np.hypot(above_last, below_first))
    direction = "rises" if low > 0 else "falls" if high < 0 else "undetermined"
    return first[part], last[part], change, low, high, direction


def _margins(part: str, row: pd.Series, tail: float) -> tuple[float, float]:
    """Return how far the interval of a part reaches below and above it, at another tail than the stored one's.

    The interval of a variance is symmetric about its logarithm (in older rows about itself), that of the error joins the other two.
    """
    value, low, high = row[part], row[f"{part}_low"], row[f"{part}_high"]
    wider = float(t_quantile_of(row["freedom"], tail) / t_quantile_of(row["freedom"], TAIL))
    if low > 0 and abs(low * high / value**2 - 1) < 1e-6:
        factor = (high / value) ** wider
        return value - value / factor, value * factor - value
    if part == "E_gen2" and not np.isclose(value - low, high - value, rtol=1e-6):
        below, above = zip(*(_margins(other, row, tail) for other in ("bias2", "variance")), strict=True)
        return float(np.hypot(*below)), float(np.hypot(*above))
    return wider * (value - low), wider * (high - value)
