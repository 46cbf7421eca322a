"""What rules a distillation out before it starts, and needs no torch to be seen: no room in memory, or for the student's folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.errors import InputError
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.models.families.own import CONFIG_FILE
from pfd_engine.models.networks.sizes import Rung
from pfd_engine.training_sets.files import check_size

GIB = 2**30


def check_samples(num_samples: int, shape: Sequence[int]) -> None:
    """Raise InputError where a training set would have more samples of `shape` than one may hold."""
    try:
        check_size(num_samples, shape)
    except ValueError:
        raise InputError(f"number of samples is {num_samples:,}, too many for this shape: give fewer", "num_samples") from None


def check_memory(config: DistillConfig, rung: Rung, shape: Sequence[int], free: int, device: str) -> None:
    """Raise InputError where training on samples of `shape` does not fit into the `free` bytes of a device."""
    preset, networks = config.preset, 2 if config.objective == "distribution-matching" else 1
    batch_size, num_samples = config.batch_size or preset.batch_size, config.num_samples or preset.num_samples
    needed = networks * rung.training_bytes(shape, batch_size) + 4 * num_samples * math.prod(shape)
    if needed > free:
        raise InputError(
            f"size {rung.name} with batches of {batch_size} needs about {needed / GIB:.3g} GiB to train but {free / GIB:.3g} GiB of memory "
            f"are free on {device}: choose a smaller size or batch size",
            "size",
        )


def check_output(config: DistillConfig) -> None:
    """Raise InputError where the folder for the student cannot be made, or holds anything but an earlier attempt at this very student."""
    if config.output is None:
        return
    folder = Path(config.output).expanduser().absolute()
    parent = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"output is {config.output} but {parent} is no folder that can be written: choose another", "output")
    if folder.exists() and any(folder.iterdir()) and not _holds_this_student(folder, config):
        what = "holds another checkpoint" if (folder / CONFIG_FILE).is_file() else "exists and is no checkpoint"
        raise InputError(f"output is {config.output}, which {what}: choose another folder, or empty this one", "output")


def _holds_this_student(folder: Path, config: DistillConfig) -> bool:
    try:
        metadata = json.loads((folder / CONFIG_FILE).read_bytes())["metadata"]
        found = {name: metadata.get(name) for name in ("size", "objective", "student_seed", "num_samples", "step")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    teacher = parse_reference(config.teacher)
    if isinstance(teacher, FolderReference) and teacher.path.absolute().resolve() == folder.resolve():
        return False
    return found == {
        "size": config.size, "objective": config.objective, "student_seed": config.seed,
        "num_samples": config.num_samples or config.preset.num_samples, "step": config.steps or config.preset.steps,
    }  # fmt: skip
