"""Words that the sentences of all findings share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

Row = dict[str, Any]


def percent(row: Row, value: str, interval: str | None = None) -> str:
    """Write a share of a row in percent, with its interval where there is one."""
    low, high = row[f"{interval or value}_low"], row[f"{interval or value}_high"]
    return f"{100 * row[value]:.0f} %" + ("" if math.isnan(low) else f" ({100 * low:.0f} to {100 * high:.0f})")


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def join(parts: Sequence[str]) -> str:
    """Write a list as English does: `a, b and c`."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
