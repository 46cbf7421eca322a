"""Trained range: the noise levels outside which training drew too few samples to teach a student anything (MATH.md, section 4). No torch.

Outside this range a denoiser extrapolates, and a solver that goes there measures the extrapolation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any

FEWEST_DRAWS = 100
# The objectives that draw ln sigma ~ N(p_mean, p_std^2); "data" is how the bundled teachers learned. The others are few-step students,
# whose noise levels are the points of a fixed grid.
LOG_NORMAL_OBJECTIVES = ("data", "samples", "denoiser")
MAX_COUNT = 2**63

Range = tuple[float, float]


def trained_range(steps: int, batch_size: int, p_mean: float, p_std: float) -> Range | None:
    """Return the noise levels `(sigma_low, sigma_high)` outside which training drew fewer than 100 samples.

    Training draws `steps * batch_size` noise levels with ln sigma ~ N(p_mean, p_std^2). Each tail is counted on its own: 100 draws are
    expected below `sigma_low`, and 100 above `sigma_high`; sigma has the unit of the data. Returns None where no range remains: with 200
    draws or fewer in total, or where the limits are too large or too small for a float64.

    Raises ValueError for a count below 1, a p_mean that is not finite and a p_std that is not positive and finite.
    """
    if not (steps >= 1 and batch_size >= 1 and math.isfinite(p_mean) and math.isfinite(p_std) and p_std > 0):
        raise ValueError(
            f"training is {steps} steps of {batch_size} draws with ln sigma ~ N({p_mean:g}, {p_std:g}^2): give counts of at least 1, a "
            "finite p_mean and a positive, finite p_std"
        )
    draws = steps * batch_size
    if draws <= 2 * FEWEST_DRAWS:
        return None
    reach = -NormalDist().inv_cdf(FEWEST_DRAWS / draws) * p_std
    try:
        found = math.exp(p_mean - reach), math.exp(p_mean + reach)
    except OverflowError:
        return None
    return found if _is_range(found) else None


def trained_range_of(metadata: Mapping[str, Any]) -> Range | None:
    """Return the trained range `(sigma_low, sigma_high)` of a checkpoint from its metadata, None where it is not known.

    The range that the recipe recorded (`trained_range`, two numbers) is taken where there is one. A student from before that was recorded
    is computed from its `step` and the `batch_size`, `p_mean` and `p_std` under `training`. `why_no_trained_range` explains a None.
    """
    found = _range_or_reason(metadata)
    return None if isinstance(found, str) else found


def why_no_trained_range(metadata: Mapping[str, Any]) -> str | None:
    """Return, as a clause that can follow a colon, why `trained_range_of` is None; None where there is a range."""
    found = _range_or_reason(metadata)
    return found if isinstance(found, str) else None


def common_range(ranges: Iterable[Range | None]) -> Range | None:
    """Return the noise levels that lie in every one of several ranges, None where one is not known or nothing is common."""
    known = list(ranges)
    if not known or None in known:
        return None
    found = max(one[0] for one in known if one), min(one[1] for one in known if one)
    return found if _is_range(found) else None


def _range_or_reason(metadata: Mapping[str, Any]) -> Range | str:
    """Return a checkpoint's range, or the reason why it has none; metadata may come from strangers and may hold anything."""
    recorded = metadata.get("trained_range")
    if isinstance(recorded, (list, tuple)) and len(recorded) == 2 and all(map(_is_number, recorded)) and _is_range(recorded):
        return float(recorded[0]), float(recorded[1])
    objective = metadata.get("objective")
    if isinstance(objective, str) and objective not in LOG_NORMAL_OBJECTIVES:
        return f"a student of the objective {objective[:60]} draws its noise levels from a fixed grid or in a way that is not known"
    training, steps = metadata.get("training"), metadata.get("step")
    if not isinstance(objective, str) or not isinstance(training, Mapping):
        return "the checkpoint does not say how its training drew noise levels"
    batch_size, p_mean, p_std = (training.get(name) for name in ("batch_size", "p_mean", "p_std"))
    if not (_is_count(steps) and _is_count(batch_size) and _is_number(p_mean) and _is_number(p_std) and p_std > 0):  # type: ignore[operator]
        return "the checkpoint does not say how its training drew noise levels"
    found = trained_range(steps, batch_size, float(p_mean), float(p_std))  # type: ignore[arg-type]
    if found is not None:
        return found
    draws = steps * batch_size  # type: ignore[operator]
    if draws <= 2 * FEWEST_DRAWS:
        return f"training drew {draws:,} noise levels, and more than {2 * FEWEST_DRAWS} are needed for a range"
    return "its training drew noise levels beyond all bounds"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_COUNT


def _is_number(value: object) -> bool:
    """Tell whether a JSON value is a finite number of a size that a float holds."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_COUNT


def _is_range(found: Any) -> bool:
    low, high = found
    return 0 < low < high < math.inf
