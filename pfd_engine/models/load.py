"""From a reference to a denoiser or a map: the one way in for every model family."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from pfd_engine.devices import resolve_device
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Sigma
from pfd_engine.flow.maps import FlowMap, SolverMap, hash_of
from pfd_engine.flow.outside_range import InsideRange
from pfd_engine.hub.layout import CheckpointError, no_teacher
from pfd_engine.hub.resolve import resolve
from pfd_engine.hub.snapshot import Report, Snapshot, file_sha256, forget_hashes
from pfd_engine.models.description import Description
from pfd_engine.models.families import ADAPTER_VERSION, Family, family_of

Denoise = Callable[[Tensor, Sigma], Tensor]
T = TypeVar("T")
LOADS = 2


class LoadedDenoiser:
    """A checkpoint in memory: `denoiser(x, sigma, condition=None) -> x0` in EDM coordinates, with everything known about it.

    `denoise(x, sigma)` is the family's conversion around its network. Attributes: `reference` (as given, without the
    revision), `revision`, `family`, `shape`, `sigma_min`, `sigma_max`, `num_parameters`, `weights` (which of the published
    weights: `ema`, `raw` or `as published`), `license`, `metadata`, `training_set_reference`, `device`, `few_step`, `steps` and
    `content_key`, which changes with the weights, the configuration, the choice of weights, the dtype and the adapter.
    """

    def __init__(
        self,
        denoise: Denoise,
        snapshot: Snapshot,
        description: Description,
        num_parameters: int,
        device: str | torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.denoise = denoise
        self.reference = snapshot.reference
        self.revision = snapshot.revision
        self.family = description.family
        self.shape = tuple(description.shape)
        self.sigma_min = description.sigma_min
        self.sigma_max = description.sigma_max
        self.num_parameters = num_parameters
        self.weights = description.weights
        self.license = description.license or snapshot.license
        self.metadata = dict(description.metadata)
        self.training_set_reference = description.training_set_reference
        self.few_step = description.few_step
        self.steps = description.steps
        self.device = torch.device(device)
        self.content_key = content_key(snapshot, description, dtype)

    def __call__(self, x: Tensor, sigma: Sigma, condition: Any = None) -> Tensor:
        return self.denoise(x, sigma)


def content_key(snapshot: Snapshot, description: Description, dtype: torch.dtype = torch.float32) -> str:
    """Return the hash of everything that could move a checkpoint's output: weights, configuration, which weights, dtype, adapter."""
    layout = snapshot.layout
    configs = [name for name in layout.json_files if Path(name).name in ("config.json", "scheduler_config.json")]
    files = {name: file_sha256(snapshot.path / name) for name in (*configs, *layout.weight_files)}
    return hash_of("checkpoint", ADAPTER_VERSION, description.family, description.weights, str(dtype), files)


def load_denoiser(reference: str | os.PathLike[str], device: str = "cpu", report: Report | None = None) -> LoadedDenoiser:
    """Load a checkpoint that denoises: a Hub repository `owner/name[@revision]` or a folder.

    Raises InputError with one sentence: see `hub.resolve` for what may be wrong with the reference; besides, a device that
    this machine lacks, a kind of model that is not supported, damaged weights, and consistency models, which are maps.
    A folder that is saved anew meanwhile is loaded once more, with a warning to `report`.
    """
    target = str(resolve_device(device))

    def load() -> LoadedDenoiser:
        family, description, snapshot = _checked(reference, report)
        if description.few_step:
            raise no_teacher(snapshot.reference)
        return _load(family, description, snapshot, target, report)

    return _unchanged(load, reference, report)


def load_map(
    reference: str | os.PathLike[str],
    device: str = "cpu",
    solver: str = "heun",
    steps: int = 18,
    student_steps: int | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    report: Report | None = None,
) -> FlowMap:
    """Load any checkpoint as a map: PF-ODE models with the solver given, few-step models with their own sampler.

    `student_steps` belongs to few-step models (None: what their configuration says); for these `sigma_max` is the model's own,
    and asking for another is an error. Raises InputError as `load_denoiser` does.
    """
    target = str(resolve_device(device))

    def load() -> tuple[Family, Description, LoadedDenoiser]:
        family, description, snapshot = _checked(reference, report)
        _check_options(snapshot, description, student_steps, sigma_min, sigma_max)
        return family, description, _load(family, description, snapshot, target, report)

    family, description, loaded = _unchanged(load, reference, report)
    if not description.few_step:
        return SolverMap(loaded, solver, steps, sigma_min, sigma_max, device=target)
    make_map: Callable[[LoadedDenoiser, int | None], FlowMap] = family.make_map  # type: ignore[attr-defined]
    return make_map(loaded, student_steps)


