"""Figures along training: the error of each N with its dip and peak, the losses below, and what is learned when."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pfd_engine.figures.style import COLORS, NEUTRAL, band, finish, log_ticks, references, sequence, transparent

COLUMNS = ["size", "num_samples", "step", "quantity", "value", "ci_low", "ci_high", "seeds", "mark"]
BANDS = ["size", "num_samples", "step", "band", "value", "ci_low", "ci_high", "seeds"]
MARKS = {"dip": "triangle-down", "peak": "triangle-up", "second dip": "triangle-down-open"}
LOSSES = {"train_loss": ("training loss", "dot"), "held_out_loss": ("held-out loss", "solid")}
ALL = "all"
HEIGHT = 600


def dynamics_frame(curves: pd.DataFrame, verdicts: pd.DataFrame, losses: pd.DataFrame, size: str) -> pd.DataFrame:
    """Return what the figure draws of one size, a row a point: `quantity` is `E_gen`, `train_loss` or `held_out_loss`.

    `curves` and `verdicts` are those of an `analysis.DynamicsAnalysis`, `losses` the means over seeds of both losses with a `quantity`.
    `mark` names the points of E_gen that are a dip, a peak or a second dip in the verdict of their N; it is empty elsewhere.
    """
    errors = curves[curves["size"] == size].rename(columns={"E_gen": "value"}).assign(quantity="E_gen", mark="")
    for verdict in verdicts[verdicts["size"] == size].to_dict("records"):
        for mark in MARKS:
            step = verdict[f"{mark.replace(' ', '_')}_step"]
            if not pd.isna(step):
                errors.loc[(errors["num_samples"] == verdict["num_samples"]) & (errors["step"] == step), "mark"] = mark
    below = losses[losses["size"] == size].assign(mark="")
    parts = [part.reindex(columns=COLUMNS) for part in (errors, below) if len(part)]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    return frame.sort_values(["quantity", "num_samples", "step"], kind="stable").reset_index(drop=True)


def dynamics(frame: pd.DataFrame, unit: str = "data units", baselines: Mapping[str, float] | None = None) -> go.Figure:
    """Draw a `dynamics_frame`: errors above, losses below, one color a value of N; `customdata` of a point is size, N, step.

    `baselines` are what E_gen is set beside (`references`).
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.64, 0.36], vertical_spacing=0.05)
    values = sorted(frame["num_samples"].unique())
    for num_samples, color in zip(values, sequence(len(values)), strict=True):
        name = f"N = {num_samples:,}"
        mine = frame[frame["num_samples"] == num_samples]
        rows = mine[mine["quantity"] == "E_gen"]
        if len(rows):
            figure.add_trace(band(rows["step"], rows["ci_low"], rows["ci_high"], color, legendgroup=name), row=1, col=1)
            figure.add_trace(_line(rows, color, name, "E_gen", legend=True), row=1, col=1)
        for mark, symbol in MARKS.items():
            at = rows[rows["mark"] == mark]
            if len(at):
                figure.add_trace(_marks(at, color, name, mark, symbol), row=1, col=1)
        for quantity, (label, dash) in LOSSES.items():
            rows = mine[mine["quantity"] == quantity]
            if len(rows):
                figure.add_trace(_line(rows, color, name, label, dash=dash), row=2, col=1)
    for label, dash in LOSSES.values():
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=label, line={"color": NEUTRAL, "dash": dash}), row=2, col=1)
    for mark in frame.loc[frame["mark"] != "", "mark"].unique():
        marker = {"symbol": MARKS[mark], "size": 13, "color": NEUTRAL}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=mark, marker=marker), row=1, col=1)
    references(figure, baselines or {}, frame["step"], row=1, col=1)
    figure.update_xaxes(type="log", **log_ticks(frame["step"]))
    figure.update_xaxes(title_text="Training step (log scale)", row=2, col=1)
    figure.update_yaxes(title_text=f"E_gen ({unit})", row=1, col=1)
    figure.update_yaxes(title_text="Denoising loss", type="log", nticks=5, tickformat=".2~g", row=2, col=1)
    return finish(figure, height=HEIGHT)


