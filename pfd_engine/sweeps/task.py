"""One task of a sweep: train a group of students together, measure them at the steps asked for, yield rows. Pure but for its checkpoint.

Rows are yielded before the checkpoint that follows them is written, so that a task that is killed and started again yields the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pfd_engine.configs.sweep import Group, Student, SweepConfig
from pfd_engine.configs.training import TrainConfig
from pfd_engine.distill.cohorts.sequential import OneByOne
from pfd_engine.distill.cohorts.stacked import StudentGroup
from pfd_engine.distill.objectives import OBJECTIVES, make_objective
from pfd_engine.distill.setup import SIGMA_DATA, relative_reference
from pfd_engine.evaluation.report import training_set_event
from pfd_engine.flow.maps import SolverMap, hash_of
from pfd_engine.flow.trained_range import trained_range_of
from pfd_engine.measure.bias_variance import bias_variance
from pfd_engine.measure.descriptors import Descriptor, load_descriptor
from pfd_engine.measure.end_points import EndPointCache, EndPoints, drain
from pfd_engine.models.families import load_denoiser
from pfd_engine.models.families.own import OwnConfig, save_denoiser
from pfd_engine.models.networks.own import build_network, count_parameters
from pfd_engine.models.networks.sizes import NOISE_LEVELS, find_rung
from pfd_engine.models.student_card import CardFacts, write_card
from pfd_engine.sweeps.measure import Measured, Ruler
from pfd_engine.sweeps.rows import Rows, training_set_name
from pfd_engine.sweeps.trained_range import trained_range_of_sweep
from pfd_engine.training_sets.files import describe_samples, samples_sha256
from pfd_engine.training_sets.load import TrainingSet, draw_samples

Event = dict[str, Any]
SAVE_SECONDS, PROGRESS_SECONDS = 30.0, 0.5
ANEW = (
    "the saved state of group {} is damaged, of an earlier version or of another training: its students are trained from their first step"
)


@dataclass(frozen=True)
class Task:
    """What a process needs to know: the sweep, which group of it, where end points are cached and where it may keep files."""

    config: SweepConfig
    group: Group
    cache: Path
    folder: Path
    device: str
    threads: int


@dataclass(frozen=True)
class Setting:
    """What all groups of a sweep share: the teacher, its maps for drawing and for measuring, the descriptor and the cache."""

    config: SweepConfig
    teacher: Any
    drawing: SolverMap
    measuring: SolverMap
    psi: Descriptor
    end_points: EndPoints

    @classmethod
    def open(cls, config: SweepConfig, cache: Path, device: str) -> Setting:
        """Load the teacher and the descriptor; raises InputError. Solver steps "auto" are the smallest rung until `with_solver_steps`."""
        teacher = load_denoiser(config.teacher, device)
        evaluation = config.evaluation
        return cls(
            config,
            teacher,
            SolverMap(teacher, device=device),
            SolverMap(teacher, evaluation.solver, evaluation.first_steps, device=device),
            load_descriptor(evaluation.descriptor, torch.device(device)),
            EndPoints(cache=EndPointCache(cache)),
        )

    def with_solver_steps(self, steps: int) -> Setting:
        """Return the same setting, measured with another number of solver steps."""
        return replace(self, config=self.config.with_solver_steps(steps), measuring=self.measuring.with_steps(steps))

    @property
    def noises(self) -> range:
        return range(self.config.evaluation.seed, self.config.evaluation.seed + self.config.evaluation.num_noises)

    def draw(self, seeds: range) -> Tensor:
        """Return the teacher's samples for training seeds, `(N, *shape)`, from the cache where they were drawn before."""
        return drain(draw_samples(self.drawing, seeds, self.teacher.shape, self.end_points))


def run_task(task: Task) -> Iterator[list[Event]]:
    """Train and measure one group; yields lists of events that belong together."""
    if torch.device(task.device).type == "cpu":
        torch.set_num_threads(task.threads)
    setting = Setting.open(task.config, task.cache, task.device)
    config, students = task.config, task.group.students
    sets = [setting.draw(student.samples) for student in students]
    yield [
        training_set_event(TrainingSet(samples, student.samples, training_set_name(setting, student), samples_sha256(samples)))
        for samples, student in zip(sets, students, strict=True)
    ]
    training = train_config(config, setting.teacher, students[0].size)
    cohort = make_cohort(setting, training, students, sets)
    with_bands, inside = config.experiment == "training-dynamics", trained_range_of_sweep(config) if config.diagnostic_map else None
    psi, noises = setting.psi, setting.noises
    ruler = Ruler(setting.measuring, sets, psi, noises, setting.end_points, with_bands=with_bands, inside=inside)
    yield setting.end_points.warnings()
    rows = Rows(config, setting, count_parameters(cohort.network(0)))
    state = task.folder / "checkpoints" / f"{task.group.id}.safetensors"
    state.parent.mkdir(parents=True, exist_ok=True)
    found = cohort.load(state)
    if found is None and state.exists():
        yield [{"type": "warning", "message": ANEW.format(task.group.id)}]
    known = found or 0
    last: list[Measured] = []
    for until in config.measured_steps():
        if until <= known and until < config.steps:
            continue
        yield from _train(cohort, until, task.group.id, state, known)
        last = ruler.measure(
            cohort.all_denoisers(), training.sigma_data, training.p_mean, training.p_std, with_errors=until == config.steps
        )
        yield _measurements(rows, cohort, task.group, last, until, known)
        known = until
        cohort.save(state, known)
    yield _endings(rows, ruler, task.group, cohort, last)
    for index, student in enumerate(students):
        if config.keep_students and index not in cohort.diverged:
            _save_student(task, setting, training, cohort.network(index), student, sets[index])
    cohort.remove(state)


