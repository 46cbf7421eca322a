"""Adapters: one small module a model family turns its checkpoints into denoisers or maps. Importing this package is cheap.

A family is a module of this package listed in `FAMILIES`. At module level it imports neither torch nor diffusers, so that
the Checkpoints page can describe a checkpoint without them; it offers

- `matches(path, config) -> bool`: whether the checkpoint is of this family. `path` is the root folder of its files, `config`
  the JSON object that tells: our own `config.json`, or the diffusers `scheduler_config.json`.
- `describe(snapshot) -> Description`: check every configuration file, without reading weights or importing torch; raises
  CheckpointError with one sentence.
- `load(snapshot, device) -> LoadedDenoiser`: check again, read the weights and return the denoiser on `device`.
- few-step families also `make_map(loaded, student_steps) -> FlowMap`.

To add a family, copy `rectified_flow.py`, the smallest, and add its name here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from pfd_engine.hub.layout import CheckpointError, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from pfd_engine.hub.snapshot import Snapshot
    from pfd_engine.models.description import Description
    from pfd_engine.models.load import LoadedDenoiser, load_denoiser, load_map, map_model

ADAPTER_VERSION = 1
FAMILIES = ("own", "vp", "edm", "score_sde_ve", "rectified_flow", "consistency")

__all__ = ["ADAPTER_VERSION", "FAMILIES", "Family", "LoadedDenoiser", "family_of", "load_denoiser", "load_map", "map_model"]


class Family(Protocol):
    """What a family's module offers."""

    def matches(self, path: Path, config: dict[str, Any]) -> bool: ...

    def describe(self, snapshot: Snapshot) -> Description: ...

    def load(self, snapshot: Snapshot, device: str) -> LoadedDenoiser: ...


def family_of(snapshot: Snapshot) -> Family:
    """Return the family of a downloaded checkpoint; raises CheckpointError where none knows it. No torch is imported."""
    layout = snapshot.layout
    name = layout.scheduler_config or layout.network_config
    config = read_json(snapshot.path / name)
    for family in FAMILIES:
        module = importlib.import_module(f"pfd_engine.models.families.{family}")
        if module.matches(snapshot.path, config):
            return cast(Family, module)
    if layout.scheduler_config is None and config.get("_class_name") == "UNet2DModel":
        raise CheckpointError(
            f"{snapshot.reference} has a U-Net without a scheduler configuration: add scheduler/scheduler_config.json, "
            "which says what the network predicts"
        )
    if layout.scheduler_config is None:
        kind = str(config.get("_class_name") or config.get("architectures") or config.get("format") or "an unknown kind")[:80]
        raise CheckpointError(
            f"{snapshot.reference} holds a model of {kind}: only unconditional diffusers U-Nets and our own small denoisers are read"
        )
    scheduler = str(config.get("_class_name"))[:80]
    raise CheckpointError(
        f"{snapshot.reference} has the scheduler {scheduler}, which no adapter knows: "
        "use DDPM, DDIM, PNDM, Euler, DPM-Solver, EDM, ScoreSdeVe, flow-matching or consistency checkpoints"
    )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("pfd_engine.models.load"), name)
