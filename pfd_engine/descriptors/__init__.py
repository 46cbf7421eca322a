"""Descriptors Psi: what two end points are compared by. One descriptor is one module of this package, its name the module's.

A module offers `load(device, file=None, sha256=None, allow_torchscript=False) -> Descriptor`. Only `pixel` (the identity) makes
PFD a metric; the others compare what their network sees.
"""

from __future__ import annotations

import pkgutil


def descriptor_names() -> list[str]:
    """Return the names of all descriptors, `pixel` first. No descriptor is imported."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return sorted(names, key=lambda name: name != "pixel")
