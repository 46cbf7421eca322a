"""What a form can tell to be impossible before anything is launched: a sentence and the field at fault."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.errors import InputError
from pfd_engine.hub.layout import no_teacher
from pfd_engine.time_limit import look_up

if TYPE_CHECKING:
    from pfd_engine.configs.distill import DistillConfig
    from pfd_engine.models.inspect import CheckpointInfo

NEEDS_FILE = {"sscd"}
MAX_DESCRIPTOR_BYTES = 10**10
ALLOW_LABEL = "Allow TorchScript (it is code: only a file that you trust)"


def check_descriptor(config: EvaluateConfig) -> None:
    """Raise InputError, with the field at fault, where the file that a descriptor needs is missing, another one or not allowed."""
    from pfd_engine.hub.snapshot import file_sha256

    if config.descriptor not in NEEDS_FILE:
        return
    name = config.descriptor
    if os.environ.get("PFD_MODE", "local") != "local":
        raise InputError(f"{name} runs a file that is code, which this server does not do: choose another descriptor", "descriptor")
    if not config.descriptor_file:
        raise InputError(f"{name}'s TorchScript file is missing: give its path", "descriptor_file")
    path = Path(config.descriptor_file).expanduser()
    if not path.is_file():
        raise InputError(f"{config.descriptor_file} is no file: give the path of {name}'s TorchScript file", "descriptor_file")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", config.descriptor_sha256 or ""):
        raise InputError(
            "the file's sha256 is missing: give its 64 hexadecimal digits, from where the file was published", "descriptor_sha256"
        )
    if path.stat().st_size > MAX_DESCRIPTOR_BYTES:
        raise InputError(f"{path.name} is larger than {MAX_DESCRIPTOR_BYTES / 1e9:g} GB: give {name}'s own file", "descriptor_file")
    if (found := look_up(path.name, lambda: file_sha256(path))) != str(config.descriptor_sha256).lower():
        raise InputError(f"{path.name} has the sha256 {found}, not the one given: check where it came from", "descriptor_sha256")
    if not config.allow_torchscript:
        raise InputError(f"{name}'s file is code: tick “{ALLOW_LABEL}” if you trust it", "allow_torchscript")


def check_loadable(role: str, info: CheckpointInfo) -> None:
    """Raise InputError where a checkpoint is of no format that can be read."""
    if not info.loadable:
        raise InputError(info.reason or f"the {role}'s format is not known: inspect it on the Checkpoints page", role)


def check_teacher(info: CheckpointInfo) -> None:
    """Raise InputError where a teacher is a few-step map, in the words of the command line."""
    if info.few_step:
        raise InputError(str(no_teacher(info.reference)), "teacher")


def check_models(config: EvaluateConfig, teacher: CheckpointInfo, student: CheckpointInfo) -> None:
    """Raise InputError, with the field at fault, for what the two checkpoints already tell to be impossible."""
    check_loadable("teacher", teacher)
    check_loadable("student", student)
    check_teacher(teacher)
    if teacher.shape and student.shape and tuple(teacher.shape) != tuple(student.shape):
        sizes = ["x".join(map(str, shape)) for shape in (teacher.shape, student.shape)]
        raise InputError(f"teacher is {sizes[0]} but student is {sizes[1]}: choose a pair of one size", "student")
    if config.student_steps is not None and not student.few_step:
        raise InputError(
            "the student follows its probability flow ODE and has no steps of its own: leave Student steps empty", "student_steps"
        )
    lows = [info.sigma_min for info in (teacher, student) if info.sigma_min is not None]
    highs = [info.sigma_max for info in (teacher, student) if info.sigma_max is not None]
    low, high = max(lows, default=0.0), min(highs, default=float("inf"))
    for name, value in (("sigma_min", config.sigma_min), ("sigma_max", config.sigma_max)):
        if value is not None and not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):
            raise InputError(
                f"{name} is {value:g} but both models cover {low:g} to {high:g}: choose a value inside, or leave it empty", name
            )


def check_distillation(config: DistillConfig, teacher: CheckpointInfo) -> None:
    """Raise InputError, with the field at fault, for what the teacher's files already tell to be impossible."""
    from pfd_engine.models.networks.sizes import find_rung
    from pfd_engine.planning.distillation_checks import check_output, check_samples

    check_loadable("teacher", teacher)
    check_teacher(teacher)
    check_device(config.device)
    if config.device == "cpu" or (config.device == "auto" and not shows_cuda()):
        for name, value in (("precision", config.precision != "float32"), ("compile", config.compile)):
            if value:
                raise InputError(f"{name} is {getattr(config, name)} but this machine shows no NVIDIA GPU: leave it out", name)
    if teacher.shape is not None:
        find_rung(config.size).check_shape(teacher.shape)
        check_samples(config.num_samples or config.preset.num_samples, teacher.shape)
        if config.flips and len(teacher.shape) != 3:
            raise InputError("flips mirror images, but the teacher makes none: leave them out", "flips")
    check_output(config)


def shows_cuda() -> bool:
    """Whether this machine shows an NVIDIA device; asked without torch, which this process does not load."""
    return bool(Path("/proc/driver/nvidia").exists() or Path("/dev/dxg").exists() or shutil.which("nvidia-smi"))


def check_device(device: str) -> None:
    """Raise InputError where CUDA is asked for on a machine that shows none."""
    if device.startswith("cuda") and not shows_cuda():
        raise InputError(f"device is {device} but this machine shows no NVIDIA GPU: choose auto or cpu", "device")
