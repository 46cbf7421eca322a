"""What a sweep will cost before it starts: students, network calls, memory and roughly the seconds. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from pfd_engine.configs.evaluate import SIGMA_HIGH, SIGMA_LOW
from pfd_engine.configs.sweep import Group, SweepConfig
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.errors import InputError
from pfd_engine.executors.local import available_processes
from pfd_engine.flow.solvers import SOLVERS, sigma_grid
from pfd_engine.hub.layout import no_teacher
from pfd_engine.measure.solver_error import finer_steps, subset_size
from pfd_engine.models.inspect import CheckpointInfo, inspect
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.planning.distillation import TRAINING_FLOPS, flops_per_call, step_seconds
from pfd_engine.planning.distillation_checks import check_samples
from pfd_engine.planning.evaluation import STARTUP_SECONDS, Model
from pfd_engine.sweeps.trained_range import check_diagnostic_map, trained_range_of_sweep

DRAWING_SOLVER, DRAWING_STEPS = "heun", 18  # what `tasks.Setting` draws training sets with
LOSS_SAMPLES, BASIS_SAMPLES = 1024, 2048  # what `measure.Ruler` measures losses and principal components on
PROCESS_BYTES = 300 * 2**20  # Python with torch
GIB = 2**30


@dataclass(frozen=True)
class SweepCost:
    """What a sweep costs on `processes` processes.

    `parameters` is a student's, by size; teacher calls are those for the training sets and for the end points that students are
    measured against; `training_steps` counts those of all students; `memory_bytes` is what all processes need together.
    """

    students: int
    groups: int
    processes: int
    parameters: dict[str, int]
    training_set_calls: int
    measuring_calls: int
    training_steps: int
    memory_bytes: int
    drawing_seconds: float
    training_seconds: float
    measuring_seconds: float
    longest_group_seconds: float

    @property
    def seconds(self) -> float:
        """Estimated seconds from start to end if nothing is cached yet; the seconds of training and measuring are those of one core."""
        shared = (self.training_seconds + self.measuring_seconds) / self.processes
        return 2 * STARTUP_SECONDS + self.drawing_seconds + max(shared, self.longest_group_seconds)


def estimate(config: SweepConfig, shape: Sequence[int], teacher: Model, processes: int) -> SweepCost:
    """Return what `config` costs for samples of `shape`; raises InputError where a size does not fit them.

    `config.device` auto counts as a CPU: the estimate is then rather high than low. Solver steps "auto" count as the smallest rung.
    """
    for size in config.sizes:
        find_rung(size).check_shape(shape)
    kind = "cuda" if config.device.startswith("cuda") else "cpu"
    groups = config.groups()
    used = 1 if kind == "cuda" else max(1, min(processes, len(groups)))
    costs = [_group_seconds(config, group, shape, teacher, kind) for group in groups]
    drawn = sum(map(len, config.drawn())) * SOLVERS[DRAWING_SOLVER].network_calls(DRAWING_STEPS)
    once, again = _calls(config)
    measured = BASIS_SAMPLES * SOLVERS[config.evaluation.solver].network_calls(config.evaluation.first_steps) + once + again
    largest = max(_group_bytes(config, group, shape) for group in groups)
    return SweepCost(
        students=config.num_students,
        groups=len(groups),
        processes=used,
        parameters={size: find_rung(size).count_parameters(shape) for size in config.sizes},
        training_set_calls=drawn,
        measuring_calls=measured,
        training_steps=config.num_students * config.steps,
        memory_bytes=used * (PROCESS_BYTES + 4 * teacher.parameters + largest),
        drawing_seconds=drawn * teacher.flops_per_call / TRAINING_FLOPS[kind],
        training_seconds=sum(training for training, _ in costs),
        measuring_seconds=sum(measuring for _, measuring in costs) + measured * teacher.flops_per_call / TRAINING_FLOPS[kind],
        longest_group_seconds=max(training + measuring for training, measuring in costs),
    )


def look_up(config: SweepConfig) -> SweepCost:
    """Return what a sweep costs on this machine, from its teacher's files; raises InputError for what they already rule out."""
    try:
        teacher = inspect(config.teacher)
    except InputError as error:
        raise InputError(str(error), "teacher") from None
    return of_teacher(config, teacher, has_gpu=config.device != "cpu")


