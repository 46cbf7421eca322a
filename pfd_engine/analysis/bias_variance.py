"""Is a student's error bias or variance, and how do both move with its size and with N? (The estimates: `pfd_engine/decomposition.py`.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pfd_engine.analysis.quantiles import normal_quantile
from pfd_engine.analysis.students import whole_numbers

IDENTITY = 1e-9
PARTS = ["bias2", "variance", "E_gen2"]
TABLE = ["size", "parameters", "num_samples", "step"]
TABLE += [f"{part}{suffix}" for part in PARTS for suffix in ("", "_stderr", "_low", "_high")]
TABLE += ["residual", "share", "share_low", "share_high", "dominates"]
TRENDS = ["quantity", "along", "at", "from", "to", "value_from", "value_to", "change", "ci_low", "ci_high", "direction"]


@dataclass(frozen=True)
class BiasVarianceAnalysis:
    """What a bias-variance sweep shows.

    - `table`: one row a size and N, at its last step: `bias2`, `variance` and `E_gen2` as they were measured, with intervals;
      `residual` = |bias2 + variance - E_gen2| / E_gen2, which an exact identity keeps near rounding; `share` = variance / E_gen2 with its
      interval; `dominates`: `bias`, `variance` or `undetermined` (the share's interval contains 1/2).
    - `trends`: how each part changes from the smallest to the largest size (`along` = `size`, `at` = N) and from the smallest to the
      largest N (`along` = `num_samples`, `at` = size): `change` with its interval and `direction` `rises`, `falls` or `undetermined`.
    """

    table: pd.DataFrame
    trends: pd.DataFrame


def analyze_bias_variance(measurements: pd.DataFrame) -> BiasVarianceAnalysis:
    """Analyze one bias-variance sweep from its rows without a student seed: `bias2`, `variance`, `E_gen2` with standard errors.

    Each part's interval is the stored one. The share's is the delta method's: as bias^2 + variance = E_gen^2 holds exactly, the three
    standard errors give the covariance too. Trends take the two ends as independent, which is safe where they share training sets: these
    move both ends the same way, so that the true interval of the change is narrower. Combinations that miss a part are left out.
    """
    rows = measurements[measurements["metric"].isin(PARTS) & measurements["student_seed"].isna() & measurements["band"].isna()]
    rows = rows.dropna(subset=["size", "num_samples", "value"])
    rows = whole_numbers(rows.assign(step=rows["step"].fillna(0)), "num_samples", "step")
    rows = rows.drop_duplicates(["size", "num_samples", "step", "metric"], keep="last")
    found = [row for _, group in rows.groupby(["size", "num_samples"]) if (row := _row(group)) is not None]
    table = pd.DataFrame(found, columns=TABLE).sort_values(["parameters", "size", "num_samples"]).reset_index(drop=True)
    return BiasVarianceAnalysis(table, _trends(table))


def _row(group: pd.DataFrame) -> dict[str, object] | None:
    complete = group[group.groupby("step")["metric"].transform("nunique") == len(PARTS)]
    if complete.empty:
        return None
    last = complete[complete["step"] == complete["step"].max()]
    parts: dict[str, dict[str, Any]] = {str(row["metric"]): row for row in last.to_dict("records")}
    row: dict[str, object] = {name: parts["E_gen2"][name] for name in TABLE[:4]}
    for part in PARTS:
        for name, column in ((part, "value"), (f"{part}_stderr", "stderr"), (f"{part}_low", "ci_low"), (f"{part}_high", "ci_high")):
            row[name] = float(parts[part][column])
    bias2, variance, error2 = (float(parts[part]["value"]) for part in PARTS)
    if error2 <= 0:
        return row | {"residual": np.nan, "share": np.nan, "share_low": np.nan, "share_high": np.nan, "dominates": "undetermined"}
    share = variance / error2
    half = _share_margin(parts, share)
    dominates = "variance" if share - half > 0.5 else "bias" if share + half < 0.5 else "undetermined"
    residual = abs(bias2 + variance - error2) / error2
    return row | {"residual": residual, "share": share, "share_low": share - half, "share_high": share + half, "dominates": dominates}


def _share_margin(parts: dict[str, dict[str, Any]], share: float) -> float:
    """Half the width of the share's interval: Var(v/E) = (Var v - 2 s Cov(v, E) + s^2 Var E) / E^2, where E = bias^2 + v."""
    bias2, variance, error2 = (float(parts[part]["stderr"]) ** 2 for part in PARTS)
    covariance = variance + (error2 - bias2 - variance) / 2
    spread = float(np.maximum(variance - 2 * share * covariance + share**2 * error2, 0.0))
    error = parts["E_gen2"]
    widths = (error["ci_high"] - error["value"]) / error["stderr"] if error["stderr"] > 0 else np.nan  # the stored interval's t quantile
    quantile = float(widths) if np.isfinite(widths) else normal_quantile()
    return quantile * float(np.sqrt(spread)) / float(error["value"])


def _trends(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for along, fixed in (("size", "num_samples"), ("num_samples", "size")):
        for at, group in table.groupby(fixed, sort=False):
            ordered = group.sort_values("parameters" if along == "size" else "num_samples")
            if len(ordered) > 1:
                first, last = ordered.iloc[0], ordered.iloc[-1]
                rows += [(part, along, str(at), str(first[along]), str(last[along]), *_change(part, first, last)) for part in PARTS]
    return pd.DataFrame(rows, columns=TRENDS)


def _change(part: str, first: pd.Series, last: pd.Series) -> tuple[object, ...]:
    """Both values, their difference, its interval (the half widths of both ends joined) and its direction."""
    change = last[part] - first[part]
    half = float(np.hypot(first[f"{part}_high"] - first[part], last[f"{part}_high"] - last[part]))
    direction = "rises" if change - half > 0 else "falls" if change + half < 0 else "undetermined"
    return first[part], last[part], change, change - half, change + half, direction
