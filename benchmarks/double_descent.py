"""Search for epoch-wise double descent: E_gen along training that falls, rises and falls again, over many ways of training.

Trains the students of each configuration together on one thread, measures E_gen (and its bands of principal components) along training,
and says for every N whether there is a rise and then a second fall, by intervals over student seeds. Every configuration that was measured
is in `CONFIGURATIONS`; docs/double-descent.md says what came of them. What was measured is kept as one .npz a configuration.

    python benchmarks/double_descent.py [--only NAME ...] [--folder FOLDER] [--report] [--from-step 80]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.models.bundled import TEACHER
from pfd_engine.sweeps.measure import Ruler
from pfd_engine.sweeps.task import Setting, make_cohort, train_config
from pfd_engine.workspace import ASSETS, Workspace

CHECKPOINTS, BATCH_SIZE = 16, 32


@dataclass(frozen=True)
class Configuration:
    """One way of training: what is changed from EDM's recipe for the bundled digits, and at which N it is looked at."""

    size: str = "mlp-64"
    num_samples: tuple[int, ...] = (64, 256)
    steps: int = 8000
    seeds: int = 4
    num_noises: int = 256
    first: int = 30
    training: dict[str, Any] = field(default_factory=dict)


CONFIGURATIONS: dict[str, Configuration] = {
    "rare-high-sigma": Configuration(training={"p_mean": -2.0, "p_std": 1.4}),
    "rare-low-sigma": Configuration(num_samples=(16, 64), steps=6000, training={"p_mean": 1.2, "p_std": 0.8}),
    "rare-low-sigma-wider": Configuration(size="mlp-128", num_samples=(32, 128), steps=2500, training={"p_mean": 1.2, "p_std": 0.8}),
    "rarer-low-sigma": Configuration(num_samples=(32, 128), steps=6000, training={"p_mean": 1.5, "p_std": 0.8, "warmup_steps": 100}),
    "shipped-recipe": Configuration(
        num_samples=(32,), steps=6000, seeds=8, first=100, training={"p_mean": 1.2, "p_std": 0.8, "warmup_steps": 100}
    ),
}


@dataclass(frozen=True)
class Curves:
    """E_gen of the students of one N, `(steps, seeds)`, and its bands' PFD^2, `(steps, seeds, bands)`, at the measured steps `(steps,)`."""

    steps: NDArray[np.int64]
    errors: NDArray[np.float64]
    bands: NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """A mean over seeds with its 95 % t interval; the steps it is between were chosen for each seed on the others."""

    mean: float
    low: float
    high: float


def measure(name: str, configuration: Configuration, folder: Path) -> None:
    """Train and measure the students of one configuration and write `<name>.npz`."""
    spec = SweepConfig.parse(
        {
            "experiment": "training-dynamics",
            "name": name,
            "teacher": str(ASSETS / TEACHER),
            "sizes": [configuration.size],
            "num_samples": list(configuration.num_samples),
            "seeds": list(range(configuration.seeds)),
            "steps": configuration.steps,
            "checkpoints": CHECKPOINTS,
            "first_checkpoint": configuration.first,
            "training": {"batch_size": BATCH_SIZE} | configuration.training,
            "evaluation": {"num_noises": configuration.num_noises},
        }
    )
    setting = Setting.open(spec, Workspace.from_environment().cache, "cpu")
    students = list(spec.students())
    sets = [setting.draw(student.samples) for student in students]
    training = train_config(spec, setting.teacher, configuration.size)
    cohort = make_cohort(setting, training, students, sets)
    ruler = Ruler(setting.measuring, sets, setting.psi, setting.noises, setting.end_points, with_bands=True)
    errors, bands, losses = [], [], []
    started = time.perf_counter()
    for until in spec.measured_steps():
        for _ in cohort.train(until):
            pass
        found = ruler.measure(cohort.all_denoisers(), training.sigma_data, training.p_mean, training.p_std)
        errors.append([np.sqrt(one.tallies["E_gen"].distances.mean()) for one in found])
        bands.append([[values.mean() for values in one.bands.values()] for one in found])
        losses.append([(one.train_loss, one.held_out_loss) for one in found])
        means = np.reshape(errors[-1], (-1, configuration.seeds)).mean(1)
        told = ", ".join(f"N = {n} {mean:.3f}" for n, mean in zip(configuration.num_samples, means, strict=True))
        print(f"{name}, step {until:,}, {cohort.seconds:.0f} s: E_gen {told}", file=sys.stderr)
    empirical = [np.sqrt(one.tallies["E_emp"].distances.mean()) for one in found]
    np.savez(
        folder / f"{name}.npz",
        steps=spec.measured_steps(),
        num_samples=[student.num_samples for student in students],
        errors=errors,
        bands=bands,
        losses=losses,
        empirical=empirical,
        seconds=time.perf_counter() - started,
    )


