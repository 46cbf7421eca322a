"""Where E_mem and E_gen cross, as the number N of training samples grows."""

from __future__ import annotations

import numpy as np

from pfd_engine.analysis.quantiles import Array

GENERALIZING, MEMORIZING = "generalizing", "memorizing"
BELOW, ABOVE, AGAIN, UNKNOWN = "below", "above", "again", "unknown"


def find_crossing(num_samples: Array, e_gen: Array, e_mem: Array) -> tuple[float, str]:
    """Return N* and why there is none (`""`, `below`, `above`, `again`, `unknown`), for errors `(N,)` over ascending `num_samples`.

    N* is where E_mem - E_gen, interpolated linearly in log N, turns from negative (memorizing) to positive (generalizing); of several
    such points, the last. Without one the curve lies `below` (it generalizes from the smallest N on, so N* is below the grid) or `above`
    (it memorizes at every N). One that generalizes somewhere and memorizes at the largest N has no N*: it memorizes `again`. Missing
    values are bridged; fewer than two values are `unknown`.
    """
    difference = np.asarray(e_mem, dtype=np.float64) - np.asarray(e_gen, dtype=np.float64)
    value = float(_last_crossing(np.log(np.asarray(num_samples, dtype=np.float64)), difference[None])[0])
    if np.isnan(value):
        return np.nan, UNKNOWN
    if np.isinf(value):
        return np.nan, BELOW if value < 0 else AGAIN if (difference >= 0).any() else ABOVE
    return float(np.exp(value)), ""


def all_crossings(num_samples: Array, e_gen: Array, e_mem: Array) -> list[tuple[float, str]]:
    """Return every N at which E_mem - E_gen changes its sign, ascending, with what begins there: `generalizing` or `memorizing`.

    Errors are `(N,)` over ascending `num_samples`, interpolated linearly in log N; missing values are bridged.
    """
    log_n = np.log(np.asarray(num_samples, dtype=np.float64))
    d = np.asarray(e_mem, dtype=np.float64) - np.asarray(e_gen, dtype=np.float64)
    x, d = log_n[np.isfinite(d)], d[np.isfinite(d)]
    changes = np.flatnonzero((d[:-1] < 0) != (d[1:] < 0))
    at = np.exp(x[changes] + d[changes] / (d[changes] - d[changes + 1]) * (x[changes + 1] - x[changes]))
    return [(float(n), GENERALIZING if before < 0 else MEMORIZING) for n, before in zip(at, d[changes], strict=True)]


def log_crossings(means: dict[str, Array], log_n: Array) -> Array:
    """Return log N* `(R, sizes)` of mean errors `(R, sizes, N)`, or of one `(sizes, N)`.

    It is -inf where the smallest N generalizes already, inf where the largest N memorizes, NaN with fewer than two values of N.
    """
    difference = means["E_mem"] - means["E_gen"]
    difference = difference.reshape(-1, *difference.shape[-2:])
    return np.stack([_last_crossing(log_n, difference[:, i]) for i in range(difference.shape[1])], axis=1)


def _last_crossing(log_n: Array, difference: Array) -> Array:
    """Return log N* of each row of `difference` `(R, N)`; see `log_crossings`."""
    known = np.isfinite(difference).all(axis=0)
    x, d = log_n[known], difference[:, known]
    if d.shape[1] < 2:
        return np.full(len(d), np.nan)
    memorizes = d < 0
    leaves = memorizes[:, :-1] & ~memorizes[:, 1:]
    last = leaves.shape[1] - 1 - leaves[:, ::-1].argmax(axis=1)
    rows = np.arange(len(d))
    before, after = d[rows, last], d[rows, last + 1]
    share = np.divide(-before, after - before, out=np.zeros(len(d)), where=leaves.any(axis=1))
    inside = x[last] + share * (x[last + 1] - x[last])
    return np.where(memorizes[:, -1], np.inf, np.where(leaves.any(axis=1), inside, -np.inf))
