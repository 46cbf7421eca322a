"""What a run is: checked, immutable configuration that the form, the command line, the worker and the tests all build."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from pfd_engine.configs.base import FieldError, Reference, RunConfig, device_name, one_of, within
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.hub.references import parse_reference
from pfd_engine.measure.descriptors import descriptor_names
from pfd_engine.measure.solver_error import RUNGS
from pfd_engine.seeds import EVALUATION_SEEDS

MAX_STEPS = 4096
SIGMA_LOW, SIGMA_HIGH = 0.002, 80.0


class EvaluateConfig(RunConfig):
    """One PFD evaluation: a teacher, a student and everything that moves the number.

    References are `owner/name[@revision]` on the Hub or a path that starts with `.`, `/` or `~`. `sigma_min` and `sigma_max`
    None mean the overlap of both models' own ranges with [0.002, 80]. `steps` belongs to the PF-ODE solver; a few-step
    student's own number of steps is `student_steps` (None: what its configuration says). `steps` "auto" takes the smallest of 18, 36 and 72
    whose own error stays below half the interval, one for a teacher and range. `outside_range` "teacher" measures the diagnostic map, which
    takes the teacher's denoiser at the noise levels that the student's training hardly drew.
    """

    what: ClassVar[str] = "an evaluation"
    flags: ClassVar[dict[str, str]] = {"num_noises": "noises"}

    kind: Literal["evaluate"] = "evaluate"
    teacher: Reference
    student: Reference
    training_set: Reference | None = None
    num_noises: int = 1024
    seed: int = 0
    solver: str = "heun"
    steps: int | Literal["auto"] = 18
    student_steps: int | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    descriptor: str = "pixel"
    descriptor_file: str | None = None
    descriptor_sha256: str | None = None
    allow_torchscript: bool = False
    batch_size: int | Literal["auto"] = "auto"
    device: str = "auto"
    target_relative_error: float | None = None
    outside_range: Literal["student", "teacher"] = "student"

    @field_validator("teacher", "student", "training_set")
    @classmethod
    def _reference_is_well_formed(cls, value: str | None) -> str | None:
        if value is not None:
            parse_reference(value)
        return value

    @field_validator("solver")
    @classmethod
    def _solver_is_known(cls, value: str) -> str:
        return one_of("solver", value, list(SOLVERS))

    @field_validator("descriptor")
    @classmethod
    def _descriptor_is_known(cls, value: str) -> str:
        return one_of("descriptor", value, descriptor_names())

    @field_validator("num_noises")
    @classmethod
    def _enough_noises(cls, value: int) -> int:
        return within("number of noises", value, 2, EVALUATION_SEEDS.stop)

    @field_validator("seed")
    @classmethod
    def _seed_is_for_evaluation(cls, value: int) -> int:
        return within("seed", value, 0, EVALUATION_SEEDS.stop - 2)

    @field_validator("steps")
    @classmethod
    def _steps_in_range(cls, value: int | str) -> int | str:
        return value if isinstance(value, str) else within("number of steps", value, 1, MAX_STEPS)

    @field_validator("student_steps")
    @classmethod
    def _student_steps_in_range(cls, value: int | None) -> int | None:
        return value if value is None else within("number of student steps", value, 1, MAX_STEPS)

    @field_validator("batch_size")
    @classmethod
    def _batch_size_in_range(cls, value: int | str) -> int | str:
        return value if isinstance(value, str) else within("batch size", value, 1, 65536)

    @field_validator("device")
    @classmethod
    def _device_is_named(cls, value: str) -> str:
        return device_name(value)

    @field_validator("target_relative_error")
    @classmethod
    def _target_in_range(cls, value: float | None) -> float | None:
        if value is not None and not 0 < value < 1:
            raise ValueError(f"target relative error is {value}: give a number between 0 and 1, such as 0.02, or leave it out")
        return value

    @field_validator("sigma_min", "sigma_max")
    @classmethod
    def _sigma_is_positive(cls, value: float | None) -> float | None:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"sigma is {value}: give a positive, finite noise standard deviation")
        return value

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.sigma_min is not None and self.sigma_max is not None and self.sigma_min >= self.sigma_max:
            raise FieldError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}: exchange them", "sigma_min")
        if self.outside_range == "teacher" and self.training_set is not None:
            raise FieldError("the diagnostic map has no E_mem: leave out training_set or outside_range", "outside_range")
        if self.seed + self.num_noises > EVALUATION_SEEDS.stop:
            raise FieldError(
                f"seeds {self.seed} to {self.seed + self.num_noises - 1} leave the evaluation range [0, {EVALUATION_SEEDS.stop}): "
                "lower the seed or the number of noises (seeds above are for training and held-out sets)",
                "seed",
            )
        return self

    @property
    def first_steps(self) -> int:
        """The number of solver steps to start from: the one asked for, the smallest rung for "auto"."""
        return RUNGS[0] if self.steps == "auto" else self.steps
