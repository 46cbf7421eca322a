"""What a sweep is: a checked spec, and the list of students that it means. Specs in files: `spec_files.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pfd_engine.configs.base import FieldError, Reference, RunConfig, device_name
from pfd_engine.configs.evaluate import MAX_STEPS
from pfd_engine.configs.training import ALONE, LARGEST_EMA_WIDTH, log_spaced_steps
from pfd_engine.errors import InputError
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.hub.references import parse_reference
from pfd_engine.measure.descriptors import descriptor_names
from pfd_engine.measure.solver_error import RUNGS
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.seeds import EVALUATION_SEEDS, TRAINING_SEEDS
from pfd_engine.training_sets.files import MAX_SAMPLES

MAX_STUDENTS, MAX_TRAINING_STEPS = 4096, 10**7

Experiment = Literal["scaling", "training-dynamics", "bias-variance"]
Whole = Annotated[int, Field(strict=True)]  # in a TOML file true is no 1, and "10" no 10
Number = Annotated[float, Field(strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class TrainingOptions(BaseModel):
    """How every student is trained: see `distill.train_config.TrainConfig`, which checks it.

    None: `p_mean` and `p_std` of the family, `sigma_data` of the teacher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch_size: Annotated[Whole, Field(ge=1, le=65536)] = 128
    learning_rate: Annotated[Number, Field(gt=0, le=10)] = 1e-3
    warmup_steps: Annotated[Whole, Field(ge=0)] = 0
    schedule: Literal["constant", "cosine"] = "constant"
    ema: Literal["exponential", "power"] = "exponential"
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = 0.999
    ema_width: Annotated[Number, Field(gt=0, le=LARGEST_EMA_WIDTH)] = 0.05
    p_mean: Annotated[Number | None, Field(ge=-10, le=10)] = None
    p_std: Annotated[Number | None, Field(gt=0, le=10)] = None
    sigma_data: Annotated[Number | None, Field(ge=1e-3, le=1e3)] = None
    clip_norm: Annotated[Number | None, Field(gt=0)] = None
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    flips: Switch = False
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: Switch = False


