"""Variance-preserving diffusion (DDPM and its samplers): epsilon, v or sample prediction over discrete timesteps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pfd_engine.hub.layout import CheckpointError, read_json
from pfd_engine.models import schedules as _schedules
from pfd_engine.models.description import Description
from pfd_engine.models.networks.unet_config import UNetConfig, build_unet, read_unet, validated

if TYPE_CHECKING:
    from torch import Tensor

    from pfd_engine.flow.denoisers import Sigma
    from pfd_engine.hub.snapshot import Snapshot
    from pfd_engine.models.load import LoadedDenoiser

# Each scheduler with the betas that it takes where its configuration states none.
_DEFAULT_BETAS = {
    **dict.fromkeys(
        (
            "DDPMScheduler",
            "DDPMParallelScheduler",
            "DDIMScheduler",
            "DDIMParallelScheduler",
            "PNDMScheduler",
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "DEISMultistepScheduler",
            "UniPCMultistepScheduler",
            "LMSDiscreteScheduler",
        ),
        (0.0001, 0.02),
    ),
    **dict.fromkeys(("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"), (0.00085, 0.012)),
}

Beta = Annotated[float, Field(ge=0, le=1)]


class Scheduler(BaseModel):
    """What a scheduler's configuration says about the model, as opposed to about a sampler."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    num_train_timesteps: Annotated[int, Field(ge=2, le=100_000)] = 1000
    beta_start: Beta
    beta_end: Beta
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: Annotated[tuple[Beta, ...], Field(min_length=2, max_length=100_000, fail_fast=True)] | None = None
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    variance_type: str | None = None
    timestep_type: Literal["discrete"] = "discrete"
    use_flow_sigmas: Literal[False] = False

    def table(self) -> tuple[_schedules.FloatArray, _schedules.FloatArray]:
        """Return the timesteps of finite noise and their sigmas, both ascending."""
        betas = _schedules.betas(self.beta_schedule, self.beta_start, self.beta_end, self.num_train_timesteps, self.trained_betas)
        return _schedules.finite_sigmas(_schedules.alphas_cumprod(betas, self.rescale_betas_zero_snr))


def matches(path: Path, config: dict[str, Any]) -> bool:
    """Tell this family by its scheduler's class."""
    return config.get("_class_name") in _DEFAULT_BETAS


def describe(snapshot: Snapshot) -> Description:
    """Check the configuration; see `adapters`."""
    unet, scheduler = _read(snapshot)
    _, sigmas = scheduler.table()
    return Description("vp", unet.shape, float(sigmas[0]), float(sigmas[-1]), snapshot.layout.weights)


def load(snapshot: Snapshot, device: str) -> LoadedDenoiser:
    """Read the weights; see `adapters`."""
    from pfd_engine.models.load import LoadedDenoiser
    from pfd_engine.models.networks.unet_call import UNetCall

    unet, scheduler = _read(snapshot)
    network = UNetCall(build_unet(unet, snapshot, device), unet.in_channels)
    denoise = VPConversion(network, scheduler)
    return LoadedDenoiser(denoise, snapshot, describe(snapshot), network.num_parameters, device)


def _read(snapshot: Snapshot) -> tuple[UNetConfig, Scheduler]:
    name = snapshot.layout.scheduler_config or ""
    values = read_json(snapshot.path / name)
    start, end = _DEFAULT_BETAS[values["_class_name"]]
    scheduler = validated(Scheduler, {"beta_start": start, "beta_end": end, **values}, snapshot.reference, name)
    if scheduler.trained_betas is None and not scheduler.beta_start <= scheduler.beta_end:
        raise CheckpointError(f"{snapshot.reference} has an unusable {name}: beta_start is above beta_end")
    return read_unet(snapshot, outputs_per_channel=(1, 2)), scheduler


class VPConversion:
    """`network(x_vp, t)` over discrete timesteps as a denoiser in EDM coordinates (MATH.md, section 1).

    The network sees `sqrt(abar) x` with `abar = 1 / (1 + sigma^2)` at the sigma asked for, and the timestep t(sigma) that
    interpolates ln(sigma) over the model's timesteps (a float). Its estimate is not clipped, whatever the sampler's
    `clip_sample` says: the probability flow belongs to the network.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], scheduler: Scheduler) -> None:
        self.network = network
        self.prediction_type = scheduler.prediction_type
        self.timesteps, sigmas = scheduler.table()
        self.log_sigmas = np.log(sigmas)

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        from pfd_engine.flow.denoisers import noise_level, scaled
        from pfd_engine.models.networks.unet_call import network_time

        sigma = noise_level(sigma, x)
        root_abar = (1 + sigma**2) ** -0.5
        output = self.network(scaled(root_abar, x), network_time(self.timestep(sigma), x))
        if self.prediction_type == "epsilon":
            return x - scaled(sigma, output)
        if self.prediction_type == "v_prediction":
            return scaled(root_abar**2, x) - scaled(sigma * root_abar, output)
        return output

    def timestep(self, sigma: Sigma) -> Sigma:
        """Return the float timestep of each sigma, by interpolation of ln(sigma); beyond the model's range its ends."""
        import torch

        if not isinstance(sigma, torch.Tensor):
            return float(np.interp(np.log(sigma), self.log_sigmas, self.timesteps))
        return torch.as_tensor(np.interp(np.log(sigma.cpu().numpy()), self.log_sigmas, self.timesteps))
