"""Weights from safetensors into a network: complete, finite, of the expected shapes, or one sentence."""

from __future__ import annotations

from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pfd_engine.hub.layout import CheckpointError, not_finite
from pfd_engine.hub.snapshot import Snapshot

Network = TypeVar("Network", bound=nn.Module)

# Attention blocks written before diffusers 0.18 name their four projections so.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def load_weights(network: Network, snapshot: Snapshot, device: str | torch.device) -> Network:
    """Fill a network, built on the meta device or the CPU, with the snapshot's weights, as float32 on `device`.

    Returns it in evaluation mode with gradients off. Raises CheckpointError for a truncated or corrupted file, for missing,
    unexpected or misshapen tensors and for NaN or infinite values; shapes are checked before anything is read.
    """
    expected = network.state_dict()
    state: dict[str, Tensor] = {}
    for path in snapshot.weight_paths:
        try:
            with safe_open(path, framework="pt") as file:
                names = {name: _renamed(name, expected) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
                for stored, name in names.items():
                    _check_shape(name, tuple(file.get_slice(stored).get_shape()), expected, snapshot)
                for stored, name in names.items():
                    # A copy: the file's own memory map is unaligned, which moves the last digits, and changes with the file.
                    state[name] = _checked(name, file.get_tensor(stored), snapshot).to(device, torch.float32, copy=True)
        except (SafetensorError, OSError, ValueError, KeyError):
            raise CheckpointError(
                f"{snapshot.reference} has weights in {path.name} that are truncated or corrupted: fetch or save them again"
            ) from None
    missing = expected.keys() - state.keys()
    if missing:
        raise CheckpointError(
            f"{snapshot.reference} lacks {len(missing)} of the {len(expected)} tensors that its configuration asks for "
            f"(first {min(missing)}): its weights and its config.json do not belong together"
        )
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False).to(device)


def _renamed(name: str, expected: dict[str, Tensor]) -> str:
    if name not in expected:
        for old, new in _OLD_NAMES.items():
            if name.replace(old, new) in expected:
                return name.replace(old, new)
    return name


def _check_shape(name: str, shape: tuple[int, ...], expected: dict[str, Tensor], snapshot: Snapshot) -> None:
    if name not in expected:
        raise CheckpointError(
            f"{snapshot.reference} has a tensor {name[:100]} that its configuration does not know: "
            "its weights and its config.json do not belong together"
        )
    if shape != tuple(expected[name].shape):
        raise CheckpointError(
            f"{snapshot.reference} has {name} of shape {list(shape)} but its configuration asks for "
            f"{list(expected[name].shape)}: its weights and its config.json do not belong together"
        )


def _checked(name: str, tensor: Tensor, snapshot: Snapshot) -> Tensor:
    if not tensor.is_floating_point():
        raise CheckpointError(f"{snapshot.reference} stores {name} as {tensor.dtype}: only floating-point weights are read")
    if not torch.isfinite(tensor).all():
        raise not_finite(snapshot.reference)
    return tensor
