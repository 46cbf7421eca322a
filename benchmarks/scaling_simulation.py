"""How often the intervals of the scaling analysis hold what was put in: `python benchmarks/scaling_simulation.py [--sweeps 400]`.

Simulated sweeps have a known exponent: E_gen and E_mem of each size cross at a known N*, which lies on the power law or scatters about it
with standard deviation 0.18 in log N*, as the shipped sizes do. Students scatter about the curves; those of one seed may share their luck
between sizes, as they share their training sets. Printed is how often each interval covers, how often lack of fit is found, and what
curves without any shift score.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.analysis.collapse import RATIO, collapse_scores
from pfd_engine.analysis.crossings import log_crossings
from pfd_engine.analysis.exponent import fit_exponent
from pfd_engine.analysis.resampling import Jackknife, percentiles, resampler
from pfd_engine.analysis.students import Students
from tests.sweep_samples import e_gen, e_mem

GRID = 2 ** np.arange(4, 13)
PARAMETERS = np.array([30_000, 60_000, 120_000, 240_000, 480_000, 960_000], dtype=np.float64)
SCATTER_SEEN = 0.18
FLAT = {
    "levels": lambda x, c: c + 0 * x,
    "slope": lambda x, c: c + 0.1 * x,
    "spread at the ends": lambda x, c: c * (0.3 + x**2),
    "spread in the middle": lambda x, c: c * (0.3 + np.exp(-2 * x**2)),
    "no difference": lambda x, c: 0 * c + 0 * x,
}


def made_students(
    rng: np.random.Generator, crossings: Any, parameters: Any, seeds: int = 4, noises: int = 64, scatter: float = 0.05, luck: float = 0.0
) -> Students:
    """Return students around curves that cross at `crossings` `(sizes,)`; `luck` moves all crossings of a seed together, in log N."""
    shared = np.exp(luck * rng.standard_normal((1, 1, seeds)))
    squared = {}
    common = rng.standard_normal(noises)
    for metric, curve in (("E_gen", e_gen), ("E_mem", e_mem)):
        errors = curve(GRID[None, :, None], crossings[:, None, None] * shared)
        errors = errors + scatter * rng.standard_normal((*errors.shape[:2], seeds))
        squared[metric] = errors[..., None] ** 2 * (1 + 0.2 * (common + rng.standard_normal((*errors.shape, noises))))
    return Students([f"size-{i}" for i in range(len(parameters))], parameters, GRID, np.arange(seeds), squared)


def flat_students(rng: np.random.Generator, shape: str, parameters: Any = PARAMETERS, seeds: int = 4, scatter: float = 0.02) -> Students:
    """Return students whose E_gen has no shift between sizes: levels of the sizes in random order, spread over N as `shape` says."""
    x = np.linspace(-1, 1, len(GRID))
    levels = rng.permutation(np.linspace(-1, 1, len(parameters)))
    mean = 3 + 0.5 * FLAT[shape](x[None], levels[:, None])
    errors = mean[..., None] + scatter * rng.standard_normal((*mean.shape, seeds))
    squared = np.repeat(errors[..., None] ** 2, 8, axis=-1)
    return Students([f"size-{i}" for i in range(len(parameters))], parameters, GRID, np.arange(seeds), {"E_gen": squared, "E_mem": squared})


def exponent_coverage(
    rng: np.random.Generator, sweeps: int, exponent: float, sizes: int, off_line: float, draws: int = 400, **options: Any
) -> dict[str, float]:
    """Return how often the intervals of a and of N* cover, and how often lack of fit is found at 5 %."""
    parameters = PARAMETERS[:sizes]
    resamples = resampler(options.get("noises", 64), options.get("seeds", 4), draws, 0)
    held, crossed, bent = [], [], []
    for _ in range(sweeps):
        log_truth = np.log(64) + exponent * np.log(parameters / parameters[0]) + off_line * rng.standard_normal(sizes)
        students = made_students(rng, np.exp(log_truth), parameters, **options)
        fit = fit_exponent(students, np.ones(sizes, dtype=bool), Jackknife(students.squared))
        held.append(fit.ci_low <= exponent <= fit.ci_high)
        bent.append(fit.lack_of_fit < 0.05)
        low, high = percentiles(log_crossings({m: resamples.means(s) for m, s in students.squared.items()}, np.log(GRID)))
        crossed.append((low <= log_truth) & (log_truth <= high))
    return {"a": float(np.mean(held)), "N*": float(np.mean(crossed)), "lack of fit found": float(np.mean(bent))}


def true_score(crossings: Any, parameters: Any, exponent: float) -> float:
    """Return the collapse score of the curves of log(E_mem / E_gen) without any scatter."""
    errors = {"E_gen": e_gen(GRID[None], crossings[:, None]), "E_mem": e_mem(GRID[None], crossings[:, None])}
    squared = {metric: np.repeat((error**2)[..., None, None], 2, axis=-1) for metric, error in errors.items()}
    students = Students([str(i) for i in range(len(parameters))], parameters, GRID, np.arange(1), squared)
    return float(collapse_scores(students, {"paper": exponent}, Jackknife(students.squared), RATIO)["score"].iloc[0])


def collapse_coverage(rng: np.random.Generator, sweeps: int, off_line: float, sizes: int = 6, **options: Any) -> float:
    """Return how often the interval of the collapse score of a = 1/2 covers that of the curves without scatter."""
    held, parameters = [], PARAMETERS[:sizes]
    for _ in range(sweeps):
        log_truth = np.log(64) + 0.5 * np.log(parameters / parameters[0]) + off_line * rng.standard_normal(sizes)
        truth = true_score(np.exp(log_truth), parameters, 0.5)
        students = made_students(rng, np.exp(log_truth), parameters, **options)
        row = collapse_scores(students, {"paper": 0.5}, Jackknife(students.squared), RATIO).iloc[0]
        held.append(row["ci_low"] <= truth <= row["ci_high"])
    return float(np.mean(held))


def flat_scores(rng: np.random.Generator, sweeps: int, shape: str, sizes: int = 6) -> dict[str, float]:
    """Return the median score of curves without a shift, how often it is defined, and how often its p-value is below 0.05."""
    rows = []
    for _ in range(sweeps):
        students = flat_students(rng, shape, PARAMETERS[:sizes])
        rows.append(collapse_scores(students, {"paper": 0.5}, Jackknife(students.squared)).iloc[0])
    scores = np.array([row["score"] for row in rows])
    defined = np.isfinite(scores)
    median = float(np.median(scores[defined])) if defined.any() else np.nan
    called = float(np.mean([row["p_value"] < 0.05 for row in rows]))
    return {"median score": median, "defined": float(defined.mean()), "p below 0.05": called}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print(
        f"95 % intervals over {options.sweeps} simulated sweeps (standard error of a coverage {(0.05 * 0.95 / options.sweeps) ** 0.5:.3f})"
    )
    print("exponent  sizes  off the line  seeds  luck    a      N*     lack of fit found")
    for exponent, sizes, off_line, seeds, luck in (
        (0.5, 4, 0.0, 4, 0.0), (0.5, 4, SCATTER_SEEN, 4, 0.0), (0.5, 6, 0.0, 4, 0.0), (0.5, 6, SCATTER_SEEN, 4, 0.0),
        (0.3, 6, SCATTER_SEEN, 3, 0.0), (0.0, 6, 0.0, 4, 0.0), (0.5, 3, SCATTER_SEEN, 4, 0.0), (0.5, 6, 0.0, 4, 0.2),
        (0.5, 6, SCATTER_SEEN, 4, 0.2), (0.5, 6, SCATTER_SEEN, 1, 0.0),
    ):  # fmt: skip
        found = exponent_coverage(rng, options.sweeps, exponent, sizes, off_line, seeds=seeds, luck=luck)
        print(f"{exponent:<9} {sizes:<6} {off_line:<13} {seeds:<6} {luck:<7}" + "  ".join(f"{value:.3f}" for value in found.values()))
    print("\ncollapse of log(E_mem / E_gen) with a = 1/2: coverage of its interval")
    for off_line, seeds in ((0.0, 4), (SCATTER_SEEN, 4), (SCATTER_SEEN, 3)):
        print(f"off the line {off_line:<5} seeds {seeds}: {collapse_coverage(rng, options.sweeps // 2, off_line, seeds=seeds):.3f}")
    print("\ncurves without a shift")
    for shape in FLAT:
        print(f"{shape:<22}" + "  ".join(f"{name} {value:.3f}" for name, value in flat_scores(rng, options.sweeps // 2, shape).items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
