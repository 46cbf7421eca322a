"""How often the intervals of bias and variance cover the truth, and which students are marked, by simulated students; prints the rates.

Students scatter around their mean in some number of directions, normally or with heavy tails: some scatter more than others (the scale of a
student is log-normal or Student's t), one direction has heavy tails, or a rare student scatters five times as much. The columns
say how often an interval covers, all draws and those without a mark, and how often there is a mark.

    python benchmarks/bias_variance_simulation.py [--draws 1000]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.measure.bias_variance import bias_variance

Array = NDArray[np.float64]
NOISES = 4
Scales = Callable[[np.random.Generator, int], Array]


def equal(rng: np.random.Generator, students: int) -> Array:
    """All students scatter alike."""
    return np.ones(students)


def log_normal(rng: np.random.Generator, students: int) -> Array:
    """Half of the students scatter more than 1.4 times as much as the others."""
    return np.exp(0.5 * rng.standard_normal(students)) / np.exp(0.25)


def very_uneven(rng: np.random.Generator, students: int) -> Array:
    """The logarithm of a student's scale has a deviation of 1."""
    return np.exp(rng.standard_normal(students)) / np.e


def student_t(rng: np.random.Generator, students: int) -> Array:
    """The scale is Student's t with 5 degrees of freedom."""
    return np.abs(rng.standard_t(5, students)) / np.sqrt(5 / 3)


def rare_outliers(rng: np.random.Generator, students: int) -> Array:
    """One student in twenty scatters five times as much."""
    return np.where(rng.random(students) < 0.05, 5.0, 1.0) / np.sqrt(0.95 + 0.05 * 25)


SCALES: dict[str, Scales] = {
    "equal": equal,
    "log-normal, 0.5": log_normal,
    "log-normal, 1": very_uneven,
    "Student's t, 5": student_t,
    "rare outliers": rare_outliers,
}


def coverage(rng: np.random.Generator, scales: Scales, students: int, directions: int, bias: float, draws: int) -> dict[str, float]:
    """Return how often each interval covers, `bias2`, `variance` and `error2`, the last two without marked draws too, and how often
    draws are `marked`. Each student's variance is 1 a direction on average."""
    truth = {"bias2": directions * bias**2, "variance": float(directions), "error2": directions * (1 + bias**2)}
    covered: dict[str, list[bool]] = {name: [] for name in truth}
    marked = []
    for _ in range(draws):
        offsets = rng.standard_normal((students, 1, directions)) * scales(rng, students)[:, None, None]
        found = bias_variance(np.zeros((NOISES, directions)), bias + np.repeat(offsets, NOISES, axis=1))
        marked.append(found.outlier)
        for name, value in truth.items():
            part = getattr(found, name)
            covered[name].append(bool(part.ci_low <= value <= part.ci_high))
    rates = {name: float(np.mean(hits)) for name, hits in covered.items()}
    clean = ~np.array(marked)
    rates |= {f"{name} unmarked": float(np.mean(np.array(covered[name])[clean])) if clean.any() else float("nan") for name in truth}
    return rates | {"marked": float(np.mean(marked))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=1000, help="draws a row (1000)")
    draws = parser.parse_args().draws
    print("students, directions, scale of a student, bias: coverage of bias², variance, E_gen² (without the marked); marked")
    for students in (4, 8, 16):
        for directions in (1, 3, 200):
            for name, scales in SCALES.items():
                for bias in (0.3, 2.0):
                    rates = coverage(np.random.default_rng(0), scales, students, directions, bias, draws)
                    told = " ".join(f"{rates[part]:.2f} ({rates[f'{part} unmarked']:.2f})" for part in ("bias2", "variance", "error2"))
                    print(f"{students:2} {directions:3} {name:16} {bias:3}  {told}  {rates['marked']:5.1%}", flush=True)


if __name__ == "__main__":
    main()
