"""How often the analysis of training dynamics is wrong, by simulated sweeps whose curves are known; prints the rates.

A sweep has 6 values of N, each with a curve of its own without a double descent: falling, falling to a plateau, rising, learning and
overfitting, flat, and rising then falling. Students scatter around the curves in different ways, among them those that are unfavorable: an
error that is independent between checkpoints, a random walk, a scatter that depends on the step, and heavy tails. Rates are per *sweep*:
a sweep counts as wrong where one of its six curves does.

    python benchmarks/dynamics_simulation.py [--sweeps 400]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, FALLS, HUMP, OVERFITTING, RISES, judge
from pfd_engine.analysis.moves import comparisons, moves

Array = NDArray[np.float64]
CHECKPOINTS, NOISES = 20, 64
X = np.linspace(0, 1, CHECKPOINTS)
CURVES: dict[str, Array] = {
    "falling": 2 + 2 * np.exp(-4 * X),
    "falling to a plateau": 2 + np.maximum(2 - 5 * X, 0),
    "rising": 2 + 1.5 * X,
    "overfitting": np.where(X < 0.4, 2 + 4 * (0.4 - X), 2 + 1.2 * (X - 0.4)),
    "flat": np.full(CHECKPOINTS, 3.0),
    "rising, then falling": 3 + 0.8 * np.exp(-0.5 * ((X - 0.3) / 0.1) ** 2) - 0.6 * X,
}
TRUE_VERDICTS = {"falling": FALLS, "falling to a plateau": FALLS, "rising": RISES, "overfitting": OVERFITTING, "rising, then falling": HUMP}
Scatter = Callable[[np.random.Generator, int], Array]


def independent(rng: np.random.Generator, students: int) -> Array:
    """Each checkpoint scatters anew."""
    return rng.standard_normal((students, CHECKPOINTS))


def random_walk(rng: np.random.Generator, students: int) -> Array:
    """Each student walks away from the curve."""
    return rng.standard_normal((students, CHECKPOINTS)).cumsum(axis=1) / 2


def remembering(rng: np.random.Generator, students: int) -> Array:
    """Each student returns to the curve in about five checkpoints."""
    wander = rng.standard_normal((students, CHECKPOINTS))
    for step in range(1, CHECKPOINTS):
        wander[:, step] = 0.8 * wander[:, step - 1] + 0.6 * wander[:, step]
    return wander


def shrinking(rng: np.random.Generator, students: int) -> Array:
    """The scatter shrinks thirtyfold along training."""
    return rng.standard_normal((students, CHECKPOINTS)) * np.geomspace(3, 0.1, CHECKPOINTS)


def growing(rng: np.random.Generator, students: int) -> Array:
    """The scatter grows thirtyfold along training."""
    return shrinking(rng, students)[:, ::-1]


def one_noisy_checkpoint(rng: np.random.Generator, students: int) -> Array:
    """One checkpoint in the middle scatters ten times as much as the others."""
    return independent(rng, students) * np.where(np.arange(CHECKPOINTS) == 9, 3.0, 0.3)


def heavy_tailed(rng: np.random.Generator, students: int) -> Array:
    """Student's t with 3 degrees of freedom, of unit variance."""
    return rng.standard_t(3, (students, CHECKPOINTS)) / np.sqrt(3)


def uneven_students(rng: np.random.Generator, students: int) -> Array:
    """A few students scatter much more than the others, along all of training."""
    return remembering(rng, students) * np.exp(rng.standard_normal((students, 1))) / np.e


def skewed(rng: np.random.Generator, students: int) -> Array:
    """Exponential, of mean 0 and unit variance: most students lie a little below the curve, few far above."""
    return rng.exponential(size=(students, CHECKPOINTS)) - 1


SCATTERS: dict[str, Scatter] = {
    "independent": independent,
    "random walk": random_walk,
    "remembering": remembering,
    "shrinking": shrinking,
    "growing": growing,
    "one noisy checkpoint": one_noisy_checkpoint,
    "heavy-tailed": heavy_tailed,
    "uneven students": uneven_students,
    "skewed": skewed,
}


def simulate(rng: np.random.Generator, curve: Array, scatter: Scatter, students: int, size: float = 0.1) -> Array:
    """Return squared distances `(students, steps, M)` whose mean error over students and noises is `curve`."""
    errors = np.maximum(curve + size * (scatter(rng, students) + rng.standard_normal((students, 1))), 0.05)
    common, own = rng.standard_normal((CHECKPOINTS, NOISES)), rng.standard_normal((students, CHECKPOINTS, NOISES))
    easy = rng.standard_normal(NOISES)  # some noises are easy at every checkpoint
    return errors[:, :, None] ** 2 * (1 + 0.3 * easy + 0.02 * (common + own))


def wrong(rng: np.random.Generator, scatter: Scatter, students: int, curves: dict[str, Array] | None = None) -> Counter[str]:
    """Return what is wrong, or missed, in one simulated sweep of so many students an N."""
    chosen = curves or CURVES
    family = len(chosen) * comparisons(CHECKPOINTS)
    found: Counter[str] = Counter()
    for name, curve in chosen.items():
        squared = simulate(rng, curve, scatter, students)
        judged, moved = judge(squared, family), moves(squared, family)
        true = np.triu(curve[None] - curve[:, None], 1)
        found["double descent"] |= judged.verdict == DOUBLE_DESCENT
        found["verdict"] |= judged.verdict not in ("undetermined", TRUE_VERDICTS.get(name))
        dip = judged.rise.start
        hump = judged.verdict != DOUBLE_DESCENT and judged.second_fall.clear
        before = true[: dip + 1, : dip + 1] if hump and dip is not None else true
        possible = [(judged.no_rise_above, true.max()), (judged.no_fall_above, -before.min())]
        possible += [] if dip is None else [(judged.no_second_fall_above, -true[dip:].min())]
        found["bound"] |= any(bool(max(bound, 0) < largest - 1e-9) for bound, largest in possible)  # 0 or less: there is none at all
        found["interval"] |= bool(((moved.low > true) | (moved.high < true))[moved.later].any())
        found["found"] += judged.verdict == TRUE_VERDICTS.get(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sweeps", type=int, default=400, help="simulated sweeps a row (400)")
    sweeps = parser.parse_args().sweeps
    print("share of sweeps with a false double descent, verdict, bound, interval; share of true verdicts found")
    for students in (8, 12):
        for name, scatter in SCATTERS.items():
            rng, total = np.random.default_rng(0), Counter[str]()
            for _ in range(sweeps):
                total += wrong(rng, scatter, students)
            rates = [f"{total[kind] / sweeps:6.1%}" for kind in ("double descent", "verdict", "bound", "interval")]
            print(f"{students:2} students, {name:20} {' '.join(rates)}   {total['found'] / sweeps / len(TRUE_VERDICTS):4.0%}", flush=True)


if __name__ == "__main__":
    main()
