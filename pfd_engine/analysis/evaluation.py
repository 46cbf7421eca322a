"""What one evaluation's stored distances say as noises are added."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pfd_engine.analysis.intervals import pfd_interval


def convergence(distances: dict[str, NDArray[np.float64]], points: int = 120) -> pd.DataFrame:
    """Return each metric's estimate from its first m squared per-noise distances, for up to `points` values of m.

    Columns `metric`, `num_noises`, `value`, `ci_low`, `ci_high`: what `pfd_interval` says of the first m noises alone, so that the last
    point of a metric is its result; m starts at 8, or at 2 where there are fewer than 16 noises.
    """
    rows = []
    for metric, squared in distances.items():
        count = len(squared)
        if count < 2:
            continue
        first = 8 if count >= 16 else 2
        for m in np.unique(np.geomspace(first, count, num=min(points, count)).round().astype(int)):
            interval = pfd_interval(squared[:m])
            rows.append((metric, m, interval.value, interval.ci_low, interval.ci_high))
    return pd.DataFrame(rows, columns=["metric", "num_noises", "value", "ci_low", "ci_high"])
