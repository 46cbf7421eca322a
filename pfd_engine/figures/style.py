"""What all figures share: colors with one meaning each, bands, ticks and the layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

# Told apart with any kind of color vision, and at least 3:1 against both the light and the dark background.
COLORS = {
    "teacher": "#2b7fc4",
    "student": "#dd6b20",
    "empirical map": "#8c8c8c",
    "PFD": "#0f9488",
    "E_gen": "#0f9488",
    "E_mem": "#d1495b",
    "bias": "#5b6fd6",
    "variance": "#b8860b",
}
# Ordered things (sizes, values of N, bands) from few to many: blue to yellow is told apart by every kind of color vision.
SEQUENCE = ("#6f5fd8", "#c0509a", "#b8860b")
NEUTRAL = "#8c8c8c"
# Neighbors in an order differ in their markers too, for eyes and printers that tell no colors apart.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
NAMES = {
    "PFD": "PFD, student to teacher",
    "E_gen": "E_gen, student to teacher",
    "E_mem": "E_mem, student to its training set",
    "E_emp": "E_emp, training set to teacher",
}
HEIGHT = 340
CONFIG = {"displaylogo": False, "displayModeBar": "hover", "toImageButtonOptions": {"format": "svg", "filename": "pfd"}}


def sequence(count: int) -> list[str]:
    """Return `count` colors along `SEQUENCE`, for things that have an order."""
    anchors = np.array([_channels(color) for color in SEQUENCE], dtype=np.float64) ** 2.2
    positions = np.linspace(0, len(SEQUENCE) - 1, count) if count > 1 else np.zeros(count)
    mixed = [np.stack([np.interp(p, range(len(SEQUENCE)), anchors[:, c]) for c in range(3)]) ** (1 / 2.2) for p in positions]
    return ["#" + "".join(f"{round(float(channel)):02x}" for channel in color) for color in mixed]


REFERENCES = {"constant_image": ("best constant image", "dash"), "retrained_floor": ("teacher retrained with another seed", "dashdot")}


def references(figure: go.Figure, known: Mapping[str, float], x: ArrayLike, **place: int) -> None:
    """Draw what E_gen is set beside as level lines from the least to the largest of `x`, each named with its value in the legend.

    `known` are the baselines of `findings.baselines`; `place` is the row and column of a subplot.
    """
    at = np.asarray(x, dtype=np.float64)
    at = at[np.isfinite(at)]
    for name, (label, dash) in REFERENCES.items():
        if len(at) and (value := known.get(name)) is not None:
            line = go.Scatter(
                x=[at.min(), at.max()], y=[value, value], mode="lines", name=f"{label}, {value:.2f}",
                line={"color": NEUTRAL, "width": 1.5, "dash": dash}, hovertemplate=f"E_gen of the {label}: {value:.3f}<extra></extra>",
            )  # fmt: skip
            figure.add_trace(line, **place)


def symbols(count: int) -> list[str]:
    """Return `count` markers, for things that have an order."""
    return [SYMBOLS[i % len(SYMBOLS)] for i in range(count)]


def band(x: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, opacity: float = 0.18, **more: Any) -> go.Scatter:
    """Return an interval along a curve as a filled area, which answers to no pointer."""
    return go.Scatter(
        x=np.concatenate([np.asarray(x), np.asarray(x)[::-1]]),
        y=np.concatenate([np.asarray(high), np.asarray(low)[::-1]]),
        fill="toself",
        fillcolor=transparent(color, opacity),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        mode="lines",
        **more,
    )


def log_ticks(values: ArrayLike, write: Callable[[float], str] = "{:,.10g}".format) -> dict[str, list[Any]]:
    """Return ticks at 1, 2 and 5 times powers of ten within the range of positive values (at powers of ten alone over many decades)."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known) & (known > 0)]
    if not len(known):
        return {}
    low, high = known.min() * 0.999, known.max() * 1.001
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in ((1, 2, 5) if len(powers) < 7 else (1,))]
    ticks = [tick for tick in ticks if low <= tick <= high] or [float(known[0])]
    return {"tickvals": ticks, "ticktext": [write(tick) for tick in ticks]}


def count(number: float) -> str:
    """Write a number of parameters for an axis: `120 k`, `1.66 M`; nothing where it is not known."""
    if number != number:
        return ""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k" if number >= 1e3 else f"{number:.3g}"


def finish(figure: go.Figure, note: str = "", height: int = HEIGHT) -> go.Figure:
    """Apply what all figures share, and put the note below the plot; fonts, grid and text colors follow the page's theme."""
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 12, "t": 12, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        dragmode=False,
        modebar={"orientation": "v", "bgcolor": "rgba(0,0,0,0)"},  # beside the plot's edge, not over the legend
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
    )
    # Margins that fit any of our tick labels: measuring them in the browser would draw every figure twice.
    figure.update_xaxes(automargin=False, title_standoff=8)
    figure.update_yaxes(automargin=False, title_standoff=12)
    if note:
        figure.update_layout(margin_b=92)
        below = {"x": 0, "y": 0, "yshift": -92, "align": "left", "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=note, showarrow=False, font_size=12, **below)
    return figure


def rounded(values: NDArray[np.float64]) -> list[float]:
    """Keep six significant digits: what a screen can show, at a third of the bytes."""
    return [float(f"{value:.6g}") for value in values]


def transparent(color: str, opacity: float) -> str:
    """Return a color with an opacity."""
    return f"rgba({','.join(map(str, _channels(color)))},{opacity})"


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
