"""The files of a training set: a description that knows its samples again, and the samples themselves.

A set drawn from a teacher is its seeds: `training_set.json` names teacher, seeds and flow map, and the samples are computed again where
they are needed. Two checks tell whether the right ones came out. `sha256` over the float32 values (little-endian, seed order) settles it on
the machine that wrote it. Elsewhere the last digits move with processor, library and batch size (by about 1e-6 for the bundled teacher), so
that `fingerprint`, one random projection a sample, decides: at least 99 % must agree within 0.01. Two different samples differ by about 1,
so a wrong teacher, seed or solver is found; a sample at the border between two modes may switch sides, so 1 % may be off.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pfd_engine.errors import InputError
from pfd_engine.hub.layout import CheckpointError, read_json
from pfd_engine.seeds import SEED_LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pfd_engine.flow.maps import SolverMap

DESCRIPTION_FILE, SAMPLES_FILE, SAMPLES_KEY = "training_set.json", "samples.safetensors", "samples"
MAX_SAMPLES, MAX_VALUES = 2**21, 2**33
LARGEST_VALUE = 8.0
FINGERPRINT_TOLERANCE, FINGERPRINT_AGREEMENT = 0.01, 0.99


class TrainingSetDescription(BaseModel):
    """The contents of training_set.json: which teacher samples a training set holds, and how to know them again."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["pfd-training-set"] = "pfd-training-set"
    format_version: Literal[1] = 1
    teacher: Annotated[str, Field(min_length=1, max_length=1024)]
    teacher_revision: Annotated[str, Field(max_length=200)] | None = None
    seed_start: int
    seed_stop: int
    solver: str = "heun"
    steps: Annotated[int, Field(ge=1, le=4096)] = 18
    rho: Annotated[float, Field(gt=0, le=100)] = 7.0
    sigma_min: Annotated[float, Field(gt=0)]
    sigma_max: Annotated[float, Field(gt=0)]
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=4)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    fingerprint: str

    @property
    def seeds(self) -> range:
        return range(self.seed_start, self.seed_stop)

    @property
    def name(self) -> str:
        return f"{Path(self.teacher).name} seeds {self.seed_start}-{self.seed_stop - 1}"

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if not 0 <= self.seed_start < self.seed_stop <= SEED_LIMIT:
            raise ValueError(f"its seeds [{self.seed_start}, {self.seed_stop}) are no range within [0, {SEED_LIMIT})")
        check_size(len(self.seeds), self.shape)
        if self.projections().shape != (len(self.seeds),):
            raise ValueError(f"its fingerprint does not belong to {len(self.seeds)} samples")
        return self

    def projections(self) -> NDArray[np.float32]:
        """Decode `fingerprint`, `(N,)`: base64 of little-endian float32."""
        return np.frombuffer(base64.b64decode(self.fingerprint, validate=True), dtype="<f4")


def check_size(count: int, shape: Sequence[int]) -> None:
    """Raise ValueError where N samples of `shape` are none, or more than a training set may hold."""
    if not (1 <= count <= MAX_SAMPLES and count * math.prod(shape) <= MAX_VALUES):
        raise ValueError(f"it holds {count:,} samples of {by(shape)}: give 1 to {MAX_SAMPLES:,} samples, {MAX_VALUES:,} values at most")


def read_description(path: Path) -> TrainingSetDescription:
    """Read and check training_set.json; raises CheckpointError with one sentence."""
    try:
        return TrainingSetDescription.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else f"{where}: {first['msg'].lower()}"
        raise CheckpointError(f"{DESCRIPTION_FILE} does not describe a training set, {reason}; write it again") from None


