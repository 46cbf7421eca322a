"""What a reference holds, before it is used: for the Checkpoints page and the forms. No weights are downloaded,
no torch imported; weights that lie here are looked through for NaN."""

from __future__ import annotations

import json
import struct
from math import prod
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from pfd_engine.adapters import family_of
from pfd_engine.adapters._description import Description
from pfd_engine.checkpoint_files import CheckpointError, not_finite
from pfd_engine.hub import resolve
from pfd_engine.snapshots import Snapshot

MAX_HEADER_BYTES, MAX_READ_BYTES = 64 * 2**20, 512 * 2**20
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
BF16_EXPONENT = np.uint16(0x7F80)  # all ones in NaN and the infinities, as in the upper half of a float32


class CheckpointInfo(BaseModel):
    """What is known of a checkpoint from its configuration and the header of its weights.

    `loadable` False comes with a `reason`, one sentence; then only what could be found out is set. `shape` is one sample's;
    `steps` a few-step model's own number of steps; `size_bytes` that of the weights; `training_set` a reference.
    """

    model_config = ConfigDict(frozen=True)

    reference: str
    revision: str | None = None
    family: str | None = None
    parameters: int | None = None
    shape: tuple[int, ...] | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    license: str | None = None
    loadable: bool = False
    reason: str | None = None
    steps: int | None = None
    size_bytes: int | None = None
    few_step: bool = False
    training_set: str | None = None
    weights: str | None = None
    metadata: dict[str, Any] = {}


def inspect(reference: str) -> CheckpointInfo:
    """Inspect a reference `owner/name[@revision]` or a folder.

    Never raises for a bad model: `loadable` is then False. Raises InputError for a malformed or unknown reference, for a
    repository without access, and where there is no network and nothing cached.
    """
    try:
        snapshot = resolve(reference, weights=False)
    except CheckpointError as error:
        return CheckpointInfo(reference=reference, revision=error.revision, license=error.license, reason=str(error))
    known: dict[str, Any] = {
        "reference": snapshot.reference,
        "revision": snapshot.revision,
        "license": snapshot.license,
        "weights": snapshot.layout.weights,
    }
    try:
        description: Description = family_of(snapshot).describe(snapshot)
        known |= {
            "family": description.family,
            "shape": description.shape,
            "sigma_min": description.sigma_min,
            "sigma_max": description.sigma_max,
            "license": description.license or snapshot.license,
            "steps": description.steps,
            "few_step": description.few_step,
            "training_set": description.training_set_reference,
            "weights": description.weights,
            "metadata": description.metadata,
        }
        parameters, size = _weigh(snapshot)
    except CheckpointError as error:
        return CheckpointInfo(**known, reason=str(error))
    return CheckpointInfo(**known, parameters=parameters, size_bytes=size, loadable=True)


def _weigh(snapshot: Snapshot) -> tuple[int, int]:
    """Return the number of parameters and bytes that the weights' headers state; raises CheckpointError for a damaged one."""
    parameters = size = 0
    for name in snapshot.layout.weight_files:
        header, length, total = _header(snapshot, name)
        try:
            tensors = [entry for key, entry in header.items() if key != "__metadata__"]
            end = max((entry["data_offsets"][1] for entry in tensors), default=0)
            parameters += sum(prod(entry["shape"]) for entry in tensors)
        except (KeyError, IndexError, TypeError):
            raise _damaged(snapshot, name) from None
        if not tensors or total not in (8 + length + end, None):
            raise _damaged(snapshot, name)
        _check_finite(snapshot, name, tensors, 8 + length)
        size += 8 + length + end
    return parameters, size


def _check_finite(snapshot: Snapshot, name: str, tensors: list[dict[str, Any]], start: int) -> None:
    """Raise CheckpointError for NaN or infinite values in a file that lies here and is small enough to be read in a moment."""
    path = snapshot.path / name
    if not path.is_file() or path.stat().st_size > MAX_READ_BYTES:
        return
    content = np.memmap(path, np.uint8, "r")
    for entry in tensors:
        try:
            low, high = (start + offset for offset in entry["data_offsets"])
            if entry["dtype"] == "BF16":
                finite = bool((content[low:high].view("<u2") & BF16_EXPONENT != BF16_EXPONENT).all())
            else:
                finite = entry["dtype"] not in FLOATS or bool(np.isfinite(content[low:high].view(FLOATS[entry["dtype"]])).all())
        except (KeyError, TypeError, ValueError):
            raise _damaged(snapshot, name) from None
        if not finite:
            raise not_finite(snapshot.reference)


def _header(snapshot: Snapshot, name: str) -> tuple[dict[str, Any], int, int | None]:
    """Return a safetensors file's header, the header's length in bytes and, where it is known, the file's."""
    path = snapshot.path / name
    total: int | None
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(8)
            start += file.read(_end_of_header(start) - 8)
        total = path.stat().st_size
    else:
        from pfd_engine.hub_download import read_start

        start, total = read_start(snapshot, name, _end_of_header)
    end = _end_of_header(start)
    try:
        header = json.loads(start[8:end])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or len(start) < end:
        raise _damaged(snapshot, name)
    return header, end - 8, total


def _end_of_header(start: bytes) -> int:
    """Return where the header ends, given the file's first bytes: a safetensors file begins with its header's length."""
    return 8 + min(struct.unpack("<Q", start[:8])[0], MAX_HEADER_BYTES) if len(start) >= 8 else 8


def _damaged(snapshot: Snapshot, name: str) -> CheckpointError:
    return CheckpointError(f"{snapshot.reference} has weights in {name} that are truncated or corrupted: save or upload them again")
