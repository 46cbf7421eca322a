"""Variance-exploding score networks (NCSN++, ScoreSdeVe; arXiv 2011.13456): the network sees x and sigma, and returns a score."""

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

SCHEDULERS = {"ScoreSdeVeScheduler"}

Level = Annotated[float, Field(gt=0, le=1e6)]


class Scheduler(BaseModel):
    """What the scheduler's configuration says about the model; `prediction_type` is ours, diffusers knows scores only."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sigma_min: Level = 0.01
    sigma_max: Level = 1348.0
    prediction_type: Literal["score", "epsilon"] = "score"


def matches(path: Path, config: dict[str, Any]) -> bool:
    """Tell this family by its scheduler's class."""
    return config.get("_class_name") in SCHEDULERS


def describe(snapshot: Snapshot) -> Description:
    """Check the configuration; see `adapters`."""
    unet, scheduler = _read(snapshot)
    unit = _unit(unet)
    return Description("score_sde_ve", unet.shape, scheduler.sigma_min / unit, scheduler.sigma_max / unit, snapshot.layout.weights)


def load(snapshot: Snapshot, device: str) -> LoadedDenoiser:
    """Read the weights; see `adapters`."""
    from pfd_engine.models.load import LoadedDenoiser
    from pfd_engine.models.networks.unet_call import UNetCall

    unet, scheduler = _read(snapshot)
    network = UNetCall(build_unet(unet, snapshot, device), unet.in_channels)
    denoise = ScoreConversion(network, scheduler.prediction_type, _unit(unet))
    return LoadedDenoiser(denoise, snapshot, describe(snapshot), network.num_parameters, device)


def _read(snapshot: Snapshot) -> tuple[UNetConfig, Scheduler]:
    name = snapshot.layout.scheduler_config or ""
    scheduler = validated(Scheduler, read_json(snapshot.path / name), snapshot.reference, name)
    if not scheduler.sigma_min < scheduler.sigma_max:
        raise CheckpointError(f"{snapshot.reference} has an unusable {name}: sigma_min is not below sigma_max")
    return read_unet(snapshot, fourier=True), scheduler


def _unit(unet: UNetConfig) -> float:
    """Return the network's units a unit of data in [-1, 1]: a network that centers its input was trained on data in [0, 1]."""
    return 0.5 if unet.center_input_sample else 1.0


class ScoreConversion:
    """`network(x, sigma)` that returns the score (or, with `epsilon`, -sigma times it) as a denoiser: `D = x + sigma^2 score`.

    `unit` 0.5 is a network on data in [0, 1]: its x is `(x + 1) / 2`, its sigma `sigma / 2`, and its estimate is mapped back.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], prediction_type: str = "score", unit: float = 1.0) -> None:
        self.network = network
        self.prediction_type = prediction_type
        self.unit = unit

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        from pfd_engine.flow.denoisers import noise_level, scaled
        from pfd_engine.models.networks.unet_call import network_time

        sigma = self.unit * noise_level(sigma, x)
        own = x if self.unit == 1 else self.unit * (x + 1)
        output = self.network(own, network_time(sigma, x))
        shift = scaled(sigma**2 if self.prediction_type == "score" else -sigma, output)
        return x + shift / self.unit
