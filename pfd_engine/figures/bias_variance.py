"""The figure of bias and variance: both stacked against size or N, with E_gen^2 on top, so that their identity is visible."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from pfd_engine.figures.style import COLORS, count, finish, transparent
from pfd_engine.wording import numbers as words

PARTS = {"bias2": ("bias²", "bias"), "variance": ("variance", "variance")}
LABELS = {"size": "Student size (parameters)", "num_samples": "Training samples N"}
HEIGHT = 400


def parts_frame(table: pd.DataFrame, along: str, at: str | int) -> pd.DataFrame:
    """Return what the figure draws: the rows of an `analysis.BiasVarianceAnalysis.table` along `size` at one N, or along `num_samples`
    at one size, ascending."""
    fixed, order = ("num_samples", "parameters") if along == "size" else ("size", "num_samples")
    return table[table[fixed] == at].sort_values(order, kind="stable").reset_index(drop=True)


def parts(frame: pd.DataFrame, along: str) -> go.Figure:
    """Draw a `parts_frame`; `along` is `size` or `num_samples`; `customdata` of a bar is size and N.

    The variance starts where bias^2 ends, below 0 where that is negative, so that its top is E_gen^2 in any case.
    """
    if along == "size":
        names = [f"{row['size']}<br>{count(row['parameters'])}" for row in frame.to_dict("records")]
    else:
        names = [f"{value:,}" for value in frame["num_samples"]]
    figure = go.Figure()
    for part, (label, meaning) in PARTS.items():
        color = COLORS[meaning]
        figure.add_bar(
            x=names,
            y=frame[part].to_numpy(),
            base=None if part == "bias2" else frame["bias2"].to_numpy(),
            name=label,
            marker={"color": transparent(color, 0.75), "line": {"color": color, "width": 1}},
            customdata=_told(frame, part),
            hovertemplate=f"%{{customdata[0]}}, N = %{{customdata[1]:,}}: {label} %{{customdata[3]}}<extra></extra>",
        )
    error = frame["E_gen2"]
    figure.add_scatter(
        x=names,
        y=error.to_numpy(),
        mode="markers",
        name="E_gen², 95 % interval",
        marker={"color": COLORS["E_gen"], "size": 11, "symbol": np.where(_marked(frame), "diamond-open", "diamond")},
        error_y={
            "type": "data", "symmetric": False, "array": (frame["E_gen2_high"] - error).to_numpy(),
            "arrayminus": (error - frame["E_gen2_low"]).to_numpy(), "color": COLORS["E_gen"], "thickness": 2, "width": 6,
        },
        customdata=_told(frame, "E_gen2"),
        hovertemplate="%{customdata[0]}, N = %{customdata[1]:,}: E_gen² %{customdata[3]}<extra></extra>",
    )  # fmt: skip
    figure.update_layout(barmode="overlay", bargap=0.45)
    figure.update_xaxes(title_text=LABELS[along], type="category")
    figure.update_yaxes(title_text="Squared error E_gen²", rangemode="tozero")
    finish(figure, height=HEIGHT)
    return figure.update_layout(margin_b=72)


def _told(frame: pd.DataFrame, part: str) -> NDArray[np.object_]:
    """Return what a point knows: size, N, the value, and in words the value with its interval, where there is one."""
    columns = ["size", "num_samples", part, f"{part}_low", f"{part}_high"]
    rows = [(size, n, numbers[0], words.with_interval(*numbers)) for size, n, *numbers in frame[columns].itertuples(index=False)]
    return np.array(rows, dtype=object).reshape(-1, 4)


def _marked(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows have one student that carries more of the variance than chance explains."""
    return np.array([value in (True, "True") for value in frame["outlier"]], dtype=bool)
