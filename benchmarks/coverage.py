"""How often the 95 % interval of a PFD holds the truth, over populations of squared distances with known means.

For each population and number of noises M: the coverage, and beside it that of a plain normal interval for mean d; the share of samples
that `tail_share` marks, the coverage among the unmarked, and the share of all samples that miss without a mark; the mean width relative
to the truth; how many rare noises M holds on average; and what M cannot rule out. A population counts as marked at an M where at least
half of its samples are. At the end: every population and M >= 32 that must cover at least 0.93 (at least 5 rare noises on average, not
marked) and does not. Then, for verdicts, how often the interval of paired differences with mean 0 excludes 0.

    python benchmarks/coverage.py [--samples 4000] [--noises 8 32 64 256 1024]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.analysis.intervals import TAIL_SHARE_MARK, mean_interval, not_ruled_out, paired_intervals, pfd_interval, tail_share

Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
REQUIRED, RARE_AT_LEAST, FROM_NOISES = 0.93, 5, 32


@dataclass(frozen=True)
class Population:
    """Squared distances with a known mean; `rare` is the share of noises that carry what the others do not, None where there are none.

    `bound` is the bound on a jump that the interval is told where all distances of a sample are equal.
    """

    draw: Draw
    mean: float
    rare: float | None = None
    bound: float | None = None


def jumps(share: float, far: float) -> Population:
    """Distances of mean 1 around which a share of the noises lands in another basin, `far` away in squared distance."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
        return np.where(rng.random(shape) < share, far * (0.5 + rng.chisquare(8, shape) / 16), rng.chisquare(8, shape) / 8)

    return Population(draw, 1 - share + share * far, share)


def two_points(share: float) -> Population:
    """All noises end alike but for a share of them, which differ by 1."""
    return Population(lambda rng, shape: (rng.random(shape) < share).astype(np.float64), share, share, 1.0)


POPULATIONS = {
    "chi-square, 1 dimension": Population(lambda rng, shape: rng.chisquare(1, shape), 1.0),
    "chi-square, 4 dimensions": Population(lambda rng, shape: rng.chisquare(4, shape), 4.0),
    "chi-square, 64 dimensions": Population(lambda rng, shape: rng.chisquare(64, shape), 64.0),
    "gamma, shape 0.25": Population(lambda rng, shape: rng.gamma(0.25, 1.0, shape), 0.25),
    "log-normal, s = 0.5": Population(lambda rng, shape: rng.lognormal(0, 0.5, shape), float(np.exp(0.125))),
    "log-normal, s = 1": Population(lambda rng, shape: rng.lognormal(0, 1, shape), float(np.exp(0.5))),
    "log-normal, s = 2": Population(lambda rng, shape: rng.lognormal(0, 2, shape), float(np.exp(2))),
    "power law, exponent 3": Population(lambda rng, shape: 1 + rng.pareto(3, shape), 1.5),
    "power law, exponent 2.1": Population(lambda rng, shape: 1 + rng.pareto(2.1, shape), 2.1 / 1.1),
    "constant and 0.25 % noise": Population(lambda rng, shape: 4 + 0.01 * rng.normal(size=shape), 4.0),
    "two equal modes, 1 and 9": Population(
        lambda rng, shape: np.where(rng.random(shape) < 0.5, 1, 9) * rng.uniform(0.8, 1.2, shape), 5.0, 0.5
    ),
    "1 % in another basin": jumps(0.01, 100),
    "1 % in a basin nearby": jumps(0.01, 10),
    "5 % in another basin": jumps(0.05, 36),
    "10 % in another basin": jumps(0.1, 36),
    "two points, 0.3 % differ": two_points(0.003),
    "two points, 5 % differ": two_points(0.05),
    "two points, 20 % differ": two_points(0.2),
}
DIFFERENCES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "exponential both": lambda rng, shape: rng.exponential(size=shape) - rng.exponential(size=shape),
    "log-normal both, s = 1": lambda rng, shape: rng.lognormal(0, 1, shape) - rng.lognormal(0, 1, shape),
    "chi-square 8 and 64": lambda rng, shape: rng.chisquare(8, shape) / 8 - rng.chisquare(64, shape) / 64,
    "gamma 1 and 8": lambda rng, shape: rng.exponential(size=shape) - rng.gamma(8, 1 / 8, shape),
    "chi-square 1 and 8": lambda rng, shape: rng.chisquare(1, shape) - rng.chisquare(8, shape) / 8,
    "log-normal and gamma 8": lambda rng, shape: rng.lognormal(-0.5, 1, shape) - rng.gamma(8, 1 / 8, shape),
    "exponential, constant": lambda rng, shape: rng.exponential(size=shape) - 1,
}


