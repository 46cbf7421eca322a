"""Which files of a repository or folder make up a checkpoint, decided by their names alone, and how its JSON is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfd_engine.errors import InputError

MAX_JSON_BYTES = 2**20
CONFIGURATIONS = frozenset({"model_index.json", "config.json", "scheduler_config.json", "training_set.json"})

OWN_WEIGHTS = "model.safetensors"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".h5", ".msgpack")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors")


class CheckpointError(InputError):
    """The reference was found, but what it holds cannot be used as a checkpoint; `revision` and `license` where known."""

    revision: str | None = None
    license: str | None = None


def not_finite(reference: str) -> CheckpointError:
    """Return the refusal of weights that are not all finite."""
    return CheckpointError(f"{reference} has NaN or infinite weights: choose an intact checkpoint")


def too_large(name: str) -> CheckpointError:
    """Return the refusal of a JSON file that is larger than any configuration."""
    return CheckpointError(f"{name} is larger than {MAX_JSON_BYTES // 2**20} MiB: no configuration is that large")


def no_teacher(reference: str) -> CheckpointError:
    """Return the refusal of a few-step map where a denoiser is needed."""
    return CheckpointError(f"{reference} is a few-step map, which has no denoiser to follow: use it as a student, against a PF-ODE teacher")


@dataclass(frozen=True)
class Layout:
    """The files of one checkpoint, by their names relative to its root.

    `network_folder` holds the network's config and weights ("" is the root); `weights` says which of several published
    weights they are: `ema` (averaged), `raw`, or `as published` where the names do not tell.
    """

    network_folder: str
    json_files: tuple[str, ...]
    weight_files: tuple[str, ...]
    weights: str

    @property
    def network_config(self) -> str:
        return _join(self.network_folder, "config.json")

    @property
    def scheduler_config(self) -> str | None:
        return next((name for name in self.json_files if Path(name).name == "scheduler_config.json"), None)


def choose_files(names: Iterable[str], what: str) -> Layout:
    """Choose the files of the checkpoint called `what` (for messages) among `names`.

    Averaged weights are preferred: a folder `unet_ema`, then a variant `.ema`. Half-precision and non-averaged variants are
    taken only where there is nothing else, and never beside the chosen ones. Raises CheckpointError where there is no
    config.json, where only pickled weights exist, or where shards are missing.
    """
    available = set(names)
    folder = next(
        (f for f in ("unet_ema", "unet", "") if _join(f, "config.json") in available and _weights_in(f, available)),
        None,
    )
    if folder is None:
        raise CheckpointError(_why_not(available, what))
    files, weights = _weights_in(folder, available) or ((), "")
    wanted = (
        "model_index.json",
        _join(folder, "config.json"),
        "scheduler/scheduler_config.json",
        "scheduler_config.json",
        "training_set.json",
    )
    json_files = [name for name in wanted if name in available]
    if "scheduler/scheduler_config.json" in json_files and "scheduler_config.json" in json_files:
        json_files.remove("scheduler_config.json")
    _check_shards(files, what)
    return Layout(folder, tuple(json_files), files, "ema" if folder == "unet_ema" else weights)


def _weights_in(folder: str, available: set[str]) -> tuple[tuple[str, ...], str] | None:
    """Return the weight files of one folder and what they are, or None."""
    own = _join(folder, OWN_WEIGHTS)
    if not folder and own in available and _join("", f"{DIFFUSERS_WEIGHTS}.safetensors") not in available:
        return (own,), "as published"
    has_raw = any(name.startswith(_join(folder, f"{DIFFUSERS_WEIGHTS}.non_ema")) for name in available)
    for variant, label in ((".ema", "ema"), ("", "ema" if has_raw else "as published"), (".fp16", "as published, fp16")):
        stem = _join(folder, DIFFUSERS_WEIGHTS + variant)
        if f"{stem}.safetensors" in available:
            return (f"{stem}.safetensors",), label
        shards = sorted(name for name in available if name.startswith(stem + "-") and _SHARD.fullmatch(name[len(stem) :]))
        if shards:
            return tuple(shards), label
    raw = _join(folder, f"{DIFFUSERS_WEIGHTS}.non_ema.safetensors")
    return ((raw,), "raw") if raw in available else None


def _check_shards(files: tuple[str, ...], what: str) -> None:
    match = _SHARD.search(files[0])
    if match is not None and len(files) != int(match[2]):
        raise CheckpointError(f"{what} has {len(files)} of {int(match[2])} weight shards: publish all of them")


def _why_not(available: set[str], what: str) -> str:
    safetensors = [name for name in available if name.endswith(".safetensors")]
    pickles = sorted(name for name in available if name.endswith(_PICKLES))
    configs = {"config.json", "unet/config.json", "unet_ema/config.json", "model_index.json"} & available
    if "transformer/config.json" in available:
        return f"{what} holds a transformer pipeline: only unconditional U-Nets in pixel space and our own small denoisers are read"
    if not configs:
        return f"{what} has no config.json or model_index.json, so its kind is unknown: name a diffusers or PFD checkpoint"
    if pickles and not safetensors:
        return (
            f"{what} has only pickled weights ({pickles[0]}), which can run code when read: convert them to safetensors and publish those"
        )
    if not safetensors:
        return f"{what} has no safetensors weights: add {DIFFUSERS_WEIGHTS}.safetensors or {OWN_WEIGHTS}"
    return f"{what} has no network config.json beside its weights: add it at the root or in unet/"


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object; raises CheckpointError with one sentence for what is missing, huge or malformed."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise too_large(path.name)
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing: add it to the checkpoint") from None
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{path.name} is not readable JSON: repair or replace it") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} is no JSON object: repair or replace it")
    return value


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
