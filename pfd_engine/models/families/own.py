"""Our own folder format: config.json with model.safetensors, and beside them a training set's description and a model card.

```
config.json          what OwnConfig checks: format, family, network, preconditioning, sigma_data, range, shape, metadata, license,
                     and for a few-step student its sampler
model.safetensors    the network's parameters by name, float32
training_set.json    how a student's samples are drawn from its teacher (training_sets.py); only where there are some
README.md            the model card
```
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from pfd_engine.errors import RunError
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.hub.layout import OWN_WEIGHTS, CheckpointError, read_json
from pfd_engine.models.description import Description
from pfd_engine.models.networks.options import FAMILY_OPTIONS, MLPOptions, NetworkOptions

if TYPE_CHECKING:
    from torch import nn

    from pfd_engine.flow.few_step_map import FewStepMap
    from pfd_engine.hub.snapshot import Snapshot
    from pfd_engine.models.load import LoadedDenoiser

__all__ = ["MLPOptions", "OwnConfig", "describe", "load", "make_map", "matches", "read_config", "save_denoiser"]

FORMAT = "pfd-denoiser"
MAX_PARAMETERS = 2 * 10**8
MAX_METADATA = 16_384
CONFIG_FILE, TRAINING_SET_FILE, CARD_FILE = "config.json", "training_set.json", "README.md"


class OwnConfig(BaseModel):
    """The contents of config.json; unknown keys, absurd sizes and values that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["pfd-denoiser"] = "pfd-denoiser"
    format_version: Literal[1] = 1
    family: Literal["mlp", "unet", "dit"] = "mlp"
    network: SerializeAsAny[NetworkOptions]
    preconditioning: Literal["edm"] = "edm"
    sigma_data: Annotated[float, Field(ge=1e-3, le=1e3)]
    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_PARAMETERS)], ...], Field(min_length=1, max_length=4, fail_fast=True)]
    weights: Literal["ema", "raw"] = "ema"
    sampler: FewStepSampler | None = None
    metadata: dict[str, Any] = {}
    license: Annotated[str, Field(max_length=200)] | None = None

    @property
    def num_parameters(self) -> int:
        return self.network.count_parameters(self.shape)

    @field_validator("network", mode="before")
    @classmethod
    def _network_is_of_its_family(cls, value: Any, info: ValidationInfo) -> Any:
        family = info.data.get("family")
        if family is None or isinstance(value, FAMILY_OPTIONS[family]):
            return value
        try:
            return FAMILY_OPTIONS[family].model_validate(value)
        except ValidationError as error:
            raise ValueError(_reason(error, "network")) from None

    @model_serializer(mode="wrap")
    def _without_an_empty_sampler(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        if self.sampler is None:
            del values["sampler"]  # as in the folders written before there were few-step students
        return values

    @model_validator(mode="after")
    def _sizes_are_sane(self) -> Self:
        self.network.check_shape(self.shape)
        if self.num_parameters > MAX_PARAMETERS:
            raise ValueError(f"it asks for {self.num_parameters:,} parameters, above the limit of {MAX_PARAMETERS:,}")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}")
        if self.sampler is not None:
            self.sampler.check_range(self.sigma_min, self.sigma_max)
        if len(json.dumps(self.metadata)) > MAX_METADATA:
            raise ValueError(f"its metadata is longer than {MAX_METADATA:,} characters")
        return self


def matches(path: Path, config: Mapping[str, Any]) -> bool:
    """Tell whether config.json is of our own format."""
    return config.get("format") == FORMAT


def read_config(path: Path) -> OwnConfig:
    """Read and check the config.json at `path`; raises CheckpointError with one sentence. No torch, no weights."""
    try:
        return OwnConfig.model_validate(read_json(path))
    except (ValidationError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"config.json does not describe a denoiser: {_reason(error)}; repair or replace it") from None


def describe(snapshot: Snapshot) -> Description:
    """Describe a checkpoint from its config.json alone; raises CheckpointError with one sentence."""
    config = read_config(snapshot.path / snapshot.layout.network_config)
    has_training_set = (snapshot.path / TRAINING_SET_FILE).is_file()
    return Description(
        family=config.family,
        shape=config.shape,
        sigma_min=config.sigma_min,
        sigma_max=config.sigma_max,
        weights=config.weights,
        few_step=config.sampler is not None,
        steps=None if config.sampler is None else config.sampler.steps,
        license=config.license or snapshot.license,
        metadata=config.metadata,
        training_set_reference=_pinned(snapshot) if has_training_set else None,
    )