def read_curves(path: Path) -> dict[int, Curves]:
    """Return what was measured for each N."""
    kept = np.load(path)
    return {
        int(n): Curves(kept["steps"], kept["errors"][:, kept["num_samples"] == n], kept["bands"][:, kept["num_samples"] == n])
        for n in np.unique(kept["num_samples"])
    }


def best_hump(mean: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the checkpoints i < j < k of a curve `(steps,)` with the largest hump: the smaller of its rise i to j and its fall j to k."""
    lowest = np.minimum.accumulate(mean)
    later = np.minimum.accumulate(mean[::-1])[::-1]
    peak = int(np.argmax(np.minimum(mean - lowest, mean - later)))
    return int(np.argmin(mean[: peak + 1])), peak, peak + int(np.argmin(mean[peak:]))


def contrasts(errors: NDArray[np.float64]) -> tuple[Contrast, Contrast]:
    """Return the rise to the peak and the fall after it of errors `(steps, seeds)`: each seed is judged at steps chosen on the others."""
    rises, falls = [], []
    for seed in range(errors.shape[1]):
        dip, peak, second = best_hump(np.delete(errors, seed, axis=1).mean(1))
        rises.append(errors[peak, seed] - errors[dip, seed])
        falls.append(errors[peak, seed] - errors[second, seed])
    return interval(rises), interval(falls)


def interval(values: list[float]) -> Contrast:
    """Return the mean over seeds with its 95 % t interval."""
    half = float(student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Contrast(float(np.mean(values)), float(np.mean(values)) - half, float(np.mean(values)) + half)


def report(name: str, folder: Path, from_step: int) -> None:
    """Print one row a value of N: the largest hump of the mean curve from a step on, and whether rise and fall hold over seeds."""
    seconds = float(np.load(folder / f"{name}.npz")["seconds"])
    for num_samples, curves in read_curves(folder / f"{name}.npz").items():
        late = curves.steps >= from_step
        steps, errors, bands = curves.steps[late], curves.errors[late], curves.bands[late].mean(1)
        mean = errors.mean(1)
        dip, peak, second = best_hump(mean)
        lowest = int(np.argmin(mean))
        rise, fall = contrasts(errors)
        shares = ", ".join(str(bands[at].round(2).tolist()) for at in (dip, peak, second))
        humped = rise.low > 0 and fall.low > 0
        print(
            f"| {name} | {num_samples} | {mean[lowest]:.3f} at {steps[lowest]:,}; last {mean[-1]:.3f} | {mean[dip]:.3f} at "
            f"{steps[dip]:,} | {mean[peak]:.3f} at {steps[peak]:,} | {mean[second]:.3f} at {steps[second]:,} | "
            f"{rise.mean:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}] | {fall.mean:+.3f} [{fall.low:+.3f}, {fall.high:+.3f}] | "
            f"{'yes' if humped else 'no'} | {seconds:.0f} s | bands {shares} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CONFIGURATIONS, action="append", help="measure these configurations (default: all)")
    parser.add_argument("--folder", type=Path, help="where measurements are kept (default: double-descent in the workspace)")
    parser.add_argument("--report", action="store_true", help="measure nothing: report what is there")
    parser.add_argument("--from-step", type=int, default=1, help="look for a hump from this step on (default: 1)")
    options = parser.parse_args()
    folder = options.folder or Workspace.from_environment().root / "double-descent"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in options.only or CONFIGURATIONS:
        if not options.report and not (folder / f"{name}.npz").exists():
            measure(name, CONFIGURATIONS[name], folder)
        if (folder / f"{name}.npz").exists():
            report(name, folder, options.from_step)


if __name__ == "__main__":
    main()