@dataclass(frozen=True)
class Coverage:
    """What one population and M show: shares in [0, 1]; `width` is the mean width of the interval of PFD over PFD."""

    covered: float
    normal: float
    marked: float
    covered_unmarked: float
    silent_misses: float
    width: float

    @property
    def is_marked(self) -> bool:
        return self.marked >= 0.5


def coverage(population: Population, num_noises: int, samples: int, rng: np.random.Generator) -> Coverage:
    """Draw samples of M squared distances, and hold their intervals at 95 % to the mean of the population."""
    d = population.draw(rng, (samples, num_noises))
    mean, stderr, low, high = mean_interval(d, nonnegative=True)
    for row in np.flatnonzero(d.min(1) == d.max(1)):
        alike = pfd_interval(d[row], jump_bound=population.bound)
        low[row], high[row] = alike.ci_low**2, alike.ci_high**2
    exact = population.mean * (1 + 1e-12 * np.array([1, -1]))  # the two points reach their mean up to rounding
    covered = (low <= exact[0]) & (exact[1] <= high)
    reach = 1.96 * stderr
    normal = (mean - reach <= exact[0]) & (exact[1] <= mean + reach)
    marked = np.array([tail_share(row) for row in d]) > TAIL_SHARE_MARK
    unmarked = float(covered[~marked].mean()) if not marked.all() else float("nan")
    width = float(np.minimum(np.sqrt(high) - np.sqrt(low), 1e3 * np.sqrt(population.mean)).mean() / np.sqrt(population.mean))
    return Coverage(float(covered.mean()), float(normal.mean()), float(marked.mean()), unmarked, float((~covered & ~marked).mean()), width)


def must_cover(population: Population, num_noises: int, found: Coverage) -> bool:
    """Whether the requirement applies: M >= 32, at least 5 rare noises on average, and the population is not marked."""
    enough = population.rare is None or num_noises * population.rare >= RARE_AT_LEAST
    return num_noises >= FROM_NOISES and enough and not found.is_marked


def false_verdicts(draw: Draw, num_noises: int, samples: int, rng: np.random.Generator) -> float:
    """Return how often the 95 % interval of paired differences whose mean is 0 excludes 0."""
    _, low, high = paired_intervals(draw(rng, (samples, num_noises)))
    return float(((low > 0) | (high < 0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--noises", type=int, nargs="+", default=[8, 32, 64, 256, 1024])
    options = parser.parse_args()
    rng, below = np.random.default_rng(0), []
    heads = f"{'coverage':>10}{'normal':>8}{'marked':>8}{'unmarked':>10}{'silent':>8}{'width':>8}{'rare':>7}"
    print(f"{'population':28}{'M':>6}{heads}  not ruled out")
    for name, population in POPULATIONS.items():
        for count in options.noises:
            found = coverage(population, count, options.samples, rng)
            rare = f"{count * population.rare:.1f}" if population.rare else "–"
            failed = must_cover(population, count, found) and found.covered < REQUIRED
            below += [f"{name}, M = {count}: {found.covered:.3f}"] if failed else []
            print(
                f"{name:28}{count:6}{found.covered:10.3f}{found.normal:8.3f}{found.marked:8.2f}{found.covered_unmarked:10.3f}{found.silent_misses:8.3f}"
                f"{found.width:8.3f}{rare:>7}  {100 * not_ruled_out(count):.2g} % of the noises{'   below' if failed else ''}",
                flush=True,
            )
    print(f"\nMust cover {REQUIRED} and do not: {'; '.join(below) or 'none'}")
    print(f"\n{'false verdicts on equal truths':34}" + "".join(f"{f'M = {count}':>10}" for count in (2, 4, 8, 32, 256)))
    for name, draw in DIFFERENCES.items():
        shares = [false_verdicts(draw, count, 5 * options.samples, rng) for count in (2, 4, 8, 32, 256)]
        print(f"{name:34}" + "".join(f"{100 * share:8.1f} %" for share in shares), flush=True)


if __name__ == "__main__":
    main()
