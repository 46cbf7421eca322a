"""The figure of trade-offs: error against cost, one color and symbol an objective, with the Pareto front."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from pfd_engine.figures.style import NEUTRAL, count, finish, log_ticks

COSTS = {"network_calls": "network calls", "parameters": "parameters", "seconds": "seconds of training"}
AXES = {"network_calls": "Network calls a noise", "parameters": "Parameters", "seconds": "Training time (seconds)"}
OBJECTIVES = {
    "samples": ("#2b7fc4", "circle"),
    "denoiser": ("#0f9488", "square"),
    "progressive": ("#a0522d", "triangle-up"),
    "consistency": ("#b5529f", "diamond"),
    "distribution-matching": ("#d1495b", "cross"),
}
OTHER = (NEUTRAL, "hexagon")
UNKNOWN = "not stated"
HEIGHT = 460


def trade_offs(frame: pd.DataFrame, cost: str, unit: str = "data units", note: str = "") -> go.Figure:
    """Draw `E_gen` with its interval against `cost` (a key of `COSTS`), from a frame of `analysis.pareto_front`.

    Columns besides: `name`, `objective` (missing: not stated), `keeps_coupling` (hollow where false), `ci_low`, `ci_high` and `key`, which
    is a point's `customdata`. `note` stands below the plot.
    """
    figure = go.Figure()
    front = frame[frame["pareto"]].sort_values(cost)
    if len(front):
        figure.add_scatter(
            x=front[cost].to_numpy(), y=front["E_gen"].to_numpy(), mode="lines", name="Pareto front",
            line={"color": NEUTRAL, "width": 2, "shape": "hv"}, hoverinfo="skip",
        )  # fmt: skip
    named = frame.assign(objective=frame["objective"].astype(object).where(frame["objective"].notna(), UNKNOWN))
    order = [*OBJECTIVES, *sorted(set(named["objective"]) - set(OBJECTIVES))]
    for objective in order:
        for keeps in (True, False):
            rows = named[(named["objective"] == objective) & (named["keeps_coupling"] == keeps)]
            if len(rows):
                figure.add_trace(_points(rows, cost, objective, keeps=keeps))
    if len(front):
        figure.add_scatter(
            x=front[cost].to_numpy(), y=front["E_gen"].to_numpy(), mode="markers", name="on the front", hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 17, "color": NEUTRAL, "line": {"width": 2}},
        )  # fmt: skip
    ticks = log_ticks(frame[cost], count) if cost == "parameters" else log_ticks(frame[cost])
    figure.update_xaxes(title_text=AXES[cost], type="log", **ticks)
    figure.update_yaxes(title_text=f"PFD to the teacher, E_gen ({unit})", rangemode="tozero")
    return finish(figure, note, HEIGHT)


def _points(rows: pd.DataFrame, cost: str, objective: str, *, keeps: bool) -> go.Scatter:
    color, symbol = OBJECTIVES.get(objective, OTHER)
    return go.Scatter(
        x=rows[cost].to_numpy(),
        y=rows["E_gen"].to_numpy(),
        mode="markers",
        name=objective if keeps else f"{objective}, coupling not kept",
        marker={"color": color, "size": 9, "symbol": symbol, "line": {"width": 0.7, "color": "rgba(255, 255, 255, 0.7)"}}
        if keeps
        else {"color": color, "size": 9, "symbol": f"{symbol}-open", "line": {"width": 1.8}},
        error_y={
            "type": "data", "symmetric": False, "array": (rows["ci_high"] - rows["E_gen"]).to_numpy(),
            "arrayminus": (rows["E_gen"] - rows["ci_low"]).to_numpy(), "color": color, "thickness": 1, "width": 0,
        },
        customdata=rows[["key"]].assign(name=rows["name"].map(lambda name: escape(str(name), quote=False))).to_numpy(dtype=object),
        hovertemplate="%{customdata[1]}<br>%{x:,.6~g} → %{y:.3f}<extra></extra>",
    )  # fmt: skip