def describe_samples(
    samples: Tensor, flow_map: SolverMap, seeds: range, teacher: str, teacher_revision: str | None
) -> TrainingSetDescription:
    """Describe samples just drawn from `flow_map`; `teacher` is a Hub reference, or a path relative to where the JSON will lie."""
    projections = np.asarray(fingerprint(samples), dtype="<f4")
    return TrainingSetDescription(
        teacher=teacher,
        teacher_revision=teacher_revision,
        seed_start=seeds.start,
        seed_stop=seeds.stop,
        solver=flow_map.solver.name,
        steps=flow_map.steps,
        rho=flow_map.rho,
        sigma_min=flow_map.sigma_min,
        sigma_max=flow_map.sigma_max,
        shape=tuple(samples.shape[1:]),
        sha256=samples_sha256(samples),
        fingerprint=base64.b64encode(projections.tobytes()).decode(),
    )


def write_training_set(folder: Path, description: TrainingSetDescription | None, samples: Tensor | None = None) -> None:
    """Write training_set.json, samples.safetensors or both into an existing folder."""
    if samples is not None:
        from safetensors.torch import save_file

        save_file({SAMPLES_KEY: samples.float().cpu().contiguous()}, folder / SAMPLES_FILE)
    if description is not None:
        (folder / DESCRIPTION_FILE).write_text(json.dumps(description.model_dump(mode="json"), indent=2) + "\n")


def read_samples(path: Path) -> Tensor:
    """Read samples.safetensors: `samples` `(N, *shape)`, floating point in [-1, 1]; returns float32. Raises InputError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if SAMPLES_KEY not in file.keys():  # noqa: SIM118
                raise InputError(f"{path.name} has no tensor named {SAMPLES_KEY!r}: store the samples (N, *shape) under that name")
            stored = file.get_slice(SAMPLES_KEY)
            shape, dtype = stored.get_shape(), stored.get_dtype()
            if len(shape) < 2 or dtype not in ("F16", "BF16", "F32", "F64"):
                raise InputError(f"{path.name} holds {by(shape) or 'a single value'} of {dtype}: store floating point (N, *shape)")
            check_size(shape[0], shape[1:])
            samples: Tensor = file.get_tensor(SAMPLES_KEY).float()
    except (SafetensorError, OSError):
        raise InputError(f"{path.name} is no complete safetensors file: write it again") from None
    except ValueError as error:
        raise InputError(f"{path.name} is no training set, {error}") from None
    largest = samples.abs().max().item() if samples.numel() else math.inf
    if not largest <= LARGEST_VALUE:
        raise InputError(f"{path.name} holds values up to {largest:.4g}: scale the samples to [-1, 1]")
    return samples


def check_samples(samples: Tensor, description: TrainingSetDescription) -> None:
    """Raise InputError unless the samples are those described: equal to the bit, or within float rounding by their fingerprint."""
    if samples_sha256(samples) == description.sha256:
        return
    if samples.shape != (len(description.seeds), *description.shape):
        raise InputError(
            f"the training set is described as {len(description.seeds)} samples of {by(description.shape)} but {len(samples)} of "
            f"{by(samples.shape[1:])} were found: use the description that was written with them"
        )
    agree = np.abs(fingerprint(samples) - description.projections()) <= FINGERPRINT_TOLERANCE
    if agree.mean() < FINGERPRINT_AGREEMENT:
        raise InputError(
            f"the training set is not what its description says ({int((~agree).sum())} of {len(agree)} samples differ): "
            "use the teacher, at its revision, and the seeds that the student was trained with"
        )


def samples_sha256(samples: Tensor) -> str:
    """Return the sha256, in hexadecimal, of the values as little-endian float32 in order."""
    return hashlib.sha256(np.asarray(samples.float().cpu().numpy(), dtype="<f4").tobytes()).hexdigest()


def fingerprint(samples: Tensor) -> NDArray[np.float32]:
    """Return one number a sample, `(N,)`: its projection on a fixed unit vector with entries of one size and random signs."""
    import torch

    values = math.prod(samples.shape[1:])
    signs = torch.randn(values, generator=torch.Generator().manual_seed(0)).sign()
    return (samples.flatten(1).cpu().double() @ signs.double() / math.sqrt(values)).float().numpy()


def by(shape: Sequence[int]) -> str:
    """Write a shape as people do: 1x8x8."""
    return "x".join(map(str, shape))
