"""The identity: PFD over pixels, the only descriptor here under which it is a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfd_engine.measure.descriptors import Descriptor

if TYPE_CHECKING:
    import torch


def load(device: torch.device | str, file: str | None, sha256: str | None, allow_torchscript: bool) -> Descriptor:
    """Return the identity, flattened to `(B, C * H * W)`; it has no weights and needs none of the arguments."""
    return Descriptor("pixel", lambda images: images.flatten(1))
