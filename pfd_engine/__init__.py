"""Probability flow distance between diffusion models: the engine behind the dashboard.

Names are imported when first used, so that `import pfd_engine` costs nothing and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "noise": "flow.noise",
    "flow_map": "flow.maps",
    "FlowMap": "flow.maps",
    "SolverMap": "flow.maps",
    "Denoiser": "flow.denoisers",
    "GaussianDenoiser": "flow.denoisers",
    "MixtureDenoiser": "flow.denoisers",
    "EmpiricalDenoiser": "flow.empirical",
    "load_denoiser": "models.families",
    "load_map": "models.families",
    "probability_flow_distance": "measure.pfd",
    "PFDEstimate": "measure.pfd",
    "bias_variance": "measure.bias_variance",
    "BiasVariance": "measure.bias_variance",
    "EvaluateConfig": "configs.evaluate",
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
