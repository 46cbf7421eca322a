"""Descriptors Psi: what two end points are compared by. One descriptor is one module of this package, its name the module's.

A module offers `load(device, file, sha256, allow_torchscript) -> Descriptor` (see `pixel.py`); forms and command line then know it. Only
`pixel`, the identity, makes PFD a metric; the others compare what their network sees. Importing this package imports no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfd_engine.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Descriptor:
    """Psi: `descriptor(images) -> features`, `(B, *sample_shape)` to `(B, D)`; `sha256` is that of its weights (None: it has none)."""

    name: str
    features: Callable[[Tensor], Tensor]
    sha256: str | None = None

    def __call__(self, images: Tensor) -> Tensor:
        return self.features(images)


def descriptor_names() -> list[str]:
    """Return the names of all descriptors, `pixel` first. No descriptor is imported."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return sorted(names, key=lambda name: name != "pixel")


def load_descriptor(
    name: str,
    device: torch.device | str = "cpu",
    file: str | None = None,
    sha256: str | None = None,
    allow_torchscript: bool = False,
) -> Descriptor:
    """Load a descriptor by name; raises InputError for an unknown one or for weights that are missing or not the ones named."""
    if name not in descriptor_names():
        raise InputError(f"descriptor is {name!r}: choose one of {', '.join(descriptor_names())}", "descriptor")
    module = importlib.import_module(f"{__name__}.{name}")
    descriptor: Descriptor = module.load(device, file, sha256, allow_torchscript)
    return descriptor
