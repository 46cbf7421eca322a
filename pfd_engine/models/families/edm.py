"""EDM-preconditioned U-Nets: diffusers' EDMEuler and EDMDPMSolverMultistep schedulers (arXiv 2206.00364, table 1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pfd_engine.hub.layout import CheckpointError, read_json
from pfd_engine.models.description import Description
from pfd_engine.models.networks.unet_config import UNetConfig, build_unet, read_unet, validated

if TYPE_CHECKING:
    from torch import Tensor

    from pfd_engine.flow.denoisers import Sigma
    from pfd_engine.hub.snapshot import Snapshot
    from pfd_engine.models.load import LoadedDenoiser

SCHEDULERS = {"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"}

Level = Annotated[float, Field(gt=0, le=1e6)]


class Scheduler(BaseModel):
    """What the scheduler's configuration says about the model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sigma_min: Level = 0.002
    sigma_max: Level = 80.0
    sigma_data: Level = 0.5
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"


def matches(path: Path, config: dict[str, Any]) -> bool:
    """Tell this family by its scheduler's class."""
    return config.get("_class_name") in SCHEDULERS


def describe(snapshot: Snapshot) -> Description:
    """Check the configuration; see `adapters`."""
    unet, scheduler = _read(snapshot)
    return Description("edm", unet.shape, scheduler.sigma_min, scheduler.sigma_max, snapshot.layout.weights)


def load(snapshot: Snapshot, device: str) -> LoadedDenoiser:
    """Read the weights; see `adapters`."""
    from pfd_engine.models.load import LoadedDenoiser
    from pfd_engine.models.networks.unet_call import UNetCall

    unet, scheduler = _read(snapshot)
    network = UNetCall(build_unet(unet, snapshot, device), unet.in_channels)
    denoise = EDMConversion(network, scheduler)
    return LoadedDenoiser(denoise, snapshot, describe(snapshot), network.num_parameters, device)


def _read(snapshot: Snapshot) -> tuple[UNetConfig, Scheduler]:
    name = snapshot.layout.scheduler_config or ""
    scheduler = validated(Scheduler, read_json(snapshot.path / name), snapshot.reference, name)
    if not scheduler.sigma_min < scheduler.sigma_max:
        raise CheckpointError(f"{snapshot.reference} has an unusable {name}: sigma_min is not below sigma_max")
    return read_unet(snapshot), scheduler


class EDMConversion:
    """`network(c_in x, ln(sigma) / 4)` as a denoiser: `D = c_skip x + c_out F`.

    The schedulers call the raw output F `epsilon`; with `v_prediction` the output is -F.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], scheduler: Scheduler) -> None:
        self.network = network
        self.sigma_data = scheduler.sigma_data
        self.sign = -1.0 if scheduler.prediction_type == "v_prediction" else 1.0

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        from pfd_engine.flow.denoisers import log, noise_level, scaled
        from pfd_engine.models.networks.unet_call import network_time

        sigma = noise_level(sigma, x)
        variance = sigma**2 + self.sigma_data**2
        c_in = variance**-0.5
        output = self.network(scaled(c_in, x), network_time(log(sigma) / 4, x))
        c_out = self.sign * sigma * self.sigma_data * c_in
        return scaled(self.sigma_data**2 / variance, x) + scaled(c_out, output)
