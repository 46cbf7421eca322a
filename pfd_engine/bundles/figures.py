"""One standalone HTML page with the figures of the sweeps in a bundle: it needs no server, no network and no browser to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from pfd_engine.store import Store
from pfd_engine.sweep_queries import sweep_distances, sweep_facts, sweep_measurements

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Figures</title>
<style>body {{ font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328; background: #fff }}
h2 {{ margin-top: 2.5rem }} figure {{ margin: 1rem 0 }}</style></head>
<body><h1>Figures</h1>
{body}
</body></html>
"""


@dataclass(frozen=True)
class Sweep:
    """A sweep in a bundle: what it is called, and the sentence that its data show."""

    run_id: str
    experiment: str
    name: str
    finding: str


def figures_page(store: Store, sweeps: Sequence[Sweep]) -> str | None:
    """Return the page as HTML, with the program that draws inside it (4.8 MB); None where no sweep has a figure."""
    parts, scripted = [], False
    for sweep in sweeps:
        drawn = sweep_figures(store, sweep)
        if drawn:
            parts.append(f"<h2>{escape(sweep.name)}</h2><p>{escape(sweep.finding)}</p>")
        for title, figure in drawn:
            html = figure.to_html(full_html=False, include_plotlyjs=not scripted, default_height="460px", config={"displaylogo": False})
            parts.append(f"<figure><figcaption>{escape(title)}</figcaption>{html}</figure>")
            scripted = True
    return _PAGE.format(body="\n".join(parts)) if parts else None


def sweep_figures(store: Store, sweep: Sweep) -> list[tuple[str, go.Figure]]:
    """Return the figures of one sweep with their titles, as its page shows them at first; none where its data allow none."""
    measurements = sweep_measurements(store, sweep.run_id)
    descriptor = sweep_facts(store, sweep.run_id).get("descriptor") or "pixel"
    unit = "data units" if descriptor == "pixel" else f"{descriptor} units"
    if sweep.experiment == "bias-variance":
        return _bias_variance(measurements)
    distances = sweep_distances(store, sweep.run_id)
    if sweep.experiment == "scaling":
        return _scaling(measurements, distances, unit)
    return _dynamics(measurements, distances, unit) if sweep.experiment == "training-dynamics" else []


def _scaling(measurements: pd.DataFrame, distances: pd.DataFrame, unit: str) -> list[tuple[str, go.Figure]]:
    from pfd_engine import figures
    from pfd_engine.analysis import analyze_scaling

    analysis = analyze_scaling(measurements, distances)
    if analysis.curves.empty:
        return []
    drawn = [("E_gen and E_mem against the training samples", 0.0)]
    if (fitted := analysis.exponent.value) == fitted:
        drawn.append((f"The same against N / parameters^a with the fitted a = {fitted:.2f}", fitted))
    return [(title, figures.scaling(figures.scaling_frame(analysis.curves, analysis.crossings, a), a, unit)) for title, a in drawn]


def _dynamics(measurements: pd.DataFrame, distances: pd.DataFrame, unit: str) -> list[tuple[str, go.Figure]]:
    import pandas as pd

    from pfd_engine import figures
    from pfd_engine.analysis import analyze_dynamics, seed_means

    analysis = analyze_dynamics(measurements, distances)
    if analysis.curves.empty:
        return []
    losses = pd.concat([seed_means(measurements, loss).assign(quantity=loss) for loss in ("train_loss", "held_out_loss")])
    frames = {size: figures.dynamics_frame(analysis.curves, analysis.verdicts, losses, size) for size in analysis.curves["size"].unique()}
    return [(f"E_gen and losses along training, {size}", figures.dynamics(frame, unit)) for size, frame in frames.items()]


def _bias_variance(measurements: pd.DataFrame) -> list[tuple[str, go.Figure]]:
    from pfd_engine import figures
    from pfd_engine.analysis import analyze_bias_variance

    table = analyze_bias_variance(measurements).table
    if table.empty:
        return []
    most, last = int(table["num_samples"].max()), str(table["size"].iloc[-1])
    return [
        (f"Bias² and variance against size, N = {most:,}", figures.parts(figures.parts_frame(table, "size", most), "size")),
        (f"Bias² and variance against N, {last}", figures.parts(figures.parts_frame(table, "num_samples", last), "num_samples")),
    ]
