"""Rectified flow (flow matching): a U-Net that predicts the velocity `v = eps - x0` on `(1 - t) x0 + t eps`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pfd_engine.hub.layout import read_json
from pfd_engine.models.description import Description
from pfd_engine.models.networks.unet_config import UNetConfig, build_unet, read_unet, validated

if TYPE_CHECKING:
    from torch import Tensor

    from pfd_engine.flow.denoisers import Sigma
    from pfd_engine.hub.snapshot import Snapshot
    from pfd_engine.models.load import LoadedDenoiser

SCHEDULERS = {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"}


class Scheduler(BaseModel):
    """What the scheduler's configuration says about the model: time runs to `num_train_timesteps`, `shift` moves its lowest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    num_train_timesteps: Annotated[int, Field(ge=2, le=100_000)] = 1000
    shift: Annotated[float, Field(gt=0, le=1000)] = 1.0
    use_dynamic_shifting: bool = False
    invert_sigmas: Literal[False] = False

    def sigma_range(self) -> tuple[float, float]:
        """Return sigma = t / (1 - t) at the scheduler's first and last times; t = 1, where sigma is infinite, is left out."""
        shift = 1.0 if self.use_dynamic_shifting else self.shift
        times = [step / self.num_train_timesteps for step in (1, self.num_train_timesteps - 1)]
        low, high = (shift * t / (1 - t) for t in times)
        return low, high


def matches(path: Path, config: dict[str, Any]) -> bool:
    """Tell this family by its scheduler's class."""
    return config.get("_class_name") in SCHEDULERS


def describe(snapshot: Snapshot) -> Description:
    """Check the configuration; see `adapters`."""
    unet, scheduler = _read(snapshot)
    return Description("rectified_flow", unet.shape, *scheduler.sigma_range(), snapshot.layout.weights)


def load(snapshot: Snapshot, device: str) -> LoadedDenoiser:
    """Read the weights; see `adapters`."""
    from pfd_engine.models.load import LoadedDenoiser
    from pfd_engine.models.networks.unet_call import UNetCall

    unet, scheduler = _read(snapshot)
    network = UNetCall(build_unet(unet, snapshot, device), unet.in_channels)
    denoise = FlowConversion(network, scheduler.num_train_timesteps)
    return LoadedDenoiser(denoise, snapshot, describe(snapshot), network.num_parameters, device)


def _read(snapshot: Snapshot) -> tuple[UNetConfig, Scheduler]:
    name = snapshot.layout.scheduler_config or ""
    scheduler = validated(Scheduler, read_json(snapshot.path / name), snapshot.reference, name)
    return read_unet(snapshot), scheduler


class FlowConversion:
    """`network((1 - t) x, time_scale t)` with `t = sigma / (1 + sigma)` as a denoiser: `D = (1 - t) x - t v`.

    diffusers feeds its flow networks t times `num_train_timesteps`; the scheduler's shift chooses times and changes nothing here.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], time_scale: float = 1000) -> None:
        self.network = network
        self.time_scale = time_scale

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        from pfd_engine.flow.denoisers import noise_level, scaled
        from pfd_engine.models.networks.unet_call import network_time

        sigma = noise_level(sigma, x)
        time, rest = sigma / (1 + sigma), 1 / (1 + sigma)
        own = scaled(rest, x)
        return own - scaled(time, self.network(own, network_time(self.time_scale * time, x)))