def _check_options(
    snapshot: Snapshot, description: Description, student_steps: int | None, sigma_min: float | None, sigma_max: float | None
) -> None:
    """Raise InputError where an option does not belong to this kind of model."""
    if not description.few_step:
        if student_steps is not None:
            raise InputError(
                f"{snapshot.reference} follows the probability flow ODE and has no steps of its own: leave out student_steps",
                "student_steps",
            )
        return
    for name, value, own in (("sigma_min", sigma_min, description.sigma_min), ("sigma_max", sigma_max, description.sigma_max)):
        if value is not None and abs(value - own) > 1e-6 * own:
            raise InputError(f"{name} is {value:g} but {snapshot.reference} is a few-step map fixed at {own:g}: leave {name} out", name)


class _ChangedMeanwhile(Exception):
    """The files of a checkpoint are not those that were hashed before they were loaded."""


def _unchanged(load: Callable[[], T], reference: str | os.PathLike[str], report: Report | None) -> T:
    """Load a checkpoint, and once more where its files changed meanwhile; raises CheckpointError where they keep changing."""
    for _ in range(LOADS):
        try:
            return load()
        except _ChangedMeanwhile:
            forget_hashes()
            if report is not None:
                report({"type": "warning", "message": f"{reference} was saved anew while it was loaded: it is loaded again"})
    raise CheckpointError(f"{reference} changes while it is loaded: wait until it is saved, and start again")


def _load(family: Family, description: Description, snapshot: Snapshot, device: str, report: Report | None) -> LoadedDenoiser:
    """Hash a checkpoint's files, load them and hash them again, so that what was loaded is what its revision and key name."""
    pinned = _with_weights(snapshot, report)
    try:
        before, key = pinned.fingerprint(), content_key(pinned, description)
    except FileNotFoundError:
        raise _ChangedMeanwhile from None
    if pinned.repo_type == "folder" and pinned.revision != f"sha256:{before}":
        raise _ChangedMeanwhile
    if damaged := pinned.damaged_files():
        raise CheckpointError(
            f"{pinned.reference} has a file in the Hub's cache that does not match its sha256: remove {damaged[0].name} there, and start "
            "again to download it anew"
        )
    try:
        loaded = family.load(pinned, device)
    except CheckpointError:
        if _is_still(pinned, before):
            raise
        raise _ChangedMeanwhile from None
    if not _is_still(pinned, before):
        raise _ChangedMeanwhile
    loaded.content_key = key
    return loaded


def _is_still(snapshot: Snapshot, fingerprint: str) -> bool:
    try:
        return snapshot.fingerprint(anew=True) == fingerprint
    except FileNotFoundError:
        return False


def _checked(reference: str | os.PathLike[str], report: Report | None) -> tuple[Family, Description, Snapshot]:
    """Fetch the configuration alone and check it: an unusable checkpoint is refused before its weights come down."""
    snapshot = resolve(reference, weights=False, report=report)
    family = family_of(snapshot)
    return family, family.describe(snapshot), snapshot


def _with_weights(snapshot: Snapshot, report: Report | None) -> Snapshot:
    """Fetch the weights of the very commit whose configuration was checked."""
    if snapshot.repo_type == "folder":
        return snapshot
    return resolve(f"{snapshot.reference}@{snapshot.revision}", report=report)


def map_model(flow_map: object) -> Any:
    """Return the loaded checkpoint behind a map: a solver map's denoiser (a diagnostic map's student), a few-step map's `model`."""
    found = getattr(flow_map, "denoiser", None) or getattr(flow_map, "model", None)
    return found.student if isinstance(found, InsideRange) else found
