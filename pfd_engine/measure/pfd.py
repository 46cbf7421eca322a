"""Probability flow distance between two maps: a streaming estimate over blocks of noises (MATH.md, section 3).

`PFD(p, q) = sqrt(E |Psi(Phi_p(x_T)) - Psi(Phi_q(x_T))|^2)`, arXiv 2505.20123: the same noise through both models, then the distance of
the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import Denoiser
from pfd_engine.flow.maps import FlowMap, SolverMap, is_map, own_range, resolve_sigma_range
from pfd_engine.flow.solvers import RHO
from pfd_engine.measure.convergence import converge, solver_errors
from pfd_engine.measure.descriptors import Descriptor, load_descriptor
from pfd_engine.measure.end_points import EndPoints, Progress, drain, seed_blocks
from pfd_engine.measure.solver_error import SolverError
from pfd_engine.measure.tally import Measured, Pairs, measure_until
from pfd_engine.seeds import EVALUATION_SEEDS

PAIR: Pairs = {"PFD": ("teacher", "student")}


@dataclass(frozen=True)
class PFDEstimate:
    """A probability flow distance and how sure we are of it.

    `distances` are the squared per-noise distances d_m `(M,)`, float64, and `seeds` theirs: `value == sqrt(mean(distances))`.
    `[ci_low, ci_high]` is the 95 % interval (corrected for the looks under sequential stopping). `shuffled` is the ceiling of two models
    without a common coupling, `spread` the constant baseline: no constant image (in a descriptor: no constant feature) lies closer to the
    teacher; `student_spread` is the student's own. `network_calls` are per noise, `{"teacher": p's, "student": q's}`, None for a map that
    states none. `solver_error` is signed where it could be extrapolated, else a bound (`solver_error.SolverError`), and
    `discretization_error` is `|PFD_2n - PFD_n|`; both are None where neither side has a solver. `steps` are the solver's, as converged
    against a few-step map.
    """

    value: float
    stderr: float
    ci_low: float
    ci_high: float
    interval_method: str
    shuffled: float
    spread: float
    student_spread: float
    rms_per_coordinate: float
    num_noises: int
    noise_seed: int
    distances: NDArray[np.float64]
    seeds: NDArray[np.int64]
    solver_error: float | None
    solver_error_extrapolated: bool | None
    discretization_error: float | None
    network_calls: dict[str, int | None]
    descriptor: str
    solver: str | None
    steps: int | None
    sigma_min: float | None
    sigma_max: float | None
    rho: float | None


def probability_flow_distance(
    p: FlowMap | Denoiser,
    q: FlowMap | Denoiser,
    num_noises: int = 1024,
    seed: int = 0,
    descriptor: str | Descriptor = "pixel",
    solver: str = "heun",
    steps: int = 18,
    *,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = RHO,
    shape: Sequence[int] | None = None,
    batch_size: int | str = "auto",
    target_relative_error: float | None = None,
    condition: Callable[[range], Any] | None = None,
    end_points: EndPoints | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> PFDEstimate:
    """Estimate PFD(p, q) over the noises `[seed, seed + num_noises)`; p and q are maps or denoisers, p the teacher by convention.

    Two denoisers share solver, steps and the sigma range that both were trained on (or the one given). Against a few-step map the
    other side's steps are doubled until converged. `shape` is needed only where neither model states its own.
    `target_relative_error` stops at a doubling of the noises once half the (corrected) interval is below that share of PFD.
    `condition(seeds)` gives the condition of a block of noises, the same on both sides. Raises InputError for what does not fit
    together and RunError where end points are not finite.
    """
    if num_noises < 2 or seed < 0 or seed + num_noises > EVALUATION_SEEDS.stop:
        raise InputError(
            f"noises are [{seed}, {seed + num_noises}): give at least 2 and stay in the evaluation range [0, {EVALUATION_SEEDS.stop})",
            "num_noises",
        )
    if target_relative_error is not None and not 0 < target_relative_error < 1:
        raise InputError(f"target relative error is {target_relative_error}: give a number between 0 and 1", "target_relative_error")
    shape = common_shape(p, q, shape)
    psi = load_descriptor(descriptor, getattr(p, "device", "cpu")) if isinstance(descriptor, str) else descriptor
    maps = pair_of_maps(p, q, solver, steps, sigma_min, sigma_max, rho)
    end_points = end_points or EndPoints(batch_size)
    blocks = list(seed_blocks(seed, seed + num_noises, shape))

    convergence = drain(converge(maps, blocks, shape, psi, end_points, condition))
    maps = convergence.maps
    work = measure_until(maps, PAIR, blocks, shape, psi, end_points, condition, target_relative_error)
    measured = drain(work, lambda item: on_progress(item) if on_progress is not None and isinstance(item, Progress) else None)
    errors = drain(solver_errors(maps, PAIR, measured.tallies, blocks, shape, psi, end_points, condition))
    return finish(measured, maps, errors["PFD"], psi.name)


def finish(measured: Measured, maps: Mapping[str, FlowMap], error: SolverError | None, descriptor: str) -> PFDEstimate:
    """Put an estimate together from its parts; solver, steps and range are the teacher's, else the student's."""
    described = next((m for m in maps.values() if isinstance(m, SolverMap)), None)
    tally, interval = measured.tallies["PFD"], measured.interval("PFD")
    spread, student_spread = tally.spreads
    return PFDEstimate(
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.ci_low,
        ci_high=interval.ci_high,
        interval_method=interval.method,
        shuffled=tally.shuffled,
        spread=spread,
        student_spread=student_spread,
        rms_per_coordinate=interval.value / math.sqrt(tally.dimension),
        num_noises=len(tally.distances),
        noise_seed=int(tally.seeds[0]),
        distances=tally.distances,
        seeds=tally.seeds,
        solver_error=None if error is None else error.value,
        solver_error_extrapolated=None if error is None else error.extrapolated,
        discretization_error=None if error is None else error.doubled,
        network_calls={name: getattr(m, "network_calls", None) for name, m in maps.items()},
        descriptor=descriptor,
        solver=described.solver.name if described else None,
        steps=described.steps if described else None,
        sigma_min=described.sigma_min if described else None,
        sigma_max=described.sigma_max if described else getattr(maps["teacher"], "sigma_max", None),
        rho=described.rho if described else None,
    )


def common_shape(p: Any, q: Any, shape: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the sample shape that both models have; raises InputError where they differ or none is known."""
    shapes = {name: tuple(model.shape) for name, model in (("teacher", p), ("student", q)) if getattr(model, "shape", None) is not None}
    if shape is not None:
        shapes["shape"] = tuple(shape)
    if not shapes:
        raise InputError("neither model states the shape of a sample: give shape=(...)")
    (first, expected), *others = shapes.items()
    for name, other in others:
        if other != expected:
            raise InputError(
                f"{first} is {'x'.join(map(str, expected))} but {name} is {'x'.join(map(str, other))}: choose a pair of one size",
                "student",
            )
    return expected