def of_teacher(config: SweepConfig, teacher: CheckpointInfo, *, has_gpu: bool) -> SweepCost:
    """Return what a sweep of a teacher costs on this machine; raises InputError. The memory of a GPU is known only to the run."""
    try:
        if not teacher.loadable or teacher.parameters is None or teacher.shape is None:
            raise InputError(teacher.reason or "the teacher's format is not known: inspect it on the Checkpoints page")
        if teacher.few_step:
            raise no_teacher(teacher.reference)
    except InputError as error:
        raise InputError(str(error), "teacher") from None
    shape, model = tuple(teacher.shape), Model(teacher.parameters, tuple(teacher.shape), teacher.family or "")
    found = estimate(config, shape, model, available_processes())
    for num_samples in config.num_samples:
        check_samples(num_samples, shape)
    check_diagnostic_map(config)
    if config.device == "cpu" or (config.device == "auto" and not has_gpu):
        check_memory(config, shape, model, available_processes(), psutil.virtual_memory().available, "cpu")
    return found


def check_memory(config: SweepConfig, shape: Sequence[int], teacher: Model, processes: int, free: int, device: str) -> None:
    """Raise InputError where the groups that run at once do not fit into the `free` bytes of a device."""
    needed = estimate(config, shape, teacher, processes).memory_bytes
    if needed > free:
        largest = max(config.sizes, key=lambda size: find_rung(size).count_parameters(shape))
        raise InputError(
            f"size {largest} in groups of {config.students_at_once} needs about {needed / GIB:.3g} GiB but {free / GIB:.3g} GiB of memory "
            f"are free on {device}: choose smaller sizes, smaller groups or a smaller batch size",
            "sizes",
        )


def describe(cost: SweepCost) -> str:
    """Return the cost in one line for a terminal."""
    smallest, largest = min(cost.parameters.values()), max(cost.parameters.values())
    return (
        f"{cost.students:,} students of {smallest:,} to {largest:,} parameters in {cost.groups:,} groups, {cost.processes} at once; "
        f"{cost.training_steps:,} training steps; {cost.training_set_calls + cost.measuring_calls:,} teacher calls; "
        f"about {cost.seconds / 60:,.0f} min and {cost.memory_bytes / GIB:.2g} GiB"
    )


def _group_seconds(config: SweepConfig, group: Group, shape: Sequence[int], teacher: Model, kind: str) -> tuple[float, float]:
    """Return the seconds of training a group, and of measuring it at all its steps, on one core or GPU."""
    flops, rate = flops_per_call(find_rung(group.students[0].size), shape), TRAINING_FLOPS[kind]
    preset, evaluation = OBJECTIVES[config.objective], config.evaluation
    step = step_seconds(preset, flops, teacher.flops_per_call, config.training.batch_size, kind, together=config.together)
    once, again = _calls(config)
    values = sum(student.num_samples for student in group.students) * math.prod(shape)
    times = len(config.measured_steps())
    calls = times * once + again
    students = len(group.students) * (calls + times * 2 * LOSS_SAMPLES) * flops
    nearest, empirical = times * 2 * evaluation.num_noises * values, 4 * (once + again) * values
    share = _teachers_share(config)
    diagnostic = len(group.students) * calls * ((1 - share) * flops + share * teacher.flops_per_call) if config.diagnostic_map else 0.0
    return len(group.students) * config.steps * step, (students + nearest + empirical + diagnostic) / rate


def _calls(config: SweepConfig) -> tuple[int, int]:
    """Return the network calls of one map over all noises, and those that find its solver error at the last step."""
    evaluation = config.evaluation
    calls, steps = SOLVERS[evaluation.solver].network_calls, evaluation.first_steps
    return evaluation.num_noises * calls(steps), subset_size(evaluation.num_noises) * sum(map(calls, finer_steps(steps)))


def _teachers_share(config: SweepConfig) -> float:
    """Return the share of the solver's noise levels that lie outside the trained range, where the diagnostic map asks the teacher."""
    trained = trained_range_of_sweep(config)
    levels = sigma_grid(config.evaluation.first_steps, SIGMA_LOW, SIGMA_HIGH)[:-1]
    return sum(trained is None or not trained[0] <= level <= trained[1] for level in levels) / len(levels)


def _group_bytes(config: SweepConfig, group: Group, shape: Sequence[int]) -> int:
    """Return the bytes that a group takes: its training, its training sets, and the end points that it is measured by."""
    rung, values, count = find_rung(group.students[0].size), math.prod(shape), len(group.students)
    alone, weights = rung.training_bytes(shape, config.training.batch_size), rung.training_bytes(shape, 0)
    training = count * alone if config.together else count * weights + alone - weights
    samples = sum(student.num_samples for student in group.students)
    return training + 4 * samples * values + 20 * (count + 1) * config.evaluation.num_noises * values
