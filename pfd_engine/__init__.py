"""Probability flow distance between diffusion models: the engine behind the dashboard.

Names are imported when first used, so that `import pfd_engine` costs nothing and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "noise": "noise_bank",
    "flow_map": "flow_maps",
    "FlowMap": "flow_maps",
    "SolverMap": "flow_maps",
    "Denoiser": "denoisers",
    "GaussianDenoiser": "denoisers",
    "MixtureDenoiser": "denoisers",
    "EmpiricalDenoiser": "empirical",
    "load_denoiser": "adapters",
    "load_map": "adapters",
    "probability_flow_distance": "distance",
    "PFDEstimate": "distance",
    "bias_variance": "decomposition",
    "BiasVariance": "decomposition",
    "EvaluateConfig": "config",
    "InputError": "errors",
    "PFDError": "errors",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pfd_engine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pfd_engine.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
