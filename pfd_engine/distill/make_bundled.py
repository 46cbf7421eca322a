"""Train the bundled checkpoints: `python -m pfd_engine.distill.make_bundled` (about four minutes on two cores).

A teacher on scikit-learn's digits, the same once more with another seed, then two students on samples drawn from the first: few samples,
which the student memorizes, and enough of them to generalize. Both sets start at the first training seed, so the small one is part of the
large one. `--only NAME` trains one of them and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pfd_engine.distill.trainer import Progress, TrainConfig, Trainer
from pfd_engine.errors import PFDError
from pfd_engine.flow.denoisers import EDMPrecondition
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.flow.maps import SolverMap, flow_map
from pfd_engine.flow.noise import noise
from pfd_engine.measure.end_points import drain
from pfd_engine.measure.memorization import count_memorized, distinct_samples
from pfd_engine.measure.pfd import PFDEstimate, probability_flow_distance
from pfd_engine.models.bundled import FLOOR, GENERALIZES, MEMORIZES, TEACHER
from pfd_engine.models.families import load_denoiser
from pfd_engine.models.families.own import MLPOptions, OwnConfig, save_denoiser
from pfd_engine.models.networks.own import build_network
from pfd_engine.seeds import TRAINING_SEEDS
from pfd_engine.training_sets.files import describe_samples
from pfd_engine.training_sets.images import load_digits_images
from pfd_engine.training_sets.load import draw_samples
from pfd_engine.workspace import ASSETS

TEACHER_WIDTH, TEACHER_TRAINING = 512, TrainConfig(steps=5000, seed=0)
FLOOR_SEED = 1
STUDENT_WIDTH = 256
NUM_NOISES = 1024
NAMES = (TEACHER, FLOOR, MEMORIZES, GENERALIZES)


@dataclass(frozen=True)
class Student:
    """One row of the table of bundled students."""

    name: str
    num_samples: int
    training: TrainConfig
    what: str


STUDENTS = (
    Student(MEMORIZES, 64, TrainConfig(steps=10_000, seed=1), "memorizes them: it mostly returns training samples"),
    Student(GENERALIZES, 1024, TrainConfig(steps=5000, seed=1), "generalizes: it follows the teacher and returns no training sample"),
)


@dataclass(frozen=True)
class Errors:
    """A student's errors over the noises `[0, NUM_NOISES)`, pixel, Heun with 18 steps (MATH: E_gen, E_mem and memorization ratio)."""

    e_gen: float
    e_mem: float
    memorization_ratio: float


def train_all(folder: Path, names: Collection[str] = NAMES) -> Iterator[tuple[str, Progress | PFDEstimate | Errors]]:
    """Train and save the checkpoints `names` below `folder`, in the order of `NAMES`; all but the teacher need the teacher there.

    Yields each checkpoint's name with its progress, and at its end a student's errors, or the second teacher's distance to the first.
    Raises InputError where the teacher is needed and cannot be loaded.
    """
    students = {student.name: student for student in STUDENTS}
    for name in NAMES:
        if name in names:
            work = _train_student(students[name], folder) if name in students else _train_teacher(name, folder)
            for news in work:
                yield name, news


def measure_errors(teacher: SolverMap, student: EDMPrecondition, samples: Tensor, num_noises: int = NUM_NOISES) -> Errors:
    """Measure a student against its teacher and its training samples `(N, *shape)`."""
    images = flow_map(student, noise(0, num_noises, student.shape))
    return Errors(
        e_gen=probability_flow_distance(teacher, SolverMap(student), num_noises).value,
        e_mem=probability_flow_distance(SolverMap(EmpiricalDenoiser(samples)), SolverMap(student), num_noises).value,
        memorization_ratio=count_memorized(images, distinct_samples(samples)) / num_noises,
    )


def _train_teacher(name: str, folder: Path) -> Iterator[Progress | PFDEstimate]:
    """Train a teacher; the second one records of whose recipe it is, and is measured against it."""
    images = load_digits_images()
    first = None if name == TEACHER else load_denoiser(str((folder / TEACHER).absolute()))
    training = TEACHER_TRAINING if first is None else replace(TEACHER_TRAINING, seed=FLOOR_SEED)
    trainer = _trainer(TEACHER_WIDTH, images, training)
    yield from trainer.run()
    metadata: dict[str, object] = {
        "size": f"mlp-{TEACHER_WIDTH}", "objective": "data", "training_set": "scikit-learn digits", "num_samples": len(images),
    }  # fmt: skip
    floor = None
    if first is not None:
        metadata["twin_of"] = {"teacher": f"../{TEACHER}", "revision": first.revision}
        floor = probability_flow_distance(SolverMap(first), SolverMap(trainer.denoiser), NUM_NOISES)
        yield floor
    save_denoiser(folder / name, trainer.ema, _config(TEACHER_WIDTH, trainer, metadata), card=_teacher_card(trainer, floor))


