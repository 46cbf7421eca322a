"""Figures of one evaluation: does the estimate converge in the noises, and how are the distances spread?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from pfd_engine.figures.style import COLORS, NAMES, NEUTRAL, band, finish, rounded, transparent


def convergence(frame: pd.DataFrame, unit: str = "data units", note: str = "") -> go.Figure:
    """Draw each metric's estimate against the number of noises, with its 95 % band.

    `frame` has `metric`, `num_noises`, `value`, `ci_low`, `ci_high` (see `analysis.convergence`); `note` stands in the plot.
    """
    figure = go.Figure()
    for metric, rows in frame.groupby("metric", sort=False):
        color = COLORS.get(str(metric), NEUTRAL)
        x = rows["num_noises"].to_numpy()
        figure.add_trace(band(x, rounded(rows["ci_low"].to_numpy()), rounded(rows["ci_high"].to_numpy()), color))
        figure.add_scatter(
            x=x,
            y=rounded(rows["value"].to_numpy()),
            mode="lines",
            name=NAMES.get(str(metric), str(metric)),
            line={"color": color, "width": 2},
            customdata=np.stack([rounded(rows["ci_low"].to_numpy()), rounded(rows["ci_high"].to_numpy())], axis=1),
            hovertemplate="%{x:,} noises: %{y:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]<extra></extra>",
        )
    ticks = _ticks(frame["num_noises"]) if len(frame) else []
    figure.update_xaxes(title_text="Number of noises M", type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    if ticks:  # a tick at the very edge would be left out
        figure.update_xaxes(range=[float(np.log10(ticks[0])) - 0.02, float(np.log10(ticks[-1])) + 0.02])
    figure.update_yaxes(title_text=f"Distance ({unit})", rangemode="tozero")
    return finish(figure, note)


def histogram(distances: dict[str, NDArray[np.float64]], values: dict[str, float], unit: str = "data units", note: str = "") -> go.Figure:
    """Draw how the per-noise distances `sqrt(d_m)` are spread, a histogram a metric, with the estimate `values` as a line.

    `distances` maps a metric to its *squared* per-noise distances (M,); `note` stands in the plot.
    """
    figure = go.Figure()
    roots = {metric: np.sqrt(squared) for metric, squared in distances.items() if len(squared)}
    if not roots:
        return finish(figure)
    everything = np.concatenate(list(roots.values()))
    edges = np.histogram_bin_edges(everything, bins=int(np.clip(np.sqrt(len(everything)), 12, 60)))
    if edges[0] == edges[-1]:
        edges = np.array([edges[0] - 0.5, edges[0] + 0.5])
    centers, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    for metric, root in roots.items():
        counts = np.histogram(root, bins=edges)[0]
        color = COLORS.get(metric, NEUTRAL)
        figure.add_bar(
            x=rounded(centers),
            y=counts,
            width=width,
            name=NAMES.get(metric, metric),
            marker={"color": transparent(color, 0.6), "line": {"width": 0}},
            hovertemplate="%{y:,} noises near %{x:.3g}<extra></extra>",
        )
        if metric in values:
            figure.add_vline(x=values[metric], line={"color": color, "width": 2, "dash": "dash"})
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_xaxes(title_text=f"Distance at one noise ({unit})")
    figure.update_yaxes(title_text="Noises (count)")
    return finish(figure, note)


def training_curve(frame: pd.DataFrame) -> go.Figure:
    """Draw the training loss along the steps, on a logarithmic axis where all of it is positive; `frame` has `step` and `value`."""
    figure = go.Figure()
    figure.add_scatter(
        x=frame["step"].to_numpy(),
        y=rounded(frame["value"].to_numpy()),
        mode="lines" if len(frame) > 1 else "markers",
        line={"color": COLORS["student"], "width": 2},
        hovertemplate="step %{x:,}: %{y:.4g}<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title_text="Training step", rangemode="tozero", separatethousands=True)
    figure.update_yaxes(title_text="Training loss (mean since the point before)")
    if len(frame) and (frame["value"] > 0).all() and frame["value"].max() > 3 * frame["value"].min():
        figure.update_yaxes(type="log")
    return finish(figure)


def _ticks(counts: pd.Series) -> list[int]:
    """Return ticks for a logarithmic axis: the first and the last number of noises, and powers of four well between."""
    first, last = int(counts.min()), int(counts.max())
    between = [4**k for k in range(1, 16) if 2.5 * first <= 4**k <= last / 2.5]
    return sorted({first, *between, last})
