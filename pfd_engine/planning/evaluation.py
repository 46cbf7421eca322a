"""What an evaluation will cost before it is launched: network calls from the configuration, seconds from past runs or a default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.measure.solver_error import finer_steps, subset_size

STARTUP_SECONDS = 6.0
DEFAULT_FLOPS = {"cpu": 2e10, "cuda": 5e12}


@dataclass(frozen=True)
class Model:
    """What the cost of a checkpoint depends on; `reuse` is how often a call uses each weight (1: fully connected)."""

    parameters: int
    shape: tuple[int, ...] = ()
    family: str = ""
    few_step: bool = False
    steps: int | None = None

    @property
    def flops_per_call(self) -> float:
        """Floating point operations of one call on one sample, to an order of magnitude.

        A fully connected network uses each weight once. A convolution uses its weights once a pixel of its resolution; over the
        resolutions of the usual U-Nets that is about a third of the image's pixels.
        """
        pixels = math.prod(self.shape[-2:]) if len(self.shape) == 3 else 1
        reuse = 1.0 if self.family in ("mlp", "pfd") else max(1.0, pixels / 3)
        return 2.0 * self.parameters * reuse


@dataclass(frozen=True)
class PastRun:
    """What a finished evaluation teaches about speed: the floating point operations it really made, and its seconds on its device."""

    flops: float
    seconds: float
    device: str


@dataclass(frozen=True)
class Cost:
    """Network calls per noise and altogether, and estimated seconds (None: the models are not known yet) with where they come from."""

    teacher_calls: int
    student_calls: int
    total_calls: int
    seconds: float | None
    basis: str


def estimate(config: EvaluateConfig, teacher: Model | None = None, student: Model | None = None, past: Sequence[PastRun] = ()) -> Cost:
    """Return what `config` costs if nothing is cached yet; the closed-form training-set denoiser counts no network call.

    `total_calls` includes those for the solver error: a quarter of the noises (8 to 256) are followed again with 2n and 4n steps.
    Steps "auto" count as the smallest rung.
    Against a few-step student the teacher's steps are doubled until they have converged, so that its calls are a lower bound.
    """
    calls = SOLVERS[config.solver].network_calls
    few_step = student is not None and student.few_step
    steps = config.first_steps
    teacher_calls = calls(steps)
    student_calls = (config.student_steps or (student.steps if student else None) or 1) if few_step else calls(steps)
    again = subset_size(config.num_noises) * sum(map(calls, finer_steps(steps)))
    teacher_total = config.num_noises * teacher_calls + again
    student_total = config.num_noises * student_calls + (0 if few_step else again)
    total = teacher_total + student_total
    if teacher is None or student is None:
        return Cost(teacher_calls, student_calls, total, None, "Name a teacher and a student to see how long it will take.")
    flops = teacher_total * teacher.flops_per_call + student_total * student.flops_per_call
    kind = config.device.partition(":")[0]
    known = [run for run in past if run.seconds > 0 and run.flops > 0 and _same_kind(kind, run.device)]
    if known:
        rate = sum(run.flops for run in known) / sum(run.seconds for run in known)
        return Cost(
            teacher_calls, student_calls, total, STARTUP_SECONDS + flops / rate,
            f"at the speed of {len(known)} earlier {'run' if len(known) == 1 else 'runs'} here",
        )  # fmt: skip
    assumed = DEFAULT_FLOPS["cuda" if kind == "cuda" else "cpu"]
    return Cost(
        teacher_calls, student_calls, total, STARTUP_SECONDS + flops / assumed,
        f"a first guess at {assumed / 1e9:,.0f} GFLOP/s; runs on this machine will sharpen it",
    )  # fmt: skip


def _same_kind(asked: str, device: str) -> bool:
    return asked == "auto" or device.partition(":")[0] == asked
