"""What a distillation is: checked, immutable configuration that the form, the command line, the worker and the tests all build."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import ValidationInfo, field_validator, model_validator

from pfd_engine.configs.base import FieldError, Reference, RunConfig, device_name, one_of, within
from pfd_engine.configs.evaluate import MAX_STEPS
from pfd_engine.configs.training import EMA_KINDS, LARGEST_EMA_WIDTH, PRECISIONS, SCHEDULES
from pfd_engine.distill.objectives import OBJECTIVES, ObjectivePreset
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.hub.references import parse_reference
from pfd_engine.models.networks.sizes import RUNGS
from pfd_engine.seeds import EVALUATION_SEEDS, TRAINING_SEEDS

MAX_SAMPLES, MAX_TRAINING_STEPS, MAX_BATCH, MAX_SEED = 2**21, 10**7, 65536, 2**31 - 1
INITIALIZATIONS = ("auto", "teacher", "random")


class DistillConfig(RunConfig):
    """One student: its teacher, its size, what it learns from how many samples, and how long.

    What is None takes the value that suits the objective (`objectives.OBJECTIVES`), the teacher (`sigma_data`) or the family (`p_mean`,
    `p_std`). Training samples are the teacher's at the noises `first_seed` to `first_seed + num_samples - 1`, drawn with
    `solver` and `solver_steps`, which also evaluate. `seed` decides initial weights, data order and noise. `init` auto starts a
    few-step student from the teacher's weights where both are of one architecture, and any other at random. `output` None keeps the
    student in the run's own folder. `checkpoints` is how many log-spaced training steps are kept, besides the last.
    """

    what: ClassVar[str] = "a distillation"
    flags: ClassVar[dict[str, str]] = {"num_noises": "noises"}

    kind: Literal["distill"] = "distill"
    teacher: Reference
    size: str
    objective: str = "samples"
    num_samples: int | None = None
    steps: int | None = None
    seed: int = 0
    first_seed: int = TRAINING_SEEDS.start
    student_steps: int | None = None
    output: str | None = None
    init: str = "auto"
    batch_size: int | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    warmup_steps: int | None = None
    clip_norm: float | None = None
    ema: str = "exponential"
    ema_decay: float = 0.999
    ema_width: float = 0.05
    p_mean: float | None = None
    p_std: float | None = None
    sigma_data: float | None = None
    dropout: float = 0.0
    flips: bool = False
    checkpoints: int = 0
    precision: str = "float32"
    compile: bool = False
    device: str = "auto"
    solver: str = "heun"
    solver_steps: int = 18
    num_noises: int = 1024
    descriptor: str = "pixel"

    @property
    def preset(self) -> ObjectivePreset:
        return OBJECTIVES[self.objective]

    @field_validator("teacher")
    @classmethod
    def _reference_is_well_formed(cls, value: str) -> str:
        parse_reference(value)
        return value

    @field_validator("size")
    @classmethod
    def _size_is_on_a_ladder(cls, value: str) -> str:
        family = value.partition("-")[0]
        names = [rung.name for rung in RUNGS]
        return one_of("size", value[:60], [name for name in names if name.startswith(f"{family}-")] or names)

    @field_validator("objective", "schedule", "ema", "precision", "solver", "init", "descriptor")
    @classmethod
    def _choice_is_known(cls, value: str | None, info: ValidationInfo) -> str | None:
        from pfd_engine.measure.descriptors import descriptor_names

        allowed = {
            "objective": list(OBJECTIVES), "schedule": SCHEDULES, "ema": EMA_KINDS, "precision": PRECISIONS, "solver": list(SOLVERS),
            "init": INITIALIZATIONS, "descriptor": descriptor_names(),
        }  # fmt: skip
        assert info.field_name is not None
        return value if value is None else one_of(info.field_name, value, allowed[info.field_name])

    @field_validator("descriptor")
    @classmethod
    def _descriptor_needs_no_file(cls, value: str) -> str:
        if value == "sscd":
            raise ValueError(
                "descriptor is sscd, which needs a file that a distillation does not take: choose another, and evaluate the student with "
                "sscd afterwards"
            )
        return value

    @field_validator(
        "num_samples", "steps", "seed", "student_steps", "batch_size", "warmup_steps", "checkpoints", "num_noises", "solver_steps"
    )
    @classmethod
    def _count_in_range(cls, value: int | None, info: ValidationInfo) -> int | None:
        assert info.field_name is not None
        low, high, what = COUNTS[info.field_name]
        return value if value is None else within(what, value, low, high)

    @field_validator("learning_rate", "clip_norm", "p_std", "sigma_data")
    @classmethod
    def _positive(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{str(info.field_name).replace('_', ' ')} is {value}: give a positive, finite number")
        return value

    @field_validator("p_mean")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"p_mean is {value}: give a finite number")
        return value

    @field_validator("ema_decay", "dropout")
    @classmethod
    def _share(cls, value: float, info: ValidationInfo) -> float:
        if not 0 <= value < 1:
            raise ValueError(f"{str(info.field_name).replace('_', ' ')} is {value}: give a number from 0 up to, but below, 1")
        return value

    @field_validator("ema_width")
    @classmethod
    def _width_in_range(cls, value: float) -> float:
        if not 0 < value <= LARGEST_EMA_WIDTH:
            raise ValueError(f"ema width is {value}: give a number above 0, up to {LARGEST_EMA_WIDTH}")
        return value

    @field_validator("output")
    @classmethod
    def _output_is_a_path(cls, value: str | None) -> str | None:
        if value is not None and (not value or "\0" in value or len(value) > 1024):
            raise ValueError("output is no path: give the folder that the student goes into")
        return value

    @field_validator("device")
    @classmethod
    def _device_is_named(cls, value: str) -> str:
        return device_name(value)

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        count = self.num_samples or self.preset.num_samples
        if not TRAINING_SEEDS.start <= self.first_seed or self.first_seed + count > TRAINING_SEEDS.stop:
            raise FieldError(
                f"training noises {self.first_seed} to {self.first_seed + count - 1} leave the training range "
                f"[{TRAINING_SEEDS.start}, {TRAINING_SEEDS.stop}): change first seed or the number of samples",
                "first_seed",
            )
        if self.student_steps is not None and not self.preset.few_step:
            raise FieldError(
                f"student steps is {self.student_steps} but a student of the objective {self.objective} follows the probability flow ODE "
                "and has no steps of its own: leave it out",
                "student_steps",
            )
        steps, warmup = self.steps or self.preset.steps, self.warmup_steps
        if warmup is not None and warmup >= steps:
            raise FieldError(f"warmup steps is {warmup} of {steps} steps: give fewer", "warmup_steps")
        return self


COUNTS = {
    "num_samples": (1, MAX_SAMPLES, "number of samples"),
    "steps": (1, MAX_TRAINING_STEPS, "number of training steps"),
    "seed": (0, MAX_SEED, "seed"),
    "student_steps": (1, MAX_STEPS, "number of student steps"),
    "batch_size": (1, MAX_BATCH, "batch size"),
    "warmup_steps": (0, MAX_TRAINING_STEPS, "warmup steps"),
    "checkpoints": (0, 1000, "number of checkpoints"),
    "num_noises": (2, EVALUATION_SEEDS.stop, "number of noises"),
    "solver_steps": (1, MAX_STEPS, "number of solver steps"),
}
