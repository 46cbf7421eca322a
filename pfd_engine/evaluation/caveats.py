"""What limits a measured distance, in sentences: solver error, few noises, uneven sums, duplicates, and noise levels not covered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pfd_engine.analysis.intervals import FEW_NOISES, uneven_sum
from pfd_engine.flow.maps import FlowMap, SolverMap
from pfd_engine.flow.outside_range import InsideRange
from pfd_engine.flow.trained_range import trained_range_of, why_no_trained_range
from pfd_engine.measure.solver_error import next_rung
from pfd_engine.models.families import map_model
from pfd_engine.wording import numbers as words

if TYPE_CHECKING:
    from pfd_engine.evaluation.report import Memorization
    from pfd_engine.measure.pfd import PFDEstimate


def outside_range(student: FlowMap) -> str | None:
    """Return whose denoiser acts outside the student's trained range: `teacher` in a diagnostic map, None where no range is known."""
    if isinstance(student, SolverMap) and isinstance(student.denoiser, InsideRange):
        return "teacher"
    return "student" if isinstance(student, SolverMap) and trained_range_of(map_model(student).metadata) else None


def range_note(student: FlowMap) -> str | None:
    """Say at how many of the solver's noise levels a student extrapolates, or why its trained range is not known; None for neither.

    A few-step student follows its own noise levels, so that nothing is said of it.
    """
    if not isinstance(student, SolverMap) or outside_range(student) == "teacher":
        return None
    metadata = map_model(student).metadata
    if (found := trained_range_of(metadata)) is None:
        return f"no trained range of noise levels is known: {why_no_trained_range(metadata)}"
    levels = student.sigmas[:-1]
    beyond = sum(not found[0] <= sigma <= found[1] for sigma in levels)
    if not beyond:
        return None
    lie, covered = "lies" if beyond == 1 else "lie", f"{found[0]:.3g} to {found[1]:.3g}"
    levels_beyond = f"{beyond} of the solver's {len(levels)} noise levels {lie} outside the range that training covered"
    return f"{levels_beyond}, {covered}: there the student extrapolates"


def caveats(estimate: PFDEstimate, memorization: Memorization | None) -> Iterator[str]:
    """Yield what limits an estimate, a sentence each without its full stop."""
    half, error = (estimate.ci_high - estimate.ci_low) / 2, estimate.solver_error
    if error is not None and abs(error) > half:
        finer = next_rung(estimate.steps) if estimate.steps is not None else None
        again = f"measure again with {finer} steps" if finer else "take more steps"
        yield f"the solver's own error, about {error:.2g}, is larger than half the interval's width, {half:.2g}: {again} to make it smaller"
    if estimate.num_noises < FEW_NOISES:
        yield f"{estimate.num_noises} noises are few: intervals from fewer than {FEW_NOISES} are rough, so measure more"
    measured = {"PFD": estimate.distances} | ({"E_mem": memorization.measured.tallies["E_mem"].distances} if memorization else {})
    yield from (said for metric, d in measured.items() if (said := uneven_sum(metric, d)) is not None)
    if memorization is not None and memorization.num_distinct < len(memorization.training_set.samples):
        count = len(memorization.training_set.samples)
        distinct = words.count(memorization.num_distinct, "different sample")
        yield f"the training set holds {distinct} among {count:,}: duplicates are counted once"
