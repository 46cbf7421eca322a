"""What a distillation will cost before it starts: parameters, memory, network calls and roughly the seconds. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.distill.objectives import ObjectivePreset
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.models.networks.options import DiTOptions
from pfd_engine.models.networks.sizes import Rung, find_rung
from pfd_engine.planning.evaluation import STARTUP_SECONDS, Model

TRAINING_FLOPS = {"cpu": 5e10, "cuda": 2e13}
STEP_SECONDS = {"cpu": 5e-4, "cuda": 2e-3}  # beside the arithmetic, for each forward pass of a network
GROUPED_FLOPS, GROUPED_STEP_SECONDS = {"cpu": 7e10, "cuda": 2e13}, {"cpu": 2e-4, "cuda": 3e-4}  # trained together: for each student
EVALUATIONS_OF_FEW_STEPS = 3


@dataclass(frozen=True)
class DistillCost:
    """A student's parameters, the memory of its training in bytes, teacher calls for the training set, and estimated seconds by phase."""

    parameters: int
    memory_bytes: int
    images_seen: int
    training_set_calls: int
    training_set_seconds: float
    training_seconds: float
    evaluation_seconds: float

    @property
    def seconds(self) -> float:
        """Estimated seconds from start to end, if nothing is cached yet."""
        return STARTUP_SECONDS + self.training_set_seconds + self.training_seconds + self.evaluation_seconds


def estimate(config: DistillConfig, shape: Sequence[int], teacher: Model) -> DistillCost:
    """Return what `config` costs for samples of `shape`; raises InputError where its size does not fit them.

    `config.device` auto counts as a CPU: the estimate is then rather high than low.
    """
    rung, preset = find_rung(config.size), config.preset
    rung.check_shape(shape)
    kind = "cuda" if config.device.startswith("cuda") else "cpu"
    steps, batch = config.steps or preset.steps, config.batch_size or preset.batch_size
    num_samples = config.num_samples or preset.num_samples
    student_flops, teacher_flops = flops_per_call(rung, shape), teacher.flops_per_call
    calls = SOLVERS[config.solver].network_calls(config.solver_steps)

    student_calls = (config.student_steps or preset.student_steps or 1) if preset.few_step else calls
    evaluations = EVALUATIONS_OF_FEW_STEPS if preset.few_step else 1
    evaluation_flops = config.num_noises * (calls * teacher_flops + evaluations * student_calls * student_flops)
    rate = TRAINING_FLOPS[kind]
    return DistillCost(
        parameters=rung.count_parameters(shape),
        memory_bytes=rung.training_bytes(shape, batch),
        images_seen=steps * batch,
        training_set_calls=num_samples * calls,
        training_set_seconds=num_samples * calls * teacher_flops / rate,
        training_seconds=steps * step_seconds(preset, student_flops, teacher_flops, batch, kind),
        evaluation_seconds=evaluation_flops / rate,
    )


def step_seconds(
    preset: ObjectivePreset, student_flops: float, teacher_flops: float, batch_size: int, kind: str, *, together: bool = False
) -> float:
    """Return the seconds of one training step of one student on a device of a kind, cpu (one core) or cuda; the flops are for one call.

    `together`: as one of several small students that are trained in one batched pass.
    """
    flops = batch_size * (preset.student_passes * student_flops + preset.teacher_passes * teacher_flops)
    if together:
        return GROUPED_STEP_SECONDS[kind] + flops / GROUPED_FLOPS[kind]
    return STEP_SECONDS[kind] * (preset.student_passes + preset.teacher_passes) + flops / TRAINING_FLOPS[kind]


def flops_per_call(rung: Rung, shape: Sequence[int]) -> float:
    """Return the floating point operations of one call on one sample, to an order of magnitude: see `cost.Model`; a transformer uses its
    weights once a patch."""
    if isinstance(rung.options, DiTOptions):
        return 2.0 * rung.count_parameters(shape) * math.prod(shape[-2:]) / rung.options.patch**2
    return Model(rung.count_parameters(shape), tuple(shape), rung.family).flops_per_call