def _train_student(student: Student, folder: Path) -> Iterator[Progress | Errors]:
    loaded = load_denoiser(str((folder / TEACHER).absolute()))
    teacher = SolverMap(loaded)
    seeds = range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + student.num_samples)
    samples = drain(draw_samples(teacher, seeds, loaded.shape))
    trainer = _trainer(STUDENT_WIDTH, samples, student.training)
    yield from trainer.run()
    errors = measure_errors(teacher, trainer.denoiser, samples)
    description = describe_samples(samples, teacher, seeds, f"../{TEACHER}", loaded.revision)
    metadata = {"size": f"mlp-{STUDENT_WIDTH}", "objective": "samples", "training_set": description.name, "num_samples": len(samples)}
    save_denoiser(
        folder / student.name,
        trainer.ema,
        _config(STUDENT_WIDTH, trainer, metadata),
        card=_student_card(student, trainer, errors),
        training_set=description.model_dump(mode="json"),
    )
    yield errors


def _trainer(width: int, samples: Tensor, training: TrainConfig) -> Trainer:
    network: nn.Module = build_network("mlp", samples.shape[1:], {"width": width}, seed=training.seed)
    return Trainer(network, samples, training)


def _config(width: int, trainer: Trainer, metadata: dict[str, object]) -> OwnConfig:
    """Return the checkpoint's config.json; its metadata names everything that training depended on."""
    training = trainer.config
    return OwnConfig(
        network=MLPOptions(width=width),
        sigma_data=trainer.config.sigma_data,
        shape=tuple(trainer.samples.shape[1:]),
        metadata=metadata | {"student_seed": training.seed, "step": training.steps, "training": training.recorded()},
        license="apache-2.0",
    )


def _card(title: str, body: str, trainer: Trainer) -> str:
    training = trainer.config
    return f"""---
license: apache-2.0
tags: [diffusion, probability-flow-distance]
---
# {title}

{body}

| training | |
| --- | --- |
| loss | EDM denoising score matching, ln sigma ~ N({training.p_mean:g}, {training.p_std:g}²), sigma_data {training.sigma_data:g} |
| optimizer | Adam, learning rate {training.learning_rate:g}, batch {training.batch_size}, {training.steps:,} steps |
| weights | exponential moving average, decay {training.ema_decay:g} |
| seed | {training.seed} |

Trained by `python -m pfd_engine.distill.make_bundled`; `config.json` and `model.safetensors` are all that is needed to load it.
"""


def _teacher_card(trainer: Trainer, floor: PFDEstimate | None) -> str:
    """Return a teacher's card; `floor` is the second teacher's distance to the first."""
    body = (
        f"A denoiser of 8x8 handwritten digits: LayerNorm residual MLP of width {TEACHER_WIDTH}, trained on the "
        f"{len(trainer.samples):,} scans that come with scikit-learn, gray values scaled to [-1, 1].\n\n"
    )
    if floor is not None:
        body += (
            f"It differs from `{TEACHER}` in its training seed only. The distance between the two, {floor.value:.3f} "
            f"[{floor.ci_low:.3f}, {floor.ci_high:.3f}] (PFD over {floor.num_noises:,} noises: pixel, Heun, 18 steps), is the retrained "
            f"floor: a student of `{TEACHER}` with a smaller error is closer to it than the same training, run again, comes.\n\n"
        )
    body += "Data: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0."
    return _card("Teacher of 8x8 digits" if floor is None else "Second teacher of 8x8 digits", body, trainer)


def _student_card(student: Student, trainer: Trainer, errors: Errors) -> str:
    body = f"""A student of `{TEACHER}` (LayerNorm residual MLP of width {STUDENT_WIDTH}) that learned from {student.num_samples:,} of its
samples and {student.what}.

| measured over {NUM_NOISES:,} noises (pixel, Heun, 18 steps) | |
| --- | --- |
| E_gen, distance to the teacher | {errors.e_gen:.3f} |
| E_mem, distance to the training samples' own map | {errors.e_mem:.3f} |
| memorization ratio | {errors.memorization_ratio:.3f} |

`training_set.json` says how its samples are drawn from the teacher again."""
    return _card(f"Student of 8x8 digits, {student.num_samples:,} samples", body, trainer)


def main() -> int:
    """Train the bundled checkpoints, with progress on stderr; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train the bundled teachers and students on scikit-learn's digits.")
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where the folders go (default: pfd_engine/assets)")
    parser.add_argument("--only", choices=NAMES, help="train this one alone (default: all)")
    options, started = parser.parse_args(), time.monotonic()
    try:
        for name, news in train_all(options.folder, [options.only] if options.only else NAMES):
            seconds = f"{time.monotonic() - started:6.1f} s"
            if isinstance(news, Errors):
                errors = f"E_gen {news.e_gen:.3f}, E_mem {news.e_mem:.3f}, memorization ratio {news.memorization_ratio:.3f}"
                print(f"{seconds}  {name}: {errors}", file=sys.stderr)
            elif isinstance(news, PFDEstimate):
                floor = f"{news.value:.3f} [{news.ci_low:.3f}, {news.ci_high:.3f}]"
                print(f"{seconds}  {name}: PFD to {TEACHER} {floor}", file=sys.stderr)
            elif news.step % 500 == 0:
                print(f"{seconds}  {name}: step {news.step:,} of {news.steps:,}, loss {news.loss:.4f}", file=sys.stderr)
    except PFDError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
