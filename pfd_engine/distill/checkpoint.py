"""Everything that the next training step depends on, in one file: networks, optimizers, generators and plain values.

A file says whose state it is and carries a digest of all that it holds: one that is damaged, or of another training, is not taken.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from pfd_engine.runs.events import sync_folder


def save_state(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any], identity: str = "") -> None:
    """Write tensors and JSON values as safetensors; a crash leaves the old file or the new one. Raises OSError where the disk refuses.

    `identity` names the training: its configuration and its students.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        about = {"values": json.dumps(values), "identity": identity}
        content = to_bytes(kept, about | {"sha256": _digest(kept, about)})
        with temporary.open("wb") as file:  # not by safetensors itself, whose error for a full disk is no OSError
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def load_state(path: Path, identity: str = "") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_state` wrote for this training; None where there is nothing, or not the very bytes that were written."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            about = dict(file.metadata() or {})
        if about.pop("sha256", None) != _digest(tensors, about) or about.get("identity") != identity:
            return None
        values = json.loads(about["values"])
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    return (tensors, values) if isinstance(values, dict) else None


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Return the sha256 over every tensor's name, dtype, shape and bytes, and over what is said about them."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def network_state(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights under names that start with `name`."""
    return {f"{name}.{key}": value for key, value in network.state_dict().items()}


def restore_network(name: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `network_state` returned; raises KeyError or RuntimeError where it does not fit."""
    network.load_state_dict({key: tensors[f"{name}.{key}"] for key in network.state_dict()})


def optimizer_state(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments and counters of every parameter under names that start with `name`."""
    state = optimizer.state_dict()["state"]
    return {f"{name}.{index}.{key}": value for index, moments in state.items() for key, value in moments.items()}


def restore_optimizer(name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_state` returned into an optimizer that has just been made for the same parameters."""
    found: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        if full.startswith(f"{name}."):
            index, key = full[len(name) + 1 :].split(".", 1)
            found.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})