def pair_of_maps(
    p: FlowMap | Denoiser,
    q: FlowMap | Denoiser,
    solver: str,
    steps: int,
    sigma_min: float | None,
    sigma_max: float | None,
    rho: float = RHO,
) -> dict[str, FlowMap]:
    """Return `{"teacher": map, "student": map}`: denoisers get the solver on the range common to both; maps stay as they are.

    A few-step map's own T is fixed: a denoiser beside it starts there, or the pair is refused (InputError).
    """
    fixed = next((model for model in (p, q) if is_map(model) and getattr(model, "sigma_max", None) is not None), None)
    if fixed is not None and not (is_map(p) and is_map(q)):
        top = float(fixed.sigma_max)  # type: ignore[union-attr]
        if sigma_max is not None and not math.isclose(sigma_max, top, rel_tol=1e-6):
            raise InputError(f"sigma_max is {sigma_max:g} but the few-step model starts at {top:g}: leave sigma_max out", "sigma_max")
        sigma_max = top
    denoisers = [model for model in (p, q) if not is_map(model)]
    if denoisers:
        try:
            sigma_min, sigma_max = resolve_sigma_range(denoisers, sigma_min, sigma_max)
        except InputError as error:
            if fixed is None:
                raise
            top = min(own_range(model)[1] for model in denoisers)
            raise InputError(
                f"the few-step model starts at sigma {fixed.sigma_max:g} but the other was trained up to {top:g}: "  # type: ignore[union-attr]
                "choose a teacher whose range reaches it",
                "teacher",
            ) from error
    maps = {}
    for name, model in (("teacher", p), ("student", q)):
        maps[name] = model if is_map(model) else SolverMap(model, solver, steps, sigma_min, sigma_max, rho)  # type: ignore[arg-type]
    return maps  # type: ignore[return-value]
