"""What an error costs: the Pareto front of cost and error."""

from __future__ import annotations

import numpy as np
import pandas as pd


def pareto_front(frame: pd.DataFrame, cost: str, error: str) -> pd.DataFrame:
    """Return a copy of `frame` with a boolean column `pareto`: no other row is at most as dear and as wrong, and better in one of the two.

    `cost` (network calls, parameters, seconds) and `error` name columns of numbers; smaller is better in both. Of equal rows all are on
    the front, or none; a row whose cost or error is missing is not.
    """
    known = frame[[cost, error]].astype(np.float64).notna().all(axis=1).to_numpy()
    front = np.zeros(len(frame), dtype=bool)
    best = np.inf
    rows = frame.loc[known, [cost, error]].astype(np.float64)
    for _, group in rows.assign(position=np.flatnonzero(known)).groupby(cost, sort=True):
        lowest = group[error].min()
        if lowest < best:
            front[group.loc[group[error] == lowest, "position"].to_numpy()] = True
            best = lowest
    return frame.assign(pareto=front)