def bands_frame(bands: pd.DataFrame, totals: pd.DataFrame, size: str, num_samples: int) -> pd.DataFrame:
    """Return what the stacked figure draws of one size and N: the mean of E_gen^2 in each `band` and, as band `all`, of E_gen^2 itself."""
    parts = [bands, totals.assign(band=ALL)]
    rows = [part[(part["size"] == size) & (part["num_samples"] == num_samples)].reindex(columns=BANDS) for part in parts]
    rows = [part for part in rows if len(part)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=BANDS)


def bands(frame: pd.DataFrame) -> go.Figure:
    """Draw a `bands_frame`: the bands of principal components stacked from the leading ones up, and E_gen^2 on top of them."""
    figure = go.Figure()
    names = sorted(set(frame["band"]) - {ALL}, key=first_component)
    for name, color in zip(names, sequence(len(names)), strict=True):
        rows = frame[frame["band"] == name].sort_values("step")
        figure.add_scatter(
            x=rows["step"].to_numpy(),
            y=rows["value"].to_numpy(),
            stackgroup="bands",
            mode="lines",
            name=name.replace("pc ", "components ").replace("-", "–"),
            line={"color": color, "width": 1},
            fillcolor=transparent(color, 0.55),
            hovertemplate="step %{x:,}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    rows = frame[frame["band"] == ALL].sort_values("step")
    figure.add_scatter(
        x=rows["step"].to_numpy(),
        y=rows["value"].to_numpy(),
        mode="lines+markers",
        name="E_gen² (all)",
        line={"color": COLORS["E_gen"], "width": 2},
        customdata=rows[["size", "num_samples", "step", "ci_low", "ci_high"]].to_numpy(dtype=object),
        hovertemplate="step %{x:,}: E_gen² %{y:.3f} [%{customdata[3]:.3f}, %{customdata[4]:.3f}]<extra></extra>",
    )
    figure.update_xaxes(title_text="Training step (log scale)", type="log", **log_ticks(frame["step"]))
    figure.update_yaxes(title_text="Squared error E_gen²", rangemode="tozero")
    return finish(figure)


def first_component(name: str) -> int:
    """Return the first component of a band named `pc 5-16`; a name of another form sorts last."""
    digits = name.removeprefix("pc ").split("-")[0]
    return int(digits) if digits.isdecimal() else 10**9


def _line(rows: pd.DataFrame, color: str, group: str, label: str, dash: str = "solid", *, legend: bool = False) -> go.Scatter:
    return go.Scatter(
        x=rows["step"].to_numpy(),
        y=rows["value"].to_numpy(),
        mode="lines+markers" if label == "E_gen" else "lines",
        name=group,
        legendgroup=group,
        showlegend=legend,
        line={"color": color, "width": 2, "dash": dash},
        marker={"size": 5, "color": color},
        customdata=rows[["size", "num_samples", "step", "ci_low", "ci_high", "seeds"]].to_numpy(dtype=object),
        hovertemplate=f"N = %{{customdata[1]:,}}, step %{{x:,}}: {label} %{{y:.3f}} [%{{customdata[3]:.3f}}, %{{customdata[4]:.3f}}], "
        "%{customdata[5]} students<extra></extra>",
    )


def _marks(rows: pd.DataFrame, color: str, group: str, mark: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=rows["step"].to_numpy(),
        y=rows["value"].to_numpy(),
        mode="markers",
        legendgroup=group,
        showlegend=False,
        marker={"symbol": symbol, "size": 14, "color": color, "line": {"width": 2, "color": color}},
        customdata=rows[["size", "num_samples", "step"]].to_numpy(dtype=object),
        hovertemplate=f"{mark} of N = %{{customdata[1]:,}} at step %{{x:,}}<extra></extra>",
    )