def train_config(config: SweepConfig, teacher: Any, size: str) -> TrainConfig:
    """Return how the students of one size are trained, what the spec leaves open filled in from their family and the teacher."""
    mean, deviation = NOISE_LEVELS[find_rung(size).family]
    sigma_data = float(getattr(teacher.denoise, "sigma_data", SIGMA_DATA))
    settings: dict[str, Any] = {"p_mean": mean, "p_std": deviation, "sigma_data": sigma_data}
    settings |= config.training.model_dump(exclude_none=True)
    return TrainConfig(steps=config.steps, **settings)


def make_cohort(setting: Setting, training: TrainConfig, students: Sequence[Student], sets: Sequence[Tensor]) -> StudentGroup | OneByOne:
    """Return the students of one group at their first step, trained together where the spec says so."""
    config, device, rung = setting.config, setting.measuring.device, find_rung(students[0].size)
    options = rung.options.model_dump() | ({"dropout": training.dropout} if training.dropout else {})
    networks = [build_network(rung.family, setting.teacher.shape, options, seed=student.seed).to(device) for student in students]
    samples = [one.to(device) for one in sets]
    same_teacher = config.model_copy(update={"teacher": setting.teacher.content_key})  # whatever its folder is called
    identity = hash_of("group", same_teacher.canonical, [student.name for student in students], [samples_sha256(one) for one in sets])
    if config.together:
        return StudentGroup(networks, samples, [student.seed for student in students], training, identity)
    teacher = {"teacher": setting.teacher} if OBJECTIVES[config.objective].needs_teacher else {}
    return OneByOne.build(
        networks,
        samples,
        [replace(training, seed=student.seed) for student in students],
        [make_objective(config.objective, **teacher) for _ in students],
        identity,
    )


def _train(cohort: StudentGroup | OneByOne, until: int, group_id: str, state: Path, measured: int) -> Iterator[list[Event]]:
    """Train up to a step; yields progress, and keeps a checkpoint twice a minute."""
    told = saved = time.monotonic()
    for step, _ in cohort.train(until):
        now = time.monotonic()
        if now - told > PROGRESS_SECONDS or step == until:
            told = now
            yield [{"type": "progress", "group": group_id, "step": step}]
        if now - saved > SAVE_SECONDS:
            saved = now
            cohort.save(state, measured)


def _measurements(
    rows: Rows, cohort: StudentGroup | OneByOne, about: Group, measured: list[Measured], step: int, before: int
) -> list[Event]:
    """Return the rows of a step; a student found at it, or since the step `before`, to have diverged has none from there on."""
    events: list[Event] = []
    seconds = cohort.seconds / len(measured)
    for index, (student, found) in enumerate(zip(about.students, measured, strict=True)):
        if not found.sound:
            cohort.diverged.setdefault(index, step)
        if index not in cohort.diverged:
            events += rows.of_student(student, found, step, seconds)
        elif cohort.diverged[index] > before:
            message = (
                f"{student.name}: its numbers were not finite at step {cohort.diverged[index]}, so this student is left out: lower the "
                f"learning rate {rows.config.training.learning_rate:g}"
            )
            events.append({"type": "warning", "message": message, "diverged": student.name})
    return events


def _endings(rows: Rows, ruler: Ruler, about: Group, cohort: StudentGroup | OneByOne, measured: list[Measured]) -> list[Event]:
    """Return what only the last step has: image pairs, and the decomposition over a group that is all seeds of one size and N."""
    events: list[Event] = []
    sound = [index for index in range(len(measured)) if index not in cohort.diverged]
    for index in sound:
        empirical, samples = ruler.empirical_images(index), ruler.sets[index]
        events += rows.pairs(about.students[index], measured[index], ruler.images, empirical, samples, rows.config.steps)
    if rows.config.experiment == "bias-variance" and len(sound) > 1:
        maps = np.stack([torch.cat(measured[index].features).numpy() for index in sound])
        events += rows.decomposition(about.students[0], bias_variance(ruler.features.numpy(), maps), len(sound))
    return events


def _save_student(task: Task, setting: Setting, training: TrainConfig, network: nn.Module, student: Student, samples: Tensor) -> None:
    """Keep a student as a checkpoint folder, so that it can be evaluated, pushed and pulled like any other."""
    config, rung = task.config, find_rung(student.size)
    folder = task.folder / "students" / student.name.replace(" ", "-").replace("=", "")
    teacher = relative_reference(config.teacher, setting.teacher.revision, folder)
    drawn = describe_samples(samples, setting.drawing, student.samples, teacher, setting.teacher.revision)
    facts: dict[str, Any] = {
        "objective": config.objective, "training_set": drawn.name, "num_samples": student.num_samples, "training": training.recorded(),
        "initialized": "random",
    }  # fmt: skip
    own = OwnConfig(
        family=rung.family,  # type: ignore[arg-type]
        network=rung.options,
        sigma_data=training.sigma_data,
        sigma_min=setting.drawing.sigma_min,
        sigma_max=setting.drawing.sigma_max,
        shape=tuple(setting.teacher.shape),
        license=setting.teacher.license,
        metadata=facts
        | {"size": student.size, "student_seed": student.seed, "step": config.steps}
        | {"trained_range": trained_range_of(facts | {"step": config.steps})},
    )
    name = config.teacher.rstrip("/").split("/")[-1].split("@")[0]
    card = CardFacts(
        title=f"{student.size} distilled from {name}", teacher=name, teacher_revision=str(setting.teacher.revision),
        license=setting.teacher.license, what=OBJECTIVES[config.objective].what, parameters=count_parameters(network), seed=student.seed,
        steps=config.steps, **facts,
    )  # fmt: skip
    save_denoiser(folder, network, own, card=write_card(card), training_set=drawn.model_dump(mode="json"))
