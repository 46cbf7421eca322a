"""What a run is: checked, immutable configuration that the form, the command line, the worker and the tests all build."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pfd_engine.descriptors import descriptor_names
from pfd_engine.errors import InputError
from pfd_engine.noise_ranges import EVALUATION_SEEDS
from pfd_engine.references import parse_reference
from pfd_engine.solvers import SOLVERS

MAX_STEPS = 4096
SIGMA_LOW, SIGMA_HIGH = 0.002, 80.0

Reference = Annotated[str, Field(min_length=1, max_length=1024)]


class EvaluateConfig(BaseModel):
    """One PFD evaluation: a teacher, a student and everything that moves the number.

    References are `owner/name[@revision]` on the Hub or a path that starts with `.`, `/` or `~`. `sigma_min` and `sigma_max`
    None mean the overlap of both models' own ranges with [0.002, 80]. `steps` belongs to the PF-ODE solver; a few-step
    student's own number of steps is `student_steps` (None: what its configuration says).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["evaluate"] = "evaluate"
    teacher: Reference
    student: Reference
    training_set: Reference | None = None
    num_noises: int = 1024
    seed: int = 0
    solver: str = "heun"
    steps: int = 18
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

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build the configuration from untrusted values; raises `InputError` with one sentence and the field at fault."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else None
            raise InputError(_sentence(first, field), field) from None

    @field_validator("teacher", "student", "training_set")
    @classmethod
    def _reference_is_well_formed(cls, value: str | None) -> str | None:
        if value is not None:
            parse_reference(value)
        return value

    @field_validator("solver")
    @classmethod
    def _solver_is_known(cls, value: str) -> str:
        return _one_of("solver", value, list(SOLVERS))

    @field_validator("descriptor")
    @classmethod
    def _descriptor_is_known(cls, value: str) -> str:
        return _one_of("descriptor", value, descriptor_names())

    @field_validator("num_noises")
    @classmethod
    def _enough_noises(cls, value: int) -> int:
        return _within("number of noises", value, 2, EVALUATION_SEEDS.stop)

    @field_validator("seed")
    @classmethod
    def _seed_is_for_evaluation(cls, value: int) -> int:
        return _within("seed", value, 0, EVALUATION_SEEDS.stop - 2)

    @field_validator("steps")
    @classmethod
    def _steps_in_range(cls, value: int) -> int:
        return _within("number of steps", value, 1, MAX_STEPS)

    @field_validator("student_steps")
    @classmethod
    def _student_steps_in_range(cls, value: int | None) -> int | None:
        return value if value is None else _within("number of student steps", value, 1, MAX_STEPS)

    @field_validator("batch_size")
    @classmethod
    def _batch_size_in_range(cls, value: int | str) -> int | str:
        return value if isinstance(value, str) else _within("batch size", value, 1, 65536)

    @field_validator("device")
    @classmethod
    def _device_is_named(cls, value: str) -> str:
        kind, _, index = value.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())) or value.endswith(":"):
            raise ValueError(f"device is {value!r}: give auto, cpu, cuda or cuda:N")
        return value

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
            raise ValueError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}: exchange them")
        if self.seed + self.num_noises > EVALUATION_SEEDS.stop:
            raise ValueError(
                f"seeds {self.seed} to {self.seed + self.num_noises - 1} leave the evaluation range [0, {EVALUATION_SEEDS.stop}): "
                "lower the seed or the number of noises (seeds above are for training and held-out sets)"
            )
        return self

    @property
    def canonical(self) -> str:
        """The configuration as JSON with sorted keys: the same text for equal configurations."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """sha256 of `canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    def command(self) -> str:
        """Return the command line that runs the same evaluation (defaults left out)."""
        words = ["python", "-m", "pfd_engine", "evaluate"]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "kind" or (value == field.default and not field.is_required()):
                continue
            flag = "--" + {"num_noises": "noises"}.get(name, name).replace("_", "-")
            words += [flag] if value is True else [flag, str(value)]
        return shlex.join(words)


_EXPECTED = {"int": "a whole number", "float": "a number", "string": "a text of 1 to 1,024 characters", "bool": "true or false"}


def _one_of(what: str, value: str, allowed: list[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}: choose one of {', '.join(allowed)}")
    return value


def _within(what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"{what} is {value}: give a whole number from {low} to {high:,}")
    return value


def _sentence(error: Any, field: str | None) -> str:
    """Turn one of pydantic's errors into our one sentence."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return f"{field!r} is not a setting of an evaluation: choose among {', '.join(EvaluateConfig.model_fields)}"
    if error["type"] == "missing":
        return f"{field} is missing: name it"
    what = (field or "").replace("num_", "number of ").replace("_", " ")
    return f"{what} is {repr(error['input'])[:80]}: give {_EXPECTED.get(error['type'].split('_')[0], 'another value')}"
