"""Data frames to plotly figures: pure functions, one file a page, and the one place where colors are given a meaning (`style.py`).

A page draws one frame a figure and offers the same frame as CSV; where a figure needs more than an analysis holds (an abscissa, marks),
a function beside it makes that frame.
"""

from pfd_engine.figures.bias_variance import parts, parts_frame
from pfd_engine.figures.dynamics import bands, bands_frame, dynamics, dynamics_frame
from pfd_engine.figures.evaluation import convergence, histogram, training_curve
from pfd_engine.figures.explore import MAX_SERIES, explore, series
from pfd_engine.figures.methods import trajectories
from pfd_engine.figures.scaling import scaling, scaling_frame
from pfd_engine.figures.style import COLORS, CONFIG
from pfd_engine.figures.trade_offs import COSTS, trade_offs

__all__ = [
    "COLORS",
    "CONFIG",
    "COSTS",
    "MAX_SERIES",
    "bands",
    "bands_frame",
    "convergence",
    "dynamics",
    "dynamics_frame",
    "explore",
    "histogram",
    "parts",
    "parts_frame",
    "scaling",
    "scaling_frame",
    "series",
    "trade_offs",
    "training_curve",
    "trajectories",
]
