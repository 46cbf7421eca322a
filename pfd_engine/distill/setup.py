"""What a distillation is made of before it starts: training settings for this teacher, initial weights, free memory."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.configs.training import TrainConfig, check_device
from pfd_engine.errors import InputError
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.models.families import LoadedDenoiser
from pfd_engine.models.networks.own import build_network
from pfd_engine.models.networks.sizes import NOISE_LEVELS, Rung

SIGMA_DATA = 0.5


def train_config(config: DistillConfig, rung: Rung, teacher: LoadedDenoiser, device_type: str) -> TrainConfig:
    """Return the training settings, what was left open filled in from objective, family and teacher; raises InputError."""
    preset = config.preset

    def given(name: str, otherwise: Any) -> Any:
        value = getattr(config, name)
        return otherwise if value is None else value

    steps = given("steps", preset.steps)
    mean, deviation = NOISE_LEVELS[rung.family]
    sigma_data = float(getattr(teacher.denoise, "sigma_data", SIGMA_DATA))
    if config.init == "teacher" and config.sigma_data not in (None, sigma_data):
        raise InputError(f"sigma data is {config.sigma_data} but the teacher's weights are for {sigma_data:g}: leave it out", "sigma_data")
    training = TrainConfig(
        steps=steps,
        batch_size=given("batch_size", preset.batch_size),
        learning_rate=given("learning_rate", preset.learning_rate),
        ema_decay=config.ema_decay,
        p_mean=given("p_mean", mean),
        p_std=given("p_std", deviation),
        sigma_data=given("sigma_data", sigma_data),
        seed=config.seed,
        ema=config.ema,
        ema_width=config.ema_width,
        warmup_steps=given("warmup_steps", min(preset.warmup_steps, steps // 10)),
        schedule=given("schedule", preset.schedule),
        clip_norm=config.clip_norm,
        dropout=config.dropout,
        flips=config.flips,
        precision=config.precision,
        compile=config.compile,
    )
    check_device(training, device_type)
    if training.flips and len(teacher.shape) != 3:
        raise InputError("flips mirror images, but the teacher makes none: leave them out", "flips")
    return training


def initial_network(config: DistillConfig, rung: Rung, teacher: LoadedDenoiser, training: TrainConfig) -> tuple[nn.Module, str]:
    """Return the student's network before its first step, and in words where its weights come from; raises InputError."""
    options = rung.options.model_dump() | ({"dropout": training.dropout} if training.dropout else {})
    network = build_network(rung.family, teacher.shape, options, seed=config.seed)
    source = getattr(teacher.denoise, "network", None)
    same = isinstance(source, type(network)) and _shapes(source) == _shapes(network) and training.sigma_data == teacher.denoise.sigma_data  # type: ignore[attr-defined]
    if config.init == "teacher" and not same:
        raise InputError(
            f"init is teacher, but the teacher's network is not of the size {rung.name}: choose its own size, or init random", "init"
        )
    if not same or config.init == "random" or (config.init == "auto" and not config.preset.few_step):
        return network, "random"
    assert isinstance(source, nn.Module)
    network.load_state_dict(copy.deepcopy(source.state_dict()))
    return network, "the teacher's"


def free_memory(device: torch.device) -> int:
    """Return the memory that is free on a device now, in bytes."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def relative_reference(reference: str, revision: str, folder: Path) -> str:
    """Return the teacher's reference as a file in `folder` names it: pinned on the Hub, a path from there on this machine."""
    parsed = parse_reference(reference)
    if not isinstance(parsed, FolderReference):
        return f"{parsed.repository}@{revision}"
    path = Path(os.path.relpath(parsed.path.absolute(), folder)).as_posix()
    return path if path.startswith(".") else f"./{path}"


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def reference_of(folder: Path) -> str:
    """Return a folder as a reference: from here where it lies below, which names no machine, else its whole path."""
    here = Path.cwd()
    return f"./{folder.relative_to(here).as_posix()}" if folder.is_relative_to(here) else str(folder)
