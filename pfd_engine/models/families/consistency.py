"""Consistency models (arXiv 2303.01469; diffusers' CMStochasticIterativeScheduler): few-step maps with their own sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pfd_engine.errors import InputError
from pfd_engine.hub.layout import CheckpointError, read_json
from pfd_engine.models.description import Description
from pfd_engine.models.networks.unet_config import UNetConfig, build_unet, read_unet, validated

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pfd_engine.flow.denoisers import Sigma
    from pfd_engine.hub.snapshot import Snapshot
    from pfd_engine.models.load import LoadedDenoiser

SCHEDULERS = {"CMStochasticIterativeScheduler"}

Level = Annotated[float, Field(gt=0, le=1e6)]


class Scheduler(BaseModel):
    """What the scheduler's configuration says; `num_inference_steps` is ours: a checkpoint's own number of steps."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    num_train_timesteps: Annotated[int, Field(ge=2, le=100_000)] = 40
    sigma_min: Level = 0.002
    sigma_max: Level = 80.0
    sigma_data: Level = 0.5
    s_noise: Annotated[float, Field(gt=0, le=10)] = 1.0
    rho: Annotated[float, Field(gt=0, le=100)] = 7.0
    clip_denoised: bool = True
    num_inference_steps: Annotated[int, Field(ge=1)] = 1

    def levels(self, steps: int) -> list[float]:
        """Return the noise levels of `steps` steps, falling from sigma_max, as the scheduler spaces them."""
        stride = self.num_train_timesteps // steps
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return [(high + stride * i / (self.num_train_timesteps - 1) * (low - high)) ** self.rho for i in range(steps)]


def matches(path: Path, config: dict[str, Any]) -> bool:
    """Tell this family by its scheduler's class."""
    return config.get("_class_name") in SCHEDULERS


def describe(snapshot: Snapshot) -> Description:
    """Check the configuration; see `adapters`."""
    unet, scheduler = _read(snapshot)
    return Description(
        "consistency",
        unet.shape,
        scheduler.sigma_min,
        scheduler.sigma_max,
        snapshot.layout.weights,
        few_step=True,
        steps=scheduler.num_inference_steps,
    )


def load(snapshot: Snapshot, device: str) -> LoadedDenoiser:
    """Read the weights and return the consistency function `f(x, sigma)`, which jumps to the end point; see `adapters`."""
    from pfd_engine.models.load import LoadedDenoiser
    from pfd_engine.models.networks.unet_call import UNetCall

    unet, scheduler = _read(snapshot)
    network = UNetCall(build_unet(unet, snapshot, device), unet.in_channels)
    jump = ConsistencyFunction(network, scheduler)
    return LoadedDenoiser(jump, snapshot, describe(snapshot), network.num_parameters, device)


def make_map(loaded: LoadedDenoiser, student_steps: int | None = None) -> ConsistencyMap:
    """Return the model's own sampler with `student_steps` steps (None: what its configuration says)."""
    return ConsistencyMap(loaded, loaded.denoise.scheduler, student_steps)  # type: ignore[attr-defined]


def _read(snapshot: Snapshot) -> tuple[UNetConfig, Scheduler]:
    name = snapshot.layout.scheduler_config or ""
    scheduler = validated(Scheduler, read_json(snapshot.path / name), snapshot.reference, name)
    if not scheduler.sigma_min < scheduler.sigma_max:
        raise CheckpointError(f"{snapshot.reference} has an unusable {name}: sigma_min is not below sigma_max")
    if scheduler.num_inference_steps > scheduler.num_train_timesteps:
        raise CheckpointError(f"{snapshot.reference} has an unusable {name}: more steps than num_train_timesteps")
    return read_unet(snapshot), scheduler


class ConsistencyFunction:
    """`f(x, sigma) = c_skip x + c_out F(x / sqrt(sigma^2 + sigma_data^2), 250 ln(sigma))`, which is x at sigma_min.

    The boundary scalings, the time and the clipping to [-1, 1] are diffusers' (arXiv 2303.01469, appendix C).
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], scheduler: Scheduler) -> None:
        self.network = network
        self.scheduler = scheduler

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        from pfd_engine.flow.denoisers import log, noise_level, scaled
        from pfd_engine.models.networks.unet_call import network_time

        sigma, data = noise_level(sigma, x), self.scheduler.sigma_data
        above = sigma - self.scheduler.sigma_min
        scale = (sigma**2 + data**2) ** -0.5
        output = self.network(scaled(scale, x), network_time(250 * log(sigma), x))
        x0 = scaled(data**2 / (above**2 + data**2), x) + scaled(above * data * scale, output)
        return x0.clamp(-1, 1) if self.scheduler.clip_denoised else x0


class ConsistencyMap:
    """A consistency model as a map: one jump from `x_T = sigma_max z`, then for each further step new noise and another jump.

    One step is deterministic. More steps re-noise with draw k of each seed, which breaks the coupling with x_T
    (`keeps_coupling` False). After its last jump diffusers adds noise of deviation 0, so nothing is left out.
    """

    few_step = True

    def __init__(self, model: Any, scheduler: Scheduler, steps: int | None = None) -> None:
        self.model = model
        self.scheduler = scheduler
        self.steps = scheduler.num_inference_steps if steps is None else steps
        if not 1 <= self.steps <= scheduler.num_train_timesteps:
            raise InputError(
                f"student steps is {self.steps}: this consistency model takes 1 to {scheduler.num_train_timesteps}", "student_steps"
            )
        self.levels = scheduler.levels(self.steps)
        self.sigma_min, self.sigma_max = scheduler.sigma_min, scheduler.sigma_max
        self.keeps_coupling = self.steps == 1
        self.network_calls = self.steps

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.model.shape)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def cache_key(self) -> str | None:
        """A hash of everything that moves the end points; None where the model has no `content_key`."""
        from pfd_engine.flow.maps import hash_of

        content = getattr(self.model, "content_key", None)
        return None if content is None else hash_of("consistency-map", content, self.levels, self.scheduler.model_dump())

    def __call__(self, z: Tensor, seeds: Sequence[int], condition: Any = None) -> Tensor:
        import torch

        from pfd_engine.flow.noise import noise_of

        with torch.inference_mode():
            z = z.to(self.device)
            x0: Tensor = self.model(self.levels[0] * z, self.levels[0], condition)
            for draw, sigma in enumerate(self.levels[1:], start=1):
                fresh = noise_of(seeds, z.shape[1:], draw=draw).to(z)
                deviation = self.scheduler.s_noise * (sigma**2 - self.sigma_min**2) ** 0.5
                x0 = self.model(x0 + deviation * fresh, sigma, condition)
            return x0
