"""The figure of the Explore page: a mean with its band against one column, one color a value of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pfd_engine.figures.style import COLORS, NEUTRAL, band, count, finish, log_ticks, rounded, sequence, symbols
from pfd_engine.figures.trade_offs import OBJECTIVES

AXES = {
    "num_samples": "N, training samples",
    "parameters": "Parameters",
    "step": "Training step",
    "student_steps": "The student's own steps",
    "num_noises": "M, noises",
}
MAX_SERIES = 16
HEIGHT = 420


def explore(frame: pd.DataFrame, x: str, color: str | None, unit: str, *, log_x: bool = True, log_y: bool = False) -> go.Figure:
    """Draw a frame of `explore_queries.points` of one quantity: `x`, `color`, `descriptor`, `band`, `mean`, `low`, `high`,
    `numbers`, `runs`, `key`.

    `x` and `color` are the columns that the frame's `x` and `color` hold; `unit` that of the mean. A point's `customdata` is its `key`.
    The first `MAX_SERIES` series are drawn (`series`).
    """
    figure = go.Figure()
    shown = series(frame)[:MAX_SERIES]
    metric = str(frame["metric"].iloc[0]) if len(frame) else ""
    for (name, rows), tint, symbol in zip(shown, _tints(shown, color, metric), symbols(len(shown)), strict=True):
        rows = rows[rows["x"] > 0] if log_x else rows
        known = rows[rows["low"].notna() & rows["high"].notna()]
        if len(known):
            figure.add_trace(band(known["x"], _above(known["low"], frame["mean"]) if log_y else known["low"], known["high"], tint))
        figure.add_trace(_line(rows, name or metric, tint, symbol))
    ticks: dict[str, Any] = log_ticks(frame["x"], count if x in ("parameters", "step") else "{:,.10g}".format) if log_x else {}
    figure.update_xaxes(title_text=AXES[x], type="log" if log_x else "linear", **ticks)
    figure.update_yaxes(title_text=f"mean {metric} ({unit})" if unit else f"mean {metric}", type="log" if log_y else "linear")
    return finish(figure, height=HEIGHT)


def series(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the curves of a frame, named by color and, where they differ, descriptor and band, in the order of the frame."""
    apart = [name for name in ("descriptor", "band") if frame[name].nunique(dropna=False) > 1]
    found = []
    for values, rows in frame.groupby(["color", *apart], sort=False, dropna=False):
        parts = [str(value) for value in values if value is not None and value == value]
        found.append((", ".join(parts) or ("not stated" if frame["color"].notna().any() else ""), rows))
    return found


def _tints(shown: list[tuple[str, pd.DataFrame]], color: str | None, metric: str) -> list[str]:
    if color == "objective":
        return [OBJECTIVES.get(str(rows["color"].iloc[0]), (NEUTRAL, ""))[0] for _, rows in shown]
    return [COLORS.get(metric, NEUTRAL)] if len(shown) == 1 else sequence(len(shown))


def _above(low: pd.Series, means: pd.Series) -> pd.Series:
    """Return the lower end of a band for a logarithmic axis, which knows no zero: a tenth of the smallest mean at least."""
    positive = means[means > 0]
    return low.clip(lower=float(positive.min()) / 10 if len(positive) else np.nan)


def _line(rows: pd.DataFrame, name: str, tint: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=rows["x"].to_numpy(),
        y=rounded(rows["mean"].to_numpy(dtype=np.float64)),
        mode="lines+markers",
        name=name,
        line={"color": tint, "width": 2},
        marker={"color": tint, "size": 7, "symbol": symbol},
        customdata=rows[["key", "numbers", "runs"]].to_numpy(dtype=object),
        hovertemplate="%{x:,.6~g} → %{y:.4~g}<br>numbers: %{customdata[1]}, runs: %{customdata[2]}<extra>%{fullData.name}</extra>",
    )