def load(snapshot: Snapshot, device: str) -> LoadedDenoiser:
    """Read, check and return the denoiser on `device`, float32; raises CheckpointError with one sentence."""
    from pfd_engine.flow.denoisers import EDMPrecondition
    from pfd_engine.flow.few_step_map import FewStepNetwork
    from pfd_engine.models.load import LoadedDenoiser
    from pfd_engine.models.networks.own import build_network
    from pfd_engine.models.weights import load_weights

    config = read_config(snapshot.path / snapshot.layout.network_config)
    _check_file_size(snapshot, config)
    network = build_network(config.family, config.shape, config.network.model_dump()).to(device)
    load_weights(network, snapshot, device)
    denoiser = EDMPrecondition(network, config.sigma_data, config.shape)
    if config.sampler is not None:
        denoiser = FewStepNetwork(denoiser, config.sampler)
    return LoadedDenoiser(denoiser, snapshot, describe(snapshot), config.num_parameters, device)


def make_map(loaded: LoadedDenoiser, student_steps: int | None = None) -> FewStepMap:
    """Return a few-step student's own sampler with `student_steps` steps (None: what config.json says)."""
    from pfd_engine.flow.few_step_map import FewStepMap

    return FewStepMap(loaded, loaded.denoise.sampler, student_steps)  # type: ignore[attr-defined]


def save_denoiser(
    folder: Path,
    network: nn.Module,
    config: OwnConfig,
    *,
    card: str | None = None,
    training_set: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder in one step: `folder` afterwards holds all of the new files, or is as it was.

    `network` is of the family, options and shape that `config` states; `training_set` becomes training_set.json and `card`
    README.md. An existing checkpoint folder is replaced. Raises RunError where the disk refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = folder.absolute()
    parameters = {name: value.detach().cpu().float().contiguous() for name, value in network.state_dict().items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            _write_text(new / CONFIG_FILE, json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
            save_file(parameters, new / OWN_WEIGHTS)
            if training_set is not None:
                _write_text(new / TRAINING_SET_FILE, json.dumps(training_set, indent=2) + "\n")
            if card is not None:
                _write_text(new / CARD_FILE, card)
            if folder.exists():
                _check_replaceable(folder)
                folder.rename(Path(temporary) / "old")
            new.rename(folder)
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        reason = error.strerror if isinstance(error, OSError) else "the disk may be full"
        raise RunError(f"the checkpoint {folder.name} cannot be written ({reason}): free space or choose another folder") from None


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that is neither empty nor a checkpoint, so that a mistyped path costs nothing."""
    if any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file():
        raise RunError(f"{folder.name} exists and is no checkpoint: choose another folder, or empty this one")


def _check_file_size(snapshot: Snapshot, config: OwnConfig) -> None:
    """Refuse weights that cannot belong to the config, before memory is spent on either."""
    low, high = 2 * config.num_parameters, 8 * config.num_parameters + 2**20
    size = sum(path.stat().st_size for path in snapshot.weight_paths)
    if not low <= size <= high:
        raise CheckpointError(
            f"{OWN_WEIGHTS} has {size:,} bytes but config.json describes {config.num_parameters:,} parameters: "
            "the file is truncated or belongs to another model"
        )


def _pinned(snapshot: Snapshot) -> str:
    """The snapshot's own reference, pinned to its commit on the Hub: its folder also describes the training set."""
    return snapshot.reference if snapshot.repo_type == "folder" else f"{snapshot.reference}@{snapshot.revision}"


def _reason(error: Exception, inside: str = "") -> str:
    if not isinstance(error, ValidationError):
        return "its values are out of range"
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in (inside, *first["loc"]) if part != "")
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "value_error" and where == "network":
        return message
    given = repr(first["input"])
    given = given if len(given) <= 60 else f"{given[:60]}..."
    return f"{where} is {given}, {message}" if where else message