class EvaluationOptions(BaseModel):
    """How every student is measured: noises `[seed, seed + num_noises)`, one solver on both sides.

    `steps` "auto": the smallest of 18, 36 and 72 whose own error stays below half the interval, chosen once for the whole sweep.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_noises: Annotated[Whole, Field(ge=2, le=EVALUATION_SEEDS.stop)] = 1024
    seed: Annotated[Whole, Field(ge=0, lt=EVALUATION_SEEDS.stop)] = 0
    solver: str = "heun"
    steps: int | Literal["auto"] = 18
    descriptor: str = "pixel"

    @field_validator("steps", mode="plain")
    @classmethod
    def _steps_are_known(cls, value: object) -> int | str:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_STEPS):
            return value
        raise ValueError(f"steps in [evaluation] is {repr(value)[:80]}: give a whole number from 1 to {MAX_STEPS:,}, or auto")

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        for what, value, known in (("solver", self.solver, list(SOLVERS)), ("descriptor", self.descriptor, descriptor_names())):
            if value not in known:
                raise ValueError(f"{what} is {value!r}: choose one of {', '.join(known)}")
        if self.descriptor == "sscd":
            raise ValueError(
                "descriptor is sscd, which needs a file that a sweep does not take: choose another, and evaluate kept students with sscd"
            )
        if self.seed + self.num_noises > EVALUATION_SEEDS.stop:
            raise ValueError(f"noises [{self.seed}, {self.seed + self.num_noises}) leave the evaluation range [0, {EVALUATION_SEEDS.stop})")
        return self

    @property
    def first_steps(self) -> int:
        """The number of solver steps to start from: the one asked for, the smallest rung for "auto"."""
        return RUNGS[0] if self.steps == "auto" else self.steps


@dataclass(frozen=True)
class Student:
    """One student of a sweep; `seed` decides its initialization, data order and, with the spec, its training seeds `samples`."""

    size: str
    num_samples: int
    seed: int
    samples: range

    @property
    def name(self) -> str:
        return f"{self.size} N={self.num_samples} seed {self.seed}"


@dataclass(frozen=True)
class Group:
    """Students of one size that one task trains together."""

    id: str
    students: tuple[Student, ...]


class SweepConfig(RunConfig):
    """A sweep: every size with every number of samples N and every seed, each a student trained from the teacher's samples.

    `sets` "nested": the N samples of one seed are the first of that seed's block, so that sets grow; "disjoint": no two students of
    different N or seed share a sample. `checkpoints` log-spaced steps from `first_checkpoint` to `steps` are measured, or only the last.
    `group_size` students of one size are one task (bias-variance: all seeds of one size and N), which trains them in one batched pass,
    `together`, or one after the other: larger networks and other objectives than `samples`. `diagnostic_map` also measures E_gen with the
    teacher's denoiser outside the trained range (`sweep_range.py`), at every measured step.
    """

    what: ClassVar[str] = "a sweep"

    kind: Literal["sweep"] = "sweep"
    experiment: Experiment
    name: str
    teacher: Reference
    sizes: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    num_samples: Annotated[tuple[Whole, ...], Field(min_length=1, max_length=64)]
    seeds: Annotated[tuple[Annotated[Whole, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=256)] = (0, 1, 2)
    objective: Literal["samples", "denoiser"] = "samples"
    sets: Literal["nested", "disjoint"] = "nested"
    steps: Annotated[Whole, Field(ge=1, le=MAX_TRAINING_STEPS)] = 6000
    checkpoints: Annotated[Whole, Field(ge=1, le=200)] = 1
    first_checkpoint: Annotated[Whole, Field(ge=1)] = 100
    group_size: Annotated[Whole, Field(ge=1, le=256)] = 9
    together: Switch = True
    keep_students: Switch = True
    diagnostic_map: Switch = False
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    device: str = "auto"

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", value):
            raise ValueError(f"name is {value[:40]!r}: give lower-case letters, digits and dashes, such as my-sweep (61 at most)")
        return value

    @field_validator("teacher")
    @classmethod
    def _reference_is_well_formed(cls, value: str) -> str:
        parse_reference(value)
        return value

    @field_validator("sizes")
    @classmethod
    def _sizes_are_known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                find_rung(value)
            except InputError as error:
                raise ValueError(str(error)) from None
        return _unique("sizes", values)

    @field_validator("num_samples")
    @classmethod
    def _samples_can_be_drawn(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        for value in values:
            if not 1 <= value <= MAX_SAMPLES:
                raise ValueError(f"number of samples is {value}: give 1 to {MAX_SAMPLES:,}")
        return _unique("num_samples", values)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return _unique("seeds", values)

    @field_validator("device")
    @classmethod
    def _device_is_named(cls, value: str) -> str:
        return device_name(value)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.num_students > MAX_STUDENTS:
            raise FieldError(
                f"the sweep means {self.num_students:,} students: {MAX_STUDENTS:,} at most, so drop sizes, seeds or values of N", "seeds"
            )
        if self._block * (max(self.seeds) + 1) > len(TRAINING_SEEDS):
            raise FieldError("the training sets do not fit into the training seeds [2^30, 2^31): lower N or the seeds", "num_samples")
        if self.checkpoints > 1 and self.first_checkpoint >= self.steps:
            raise FieldError(f"first checkpoint is {self.first_checkpoint}: give a step below the last, {self.steps}", "first_checkpoint")
        if self.experiment == "bias-variance" and len(self.seeds) < 2:
            raise FieldError("bias and variance need at least 2 seeds: add some", "seeds")
        if self.training.warmup_steps >= self.steps:
            raise FieldError(
                f"warmup steps in [training] is {self.training.warmup_steps} of {self.steps} steps: give fewer", "training.warmup_steps"
            )
        if self.together and self.objective != "samples":
            raise FieldError(f"objective is {self.objective}, which students are taught one by one: set together to false", "together")
        if self.together and (wide := [size for size in self.sizes if find_rung(size).family != "mlp"]):
            raise FieldError(f"size {wide[0]} is trained one by one: set together to false", "together")
        if self.together and (special := [n for n, default in ALONE.items() if getattr(self.training, n) != default]):
            raise FieldError(f"{special[0]} is set, which students trained together cannot have: set together to false", "together")
        return self

    @property
    def num_students(self) -> int:
        return len(self.sizes) * len(self.num_samples) * len(self.seeds)

    @property
    def students_at_once(self) -> int:
        """How many students one task holds in memory."""
        return len(self.seeds) if self.experiment == "bias-variance" else min(self.group_size, self.num_students)

    @property
    def _block(self) -> int:
        return max(self.num_samples) if self.sets == "nested" else sum(self.num_samples)

    def samples_of(self, num_samples: int, seed: int) -> range:
        """Return the training seeds of the students of one N and seed."""
        start = TRAINING_SEEDS.start + seed * self._block
        if self.sets == "disjoint":
            start += sum(self.num_samples[: self.num_samples.index(num_samples)])
        return range(start, start + num_samples)

    def drawn(self) -> list[range]:
        """Return the training seeds that are drawn, each once: the longest set of every block."""
        longest: dict[int, range] = {}
        for num_samples in self.num_samples:
            for seed in self.seeds:
                samples = self.samples_of(num_samples, seed)
                longest[samples.start] = max(samples, longest.get(samples.start, samples), key=len)
        return list(longest.values())

    def students(self) -> Iterator[Student]:
        """Yield all students, by size, then N, then seed."""
        for size in self.sizes:
            for num_samples in self.num_samples:
                for seed in self.seeds:
                    yield Student(size, num_samples, seed, self.samples_of(num_samples, seed))

    def groups(self) -> list[Group]:
        """Return the tasks of the sweep, the largest networks first, so that the last ones to finish are short."""
        groups = []
        sizes = sorted(self.sizes, key=lambda size: -find_rung(size).parameters)
        for size in sizes:
            students = [student for student in self.students() if student.size == size]
            for start in range(0, len(students), self.students_at_once):
                groups.append(Group(f"{size}-{start // self.students_at_once}", tuple(students[start : start + self.students_at_once])))
        return groups

    def measured_steps(self) -> list[int]:
        """Return the training steps at which students are measured, ascending; the last is `steps`."""
        return log_spaced_steps(self.steps, self.checkpoints, min(self.first_checkpoint, self.steps))

    def with_solver_steps(self, steps: int) -> SweepConfig:
        """Return the same sweep with a number of solver steps in the place of "auto"."""
        return self.model_copy(update={"evaluation": self.evaluation.model_copy(update={"steps": steps})})

    def command(self) -> str:
        """Return the command line that runs the same sweep: its spec by name where it is a bundled one, else by file."""
        from pfd_engine.configs.sweep_files import name_of

        return f"python -m pfd_engine sweep {name_of(self) or f'./{self.name}.toml'}"


def _unique(what: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{what} are {list(values)}: name each one once")
    return values
