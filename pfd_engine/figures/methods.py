"""The figure of the Methods page: the same noises through two flows."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pfd_engine.figures.style import COLORS, finish, rounded


def trajectories(sigmas: NDArray[np.float64], teacher: NDArray[np.float64], student: NDArray[np.float64]) -> go.Figure:
    """Draw each noise's way through both flows, `(steps + 1, M)` each, against the noise level.

    `sigmas` `(steps + 1,)` fall to 0. Drawn is `x / sqrt(1 + sigma^2)`, so that start and end fit one plot; the last level, 0, has no
    place on a logarithmic axis and stands at half of the one before.
    """
    levels = np.where(sigmas > 0, sigmas, sigmas[-2] / 2)
    figure = go.Figure()
    for name, points in (("teacher", teacher), ("student", student)):
        scaled = points / np.sqrt(1 + sigmas**2)[:, None]
        for noise in range(points.shape[1]):
            figure.add_scatter(
                x=rounded(levels),
                y=rounded(scaled[:, noise]),
                mode="lines",
                line={"color": COLORS[name], "width": 2, "dash": "solid" if name == "teacher" else "dot"},
                name=name,
                legendgroup=name,
                showlegend=noise == 0,
                hovertemplate=f"{name}, noise {noise + 1}<br>sigma %{{x:.3g}}<extra></extra>",
            )
    figure.update_xaxes(title_text="Noise level σ (from noise, left, to data, right)", type="log", autorange="reversed")
    figure.update_yaxes(title_text="x / √(1 + σ²)")
    return finish(figure)
