"""How much of a distance the solver makes: extrapolated from n, 2n and 4n steps where they show the solver's order (MATH.md, section 3).

No torch: the cost of an evaluation is computed from the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUNGS = (18, 36, 72)
SUBSET_SHARE, SUBSET_AT_LEAST, SUBSET_AT_MOST = 4, 8, 256
LARGEST_STEPS = 2**14
ORDER_WITHIN = 1.5


@dataclass(frozen=True)
class SolverError:
    """The solver's part of a distance.

    Where `extrapolated`, `value` is signed: the distance minus its limit for infinitely many steps. Elsewhere `value >= 0` is the largest
    difference that was seen between n, 2n and 4n steps, a bound as far as these tell. `doubled` is `|PFD_2n - PFD_n|`.
    """

    value: float
    extrapolated: bool
    doubled: float


def subset_size(num_noises: int, first_block: int | None = None) -> int:
    """Return how many of the noises are followed again with 2n and 4n steps: a quarter, 8 to 256, at most `first_block`."""
    size = min(max(num_noises // SUBSET_SHARE, SUBSET_AT_LEAST), SUBSET_AT_MOST, num_noises)
    return size if first_block is None else min(size, first_block)


def finer_steps(steps: int) -> tuple[int, ...]:
    """Return the numbers of steps that the solver error of `steps` is found with: 2n and 4n; nothing beyond 16,384."""
    return tuple(n for n in (2 * steps, 4 * steps) if n <= LARGEST_STEPS)


def next_rung(steps: int) -> int | None:
    """Return the smallest rung above `steps`; None above the last one."""
    return next((rung for rung in RUNGS if rung > steps), None)


def solver_error(value: float, squared: dict[int, NDArray[np.float64]], order: int | None) -> SolverError:
    """Return the solver error of a distance `value` measured with n steps.

    `squared` maps n, 2n and 4n (the smallest is n; 4n may be missing) to squared distances of the same noises `(S,)`; `order` is the
    solver's, None where the maps have no common one. On the grid of n steps the step is proportional to 1 / (n - 1), so that an error
    of order p falls by `((2n - 1) / (n - 1))^p` from n to 2n. Extrapolated where both differences have one sign and their ratio lies
    within a factor of 1.5 of the one that this rule predicts.
    """
    steps = sorted(squared)
    means = [float(squared[n].mean()) for n in steps]
    to_finer = [means[0] - mean for mean in means[1:]]

    def shift(change: float) -> float:
        return value - math.sqrt(max(value**2 - change, 0.0))

    doubled = abs(shift(to_finer[0])) if to_finer else 0.0
    if order is not None and len(steps) == 3 and steps[0] > 1:
        limit = _limit(steps, to_finer, order)
        if limit is not None:
            return SolverError(shift(limit), True, doubled)
    moves = [shift(change) for change in (0.0, *to_finer)]
    return SolverError(max(moves) - min(moves), False, doubled)


def _limit(steps: list[int], to_finer: list[float], order: int) -> float | None:
    """Return the mean squared distance at n minus its limit, None where n, 2n and 4n do not show the order."""
    first, second = to_finer[0], to_finer[1] - to_finer[0]
    powers = [(n - 1) ** -order for n in steps]
    expected = (powers[0] - powers[1]) / (powers[1] - powers[2])
    if first == second == 0:
        return 0.0
    if first * second <= 0 or not 1 / ORDER_WITHIN <= first / second / expected <= ORDER_WITHIN:
        return None
    return first + second + second / ((powers[1] / powers[2]) - 1)
