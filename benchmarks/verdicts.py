"""What the verdict says of students that learned nothing, and of perfect ones, on the bundled teacher's end points.

In each draw, N of the teacher's samples are the training set and M other noises the evaluation. The students: a constant image that is the
teacher's mean over other noises, the mean of the training set, or the teacher's mean over these very noises (E_gen = spread, exactly); the
empirical map itself (copies), the teacher itself, and the training set's mean from a student that re-noises. Prints how often each verdict
is said. The first three must never memorize or generalize, and the last must have none.

    python benchmarks/verdicts.py [--draws 1000] [--samples 1 2 4 8 16 64 256 1024 4096] [--noises 2 8 64]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.analysis import Verdict, judge_student, squared_deviations
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.flow.maps import SolverMap
from pfd_engine.flow.noise import noise
from pfd_engine.models.bundled import bundled_references
from pfd_engine.models.families import load_denoiser
from pfd_engine.seeds import TRAINING_SEEDS

CONSTANT = ("mean of the teacher", "mean of the training set", "mean over these noises")
WORDS = ("memorizes", "generalizes", "neither", "undetermined")
OTHERS = 1024


@dataclass(frozen=True)
class Pool:
    """Unit noises `(P, *shape)` and the teacher's end points from them, `(P, D)`, float64."""

    z: torch.Tensor
    images: NDArray[np.float64]


def teacher_pool(size: int) -> Pool:
    """Follow the bundled teacher from `size` noises."""
    teacher = SolverMap(load_denoiser(bundled_references().teacher))
    z = noise(TRAINING_SEEDS.start, TRAINING_SEEDS.start + size, teacher.shape or ())
    return Pool(z, torch.cat([teacher(block) for block in z.split(512)]).flatten(1).double().numpy())


def judge_draw(
    pool: Pool, num_samples: int, noises: Sequence[int], rng: np.random.Generator, others: int = OTHERS
) -> Mapping[tuple[str, int], Verdict]:
    """Draw a training set and noises, and judge every student from the first M noises, for each M in `noises`."""
    order = rng.permutation(len(pool.images))
    held, samples, rest = np.split(order[: max(noises) + num_samples + others], [max(noises), max(noises) + num_samples])
    training = torch.from_numpy(pool.images[samples]).reshape(-1, *pool.z.shape[1:])
    empirical = SolverMap(EmpiricalDenoiser(training))(pool.z[held]).flatten(1).double().numpy()
    teacher = pool.images[held]
    found = {}
    for count in noises:
        x, y = teacher[:count], empirical[:count]
        students = {
            "mean of the teacher": pool.images[rest].mean(0),
            "mean of the training set": pool.images[samples].mean(0),
            "mean over these noises": x.mean(0),
            "empirical map": y,
            "teacher": x,
            "re-noising": pool.images[samples].mean(0),
        }
        for name, student in students.items():
            found[name, count] = judge_student(
                np.square(student - x).sum(1),
                np.square(student - y).sum(1),
                np.square(x - y).sum(1),
                spread_teacher=squared_deviations(x),
                spread_empirical=squared_deviations(y),
                distinct_samples=num_samples,
                keeps_coupling=name != "re-noising",
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64, 256, 1024, 4096])
    parser.add_argument("--noises", type=int, nargs="+", default=[2, 8, 64])
    options = parser.parse_args()
    pool, rng = teacher_pool(max(options.noises) + max(options.samples) + OTHERS), np.random.default_rng(0)
    print(f"{'student':26}{'N':>6}{'M':>6}" + "".join(f"{word:>14}" for word in WORDS))
    wrong = 0
    for num_samples in options.samples:
        counts: Counter[tuple[str, int, str]] = Counter()
        for _ in range(options.draws):
            counts.update((*key, verdict.word) for key, verdict in judge_draw(pool, num_samples, options.noises, rng).items())
        for name, count in sorted({key[:2] for key in counts}):
            said = [counts[name, count, word] for word in WORDS]
            wrong += sum(said[:2]) if name in (*CONSTANT, "re-noising") else 0
            print(f"{name:26}{num_samples:6}{count:6}" + "".join(f"{times:14,}" for times in said), flush=True)
    print(f"\nA constant image or a student that re-noises memorized or generalized {wrong:,} times.")


if __name__ == "__main__":
    main()
