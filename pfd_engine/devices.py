"""Which device computes: the one place that asks torch what this machine has."""

from __future__ import annotations

import torch

from pfd_engine.errors import InputError


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device for `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises InputError where this machine lacks it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    if found.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"device is {device} but this machine has no usable CUDA GPU: choose cpu or auto", "device")
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise InputError(
                f"device is {device} but this machine has {torch.cuda.device_count()} GPUs, numbered from 0: choose one of them",
                "device",
            )
    return found
