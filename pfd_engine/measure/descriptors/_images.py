"""What image networks share: end points in [-1, 1] to the normalized RGB squares that they were trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from pfd_engine.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_network_input(images: Tensor, size: int) -> Tensor:
    """Return images `(B, 1 or 3, H, W)` in [-1, 1] as `(B, 3, size, size)`, ImageNet-normalized; values beyond [-1, 1] are clipped."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"the samples are {tuple(images.shape[1:])}: an image descriptor needs (1 or 3, H, W); choose pixel", "descriptor")
    rgb = images.clamp(-1, 1).add(1).div(2).expand(-1, 3, -1, -1)
    resized = torch.nn.functional.interpolate(rgb, (size, size), mode="bicubic", antialias=True, align_corners=False)
    mean, std = (torch.tensor(v, device=images.device, dtype=images.dtype).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (resized.clamp(0, 1) - mean) / std
