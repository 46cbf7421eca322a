"""The students of one sweep as arrays: sizes, numbers of samples, seeds, steps and noises, with gaps where a student is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pfd_engine.analysis.quantiles import Array, t_quantile

BOTH = "students and noises"
NOISES = "noises"


@dataclass(frozen=True)
class Students:
    """Squared per-noise distances of students that differ in size, number of samples and seed, on the same M noises.

    `parameters` is `(sizes,)` (NaN where unknown), `num_samples` ascends, and each array of `squared` is `(sizes, N, seeds, M)`, NaN where
    a student is missing. Sizes ascend by their parameters. All were trained for `step` steps.
    """

    sizes: list[str]
    parameters: Array
    num_samples: NDArray[np.int64]
    seeds: NDArray[np.int64]
    squared: dict[str, Array]
    step: int = 0


def parameters_by_size(measurements: pd.DataFrame) -> dict[str, float]:
    """Return the number of parameters of each size that the measurements name, ascending."""
    if measurements.empty:
        return {}
    known = measurements.dropna(subset=["size", "parameters"]).groupby("size")["parameters"].first().sort_values()
    return {str(size): float(count) for size, count in known.items()}


def whole_numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return a copy whose named columns are integers: with gaps elsewhere, a database returns counts as floating-point numbers."""
    return frame.astype(dict.fromkeys(columns, np.int64))


def usable(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that can be analyzed: known student, finite distances, the last where a row is there twice.

    Raises ValueError where students were measured on different numbers of noises, since then they are not paired.
    """
    rows = whole_numbers(distances.dropna(subset=["size", "num_samples", "student_seed", "step"]), "num_samples", "student_seed", "step")
    finite = np.array([bool(np.isfinite(np.asarray(squared, dtype=np.float64)).all()) for squared in rows["squared"]], dtype=bool)
    rows = rows[finite].drop_duplicates(["size", "num_samples", "student_seed", "step", "metric"], keep="last")
    counts = sorted({len(squared) for squared in rows["squared"]})
    if len(counts) > 1:
        raise ValueError(
            f"students of one sweep share their noises, but some have {counts[0]} and some {counts[-1]}: analyze one run at a time"
        )
    if counts and counts[0] < 2:
        raise ValueError(f"an interval needs at least 2 noises, not {counts[0]}")
    return rows


def final_students(measurements: pd.DataFrame, distances: pd.DataFrame, metrics: tuple[str, ...] = ("E_gen", "E_mem")) -> Students:
    """Return the students of the longest training at which every one of `metrics` was measured; others count as missing.

    Errors depend on the training budget, so a student that was measured at fewer steps only is never set beside them.
    """
    rows = usable(distances)
    rows = rows[rows["metric"].isin(metrics)]
    student = ["size", "num_samples", "student_seed"]
    complete = rows.groupby([*student, "step"])["metric"].transform("nunique") == len(metrics)
    rows = rows[complete]
    step = int(rows["step"].max()) if len(rows) else 0
    rows = rows[rows["step"] == step]
    parameters = parameters_by_size(measurements)
    sizes = sorted(rows["size"].unique(), key=lambda size: (parameters.get(size, np.inf), size))
    num_samples = np.sort(rows["num_samples"].unique()).astype(np.int64)
    seeds = np.sort(rows["student_seed"].unique()).astype(np.int64)
    noises = len(rows["squared"].iloc[0]) if len(rows) else 0
    shape = (len(sizes), len(num_samples), len(seeds), noises)
    squared = {metric: np.full(shape, np.nan) for metric in metrics}
    where = (
        rows["size"].map({size: i for i, size in enumerate(sizes)}),
        np.searchsorted(num_samples, rows["num_samples"]),
        np.searchsorted(seeds, rows["student_seed"]),
    )
    for metric, i, j, s, values in zip(rows["metric"], *where, rows["squared"], strict=True):
        squared[metric][i, j, s] = values
    return Students(sizes, np.array([parameters.get(size, np.nan) for size in sizes]), num_samples, seeds, squared, step)


def seed_means(measurements: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric's mean over student seeds at each size, N, step and band, with its t interval over the seeds.

    For losses, the empirical map's distance, memorization ratios and the squared error's bands. Columns `size`, `parameters`,
    `num_samples`, `step`, `band` (None: all), `value`, `ci_low`, `ci_high` (NaN with one seed), `seeds`. Rows without a seed are left out.
    """
    columns = ["size", "parameters", "num_samples", "step", "band", "value", "ci_low", "ci_high", "seeds"]
    rows = measurements[(measurements["metric"] == metric) & measurements["student_seed"].notna() & measurements["value"].notna()]
    keys = ["size", "num_samples", "step", "band"]
    rows = rows.dropna(subset=["size", "num_samples", "step"]).drop_duplicates([*keys, "student_seed"], keep="last")
    if rows.empty:
        return pd.DataFrame(columns=columns)
    rows = whole_numbers(rows, "num_samples", "step")
    groups = rows.groupby(keys, dropna=False, sort=False)
    frame = groups.agg(
        parameters=("parameters", "first"), value=("value", "mean"), spread=("value", "std"), seeds=("value", "size")
    ).reset_index()
    half = t_quantile(frame["seeds"].to_numpy()) * frame["spread"].to_numpy() / np.sqrt(frame["seeds"].to_numpy())
    frame["ci_low"], frame["ci_high"] = frame["value"] - half, frame["value"] + half
    frame["band"] = frame["band"].astype(object).where(frame["band"].notna(), None)
    return frame.sort_values(["parameters", "size", "num_samples", "step"], kind="stable")[columns].reset_index(drop=True)
