"""How close few-step students come to the bundled teacher's converged map, beside the teacher itself with as few network calls.

Trains one student an objective, from the teacher's weights, on one thread, and prints pixel PFD over 1,024 noises. Progressive
students at 4 steps and consistency students at 1 step must come closer than the teacher with 4 steps of Euler and of DPM-Solver++ (2M).

    python benchmarks/few_step.py [--objective consistency] [--steps 3000] [--samples 4096]
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.distill.objectives import OBJECTIVES, make_objective
from pfd_engine.distill.trainer import TrainConfig, Trainer
from pfd_engine.flow.few_step_map import FewStepMap
from pfd_engine.flow.maps import SolverMap
from pfd_engine.measure.end_points import drain
from pfd_engine.measure.pfd import probability_flow_distance
from pfd_engine.models.bundled import TEACHER
from pfd_engine.models.families import load_denoiser
from pfd_engine.seeds import TRAINING_SEEDS
from pfd_engine.training_sets.load import draw_samples
from pfd_engine.workspace import ASSETS

NUM_NOISES = 1024
CONVERGED_STEPS = 64
STUDENT_STEPS = {"progressive": (4, 2, 1), "consistency": (1, 2, 4), "distribution-matching": (1, 2, 4)}


def distance(teacher: SolverMap, student) -> float:
    return probability_flow_distance(teacher, student, NUM_NOISES).value


def train(objective: str, teacher, samples, options: argparse.Namespace) -> None:
    """Train one student and print its distances as they come."""
    preset = OBJECTIVES[objective]
    config = TrainConfig(
        steps=options.steps or preset.steps,
        batch_size=preset.batch_size,
        learning_rate=options.learning_rate or preset.learning_rate,
        schedule=preset.schedule,
        warmup_steps=preset.warmup_steps,
        sigma_data=teacher.denoise.sigma_data,
    )
    last = min(STUDENT_STEPS[objective])
    learned = make_objective(objective, teacher=teacher, sigma_min=teacher.sigma_min, sigma_max=teacher.sigma_max, student_steps=last)
    trainer = Trainer(copy.deepcopy(teacher.denoise.network), samples, config, learned)
    converged, started, paused = SolverMap(teacher, steps=CONVERGED_STEPS), time.perf_counter(), 0.0
    students = learned.students(config.steps)
    for progress in trainer.run(stops=students.keys()):
        if progress.step in students or progress.step % 500 == 0:
            before = time.perf_counter()
            sampler = students.get(progress.step) or learned.sampler
            counts = [sampler.steps] if objective == "progressive" else STUDENT_STEPS[objective]
            if progress.step in students or objective != "progressive":
                found = ", ".join(f"{k} steps {distance(converged, FewStepMap(trainer.denoiser, sampler, k)):.3f}" for k in counts)
                seconds = before - started - paused
                print(f"{objective}, {progress.step:,} training steps, {seconds:.0f} s: {found}", flush=True)
            paused += time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", choices=STUDENT_STEPS, action="append", help="which students to train (default: all)")
    parser.add_argument("--steps", type=int, help="training steps (default: the objective's)")
    parser.add_argument("--learning-rate", type=float, help="learning rate (default: the objective's)")
    parser.add_argument("--samples", type=int, default=4096, help="teacher samples in the training set (default: 4096)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_denoiser(ASSETS / TEACHER)
    converged = SolverMap(teacher, steps=CONVERGED_STEPS)
    print(f"solver error of the reference: {distance(SolverMap(teacher, steps=2 * CONVERGED_STEPS), converged):.4f}")
    for solver in ("euler", "dpmpp_2m"):
        found = ", ".join(f"{n} steps {distance(converged, SolverMap(teacher, solver, n)):.3f}" for n in (1, 2, 4, 8))
        print(f"teacher, {solver}: {found}", flush=True)
    samples = drain(draw_samples(SolverMap(teacher), TRAINING_SEEDS[: options.samples], teacher.shape))
    for objective in options.objective or STUDENT_STEPS:
        train(objective, teacher, samples, options)


if __name__ == "__main__":
    main()
