"""What a reference holds, before it is used: for the Checkpoints page and the forms. No weights are downloaded,
no torch imported; weights that lie here are looked through for NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from pfd_engine.hub.layout import CheckpointError, not_finite
from pfd_engine.hub.resolve import resolve
from pfd_engine.hub.safetensors_header import MAX_HEADER_BYTES, HeaderError, StoredTensor, end_of_header, parse, stated_length
from pfd_engine.hub.snapshot import Snapshot
from pfd_engine.models.description import Description
from pfd_engine.models.families import family_of

MAX_READ_BYTES = 512 * 2**20
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
        start, total = _start(snapshot, name)
        length = stated_length(start)
        if length is not None and MAX_HEADER_BYTES < length < (total or 0):
            raise CheckpointError(
                f"{snapshot.reference} has weights in {name} with a header of {length / 2**20:.0f} MiB, but at most "
                f"{MAX_HEADER_BYTES // 2**20} MiB are read: save them in fewer tensors, or in several files"
            )
        try:
            tensors = parse(start)
        except HeaderError:
            raise _damaged(snapshot, name) from None
        whole = end_of_header(start) + tensors[-1].stop
        if total not in (whole, None):
            raise _damaged(snapshot, name)
        _check_finite(snapshot, name, tensors, end_of_header(start))
        parameters += sum(tensor.parameters for tensor in tensors)
        size += whole
    return parameters, size


def _check_finite(snapshot: Snapshot, name: str, tensors: list[StoredTensor], start: int) -> None:
    """Raise CheckpointError for NaN or infinite values in a file that lies here and is small enough to be read in a moment."""
    path = snapshot.path / name
    if not path.is_file() or path.stat().st_size > MAX_READ_BYTES:
        return
    content = np.memmap(path, np.uint8, "r")
    for tensor in tensors:
        values = content[start + tensor.start : start + tensor.stop]
        if tensor.dtype == "BF16":
            finite = bool((values.view("<u2") & BF16_EXPONENT != BF16_EXPONENT).all())
        else:
            finite = tensor.dtype not in FLOATS or bool(np.isfinite(values.view(FLOATS[tensor.dtype])).all())
        if not finite:
            raise not_finite(snapshot.reference)


def _start(snapshot: Snapshot, name: str) -> tuple[bytes | bytearray, int | None]:
    """Return a safetensors file's first bytes up to the end of its header, and its size where it is known."""
    path = snapshot.path / name
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(8)
            start += file.read(end_of_header(start) - 8)
        return start, path.stat().st_size
    from pfd_engine.hub.download import read_start

    return read_start(snapshot, name, end_of_header)


def _damaged(snapshot: Snapshot, name: str) -> CheckpointError:
    return CheckpointError(f"{snapshot.reference} has weights in {name} that are truncated or corrupted: save or upload them again")
