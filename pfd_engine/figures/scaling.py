"""The figure of memorization to generalization: E_gen and E_mem against N, or against N / parameters^a, with their crossings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pfd_engine.figures.style import COLORS, NAMES, NEUTRAL, band, finish, references, sequence, symbols
from pfd_engine.wording import numbers as words

CROSSING = "N*"
COLUMNS = ["size", "parameters", "metric", "num_samples", "abscissa", "abscissa_low", "abscissa_high"]
COLUMNS += ["value", "ci_low", "ci_high", "seeds"]
LINES = {"E_gen": ("solid", ""), "E_mem": ("dot", "-open")}
TICKS = 10
HEIGHT = 480


def scaling_frame(curves: pd.DataFrame, crossings: pd.DataFrame, exponent: float = 0.0, size: str | None = None) -> pd.DataFrame:
    """Return what the figure draws: `curves` and `crossings` of an `analysis.ScalingAnalysis` at the abscissa `N / parameters^exponent`.

    A crossing is a row of metric `N*`: its `num_samples` is N*, `abscissa_low` and `abscissa_high` its interval (0 or infinite where it
    leaves the grid), `value` the error there. `size` None draws all sizes; one without a known number of parameters has no abscissa
    unless the exponent is 0, and is left out.
    """
    found = crossings[crossings["censored"] == ""]
    heights = [_height(curves, row["size"], row["crossing"]) for row in found.to_dict("records")]
    marks = found[["size", "parameters", "seeds"]].assign(
        metric=CROSSING, num_samples=found["crossing"], abscissa_low=found["ci_low"], abscissa_high=found["ci_high"], value=heights
    )
    frame = pd.concat([part for part in (curves, marks) if len(part)], ignore_index=True) if len(curves) else curves
    frame = frame.reindex(columns=COLUMNS)
    if size is not None:
        frame = frame[frame["size"] == size]
    scale = frame["parameters"].astype(np.float64) ** exponent
    frame = frame.assign(
        abscissa=frame["num_samples"] / scale, abscissa_low=frame["abscissa_low"] / scale, abscissa_high=frame["abscissa_high"] / scale
    )
    return frame[frame["abscissa"].notna()].reset_index(drop=True)


def scaling(
    frame: pd.DataFrame, exponent: float = 0.0, unit: str = "data units", baselines: Mapping[str, float] | None = None
) -> go.Figure:
    """Draw a `scaling_frame`: E_gen solid, E_mem dotted, each with its band, one color a size, crossings with their intervals.

    A point's `customdata` starts with its size and its N (no N for a crossing). `baselines` are what E_gen is set beside (`references`).
    """
    sizes = list(frame.sort_values("parameters", kind="stable")["size"].unique())
    colors = dict(zip(sizes, sequence(len(sizes)), strict=True))
    markers = dict(zip(sizes, symbols(len(sizes)), strict=True))
    figure = go.Figure()
    for size in sizes:
        for metric in LINES:
            rows = frame[(frame["size"] == size) & (frame["metric"] == metric)].sort_values("abscissa")
            if len(rows):
                color = COLORS[metric] if len(sizes) == 1 else colors[size]
                name = _name(size, rows["parameters"].iloc[0]) if len(sizes) > 1 else NAMES[metric]
                figure.add_trace(band(rows["abscissa"], rows["ci_low"], rows["ci_high"], color, 0.13, legendgroup=name))
                figure.add_trace(_curve(rows, metric, color, markers[size], name, legend=metric == "E_gen" or len(sizes) == 1))
    for size in sizes:
        rows = frame[(frame["size"] == size) & (frame["metric"] == CROSSING)]
        if len(rows):
            reach = frame.loc[(frame["size"] == size) & (frame["metric"] != CROSSING), "abscissa"]
            group = _name(size, rows["parameters"].iloc[0]) if len(sizes) > 1 else CROSSING
            figure.add_trace(_crossing(rows, reach, colors[size] if len(sizes) > 1 else NEUTRAL, group))
    if len(sizes) > 1:
        for metric, (dash, hollow) in LINES.items():
            style = {"line": {"color": NEUTRAL, "dash": dash}, "marker": {"symbol": f"circle{hollow}", "color": NEUTRAL}}
            figure.add_scatter(x=[None], y=[None], mode="lines+markers", name=NAMES[metric], **style)
    if (frame["metric"] == CROSSING).any():
        figure.add_scatter(x=[None], y=[None], mode="markers", name="crossing N*, 95 % interval", marker=_mark(NEUTRAL))
    references(figure, baselines or {}, frame.loc[frame["metric"] != CROSSING, "abscissa"])
    _axes(figure, frame, exponent)
    figure.update_yaxes(title_text=f"Distance ({unit})", rangemode="tozero")
    return finish(figure, height=HEIGHT)


def _name(size: str, parameters: float) -> str:
    """Name a size by its parameters, too, where they are known."""
    return f"{size} ({words.parameters(int(parameters))})" if parameters == parameters else size


def _height(curves: pd.DataFrame, size: str, crossing: float) -> float:
    """Return E_gen at N*, interpolated in log N as N* itself is."""
    rows = curves[(curves["size"] == size) & (curves["metric"] == "E_gen")].sort_values("num_samples")
    return float(np.interp(np.log(crossing), np.log(rows["num_samples"].to_numpy(dtype=np.float64)), rows["value"].to_numpy()))


def _curve(rows: pd.DataFrame, metric: str, color: str, symbol: str, name: str, *, legend: bool) -> go.Scatter:
    dash, hollow = LINES[metric]
    return go.Scatter(
        x=rows["abscissa"].to_numpy(),
        y=rows["value"].to_numpy(),
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=legend,
        line={"color": color, "width": 2, "dash": dash},
        marker={"size": 7, "symbol": f"{symbol}{hollow}", "color": color},
        customdata=rows[["size", "num_samples", "ci_low", "ci_high", "seeds"]].to_numpy(dtype=object),
        hovertemplate=f"%{{customdata[0]}}, N = %{{customdata[1]:,}}: {metric} %{{y:.3f}} "
        "[%{customdata[2]:.3f}, %{customdata[3]:.3f}], %{customdata[4]} students<extra></extra>",
    )


def _crossing(rows: pd.DataFrame, reach: pd.Series, color: str, group: str) -> go.Scatter:
    x = rows["abscissa"].to_numpy()
    low, high = rows["abscissa_low"].clip(lower=reach.min()), rows["abscissa_high"].clip(upper=reach.max())
    return go.Scatter(
        x=x,
        y=rows["value"].to_numpy(),
        mode="markers",
        legendgroup=group,
        showlegend=False,
        marker=_mark(color),
        error_x={
            "type": "data",
            "symmetric": False,
            "array": high - x,
            "arrayminus": x - low,
            "color": color,
            "thickness": 2.5,
            "width": 7,
        },
        customdata=rows[["size", "num_samples"]].to_numpy(dtype=object),
        hovertemplate="%{customdata[0]}: N* = %{customdata[1]:,.0f}<extra></extra>",
    )  # fmt: skip


def _mark(color: str) -> dict[str, object]:
    return {"size": 11, "symbol": "x", "color": color, "line": {"width": 0}}


def _axes(figure: go.Figure, frame: pd.DataFrame, exponent: float) -> None:
    """Set a log2 axis: a tick a value of N, thinned, or a tick a power of two where N was rescaled."""
    figure.update_xaxes(type="log")
    points = frame.loc[frame["metric"] != CROSSING, "abscissa"]
    if exponent == 0:
        values = sorted(points.unique())
        values = values[:: -(-len(values) // TICKS)] if values else []
        figure.update_xaxes(title_text="Training samples N (log₂ scale)", tickvals=values, ticktext=[f"{value:,.0f}" for value in values])
    else:
        low, high = (int(np.round(np.log2(end))) for end in (points.min(), points.max())) if len(points) else (0, 0)
        step = -(-(high - low) // TICKS) or 1
        powers = range(-(-low // step) * step, high + 1, step)
        figure.update_xaxes(
            title_text=f"N / parameters<sup>{exponent:.2f}</sup> (log₂ scale)",
            tickvals=[2.0**power for power in powers],
            ticktext=[f"2<sup>{power}</sup>".replace("-", "−") for power in powers],
        )
