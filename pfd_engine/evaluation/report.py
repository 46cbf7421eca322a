"""What an evaluation says of itself: rows of the `measurements` table, the object that `--json` prints, and descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pfd_engine.analysis.intervals import Interval, not_ruled_out, proportion_interval, tail_share
from pfd_engine.analysis.verdicts import VERDICT_RULE, Verdict
from pfd_engine.evaluation.caveats import outside_range, range_note
from pfd_engine.flow.maps import FlowMap, SolverMap
from pfd_engine.flow.trained_range import trained_range_of
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.pfd import PFDEstimate
from pfd_engine.measure.solver_error import SolverError
from pfd_engine.measure.tally import Measured
from pfd_engine.models.families import map_model
from pfd_engine.store.queries.floor import KEPT

if TYPE_CHECKING:
    from pfd_engine.store.queries.floor import RetrainedFloor
    from pfd_engine.training_sets.load import TrainingSet

Event = dict[str, Any]
Count = Annotated[int, Field(ge=0, lt=2**63)]

NOISES = "noises"

COUPLING_NOTE = (
    "this student re-noises its samples, which breaks the coupling with x_T: its PFD measures coupling and distribution together"
)


class _Metadata(BaseModel):
    """What a checkpoint says of its training, as far as it can be believed: what has another type is left out."""

    model_config = ConfigDict(extra="ignore", strict=True)

    size: Annotated[str, Field(max_length=200)] | None = None
    objective: Annotated[str, Field(max_length=200)] | None = None
    training_set: Annotated[str, Field(max_length=1024)] | None = None
    num_samples: Count | None = None
    student_seed: Count | None = None
    step: Count | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        values: dict[str, Any] = dict(model.metadata)
        while True:
            try:
                return cls(**values)
            except ValidationError as error:
                for problem in error.errors():
                    values.pop(str(problem["loc"][0]))


@dataclass(frozen=True)
class Memorization:
    """The student against its training set of `num_distinct` different samples.

    `memorized` counts the generated images whose nearest distinct sample is closer than a third of the second nearest, None for fewer than
    two distinct samples. `measured` and `errors` hold the pairs `E_mem` and `E_emp`.
    """

    training_set: TrainingSet
    num_distinct: int
    measured: Measured
    errors: Mapping[str, SolverError | None]
    memorized: int | None

    @property
    def ratio(self) -> Interval | None:
        """The memorization ratio with its interval."""
        if self.memorized is None:
            return None
        return Interval(*proportion_interval(self.memorized, len(self.measured.tallies["E_mem"].distances)), "Wilson")

    @property
    def spread(self) -> float:
        """The empirical map's own spread: no constant image lies closer to it."""
        return self.measured.tallies["E_mem"].spreads[1]

    def as_object(self) -> dict[str, Any]:
        """Return the `memorization` object of `--json`."""
        e_mem, e_emp, ratio, error = self.measured.interval("E_mem"), self.measured.interval("E_emp"), self.ratio, self.errors["E_mem"]
        return {
            "e_mem": e_mem.value,
            "stderr": e_mem.stderr,
            "ci_low": e_mem.ci_low,
            "ci_high": e_mem.ci_high,
            "solver_error": error and error.value,
            "solver_error_extrapolated": error and error.extrapolated,
            "spread": self.spread,
            "memorization_ratio": ratio and ratio.value,
            "memorization_ratio_ci_low": ratio and ratio.ci_low,
            "memorization_ratio_ci_high": ratio and ratio.ci_high,
            "e_emp": e_emp.value,
            "e_emp_ci_low": e_emp.ci_low,
            "e_emp_ci_high": e_emp.ci_high,
            "num_samples": len(self.training_set.samples),
            "num_distinct_samples": self.num_distinct,
            "training_set": self.training_set.name,
        }


def measurement_events(
    estimate: PFDEstimate, maps: Mapping[str, FlowMap], psi: Descriptor, memorization: Memorization | None, shares: Mapping[str, Interval]
) -> Iterator[Event]:
    """Yield one row a number, with every identifying column of the `measurements` table; `shares` are those of `CopyScores`."""
    teacher, student = map_model(maps["teacher"]), map_model(maps["student"])
    metadata = _Metadata.of(student)
    row = {
        "type": "measurement",
        "experiment": "evaluation",
        "teacher": teacher.reference,
        "teacher_revision": teacher.revision,
        "student": student.reference,
        "student_revision": student.revision,
        "family": student.family,
        "size": metadata.size,
        "parameters": student.num_parameters,
        "objective": metadata.objective,
        "training_set": memorization.training_set.name if memorization else metadata.training_set,
        "num_samples": len(memorization.training_set.samples) if memorization else metadata.num_samples,
        "student_seed": metadata.student_seed,
        "step": metadata.step,
        "student_steps": student_steps(maps["student"]),
        "band": None,
        "noise_seed": estimate.noise_seed,
        "num_noises": estimate.num_noises,
        "descriptor": estimate.descriptor,
        "descriptor_sha256": psi.sha256,
        "solver": estimate.solver,
        "solver_steps": estimate.steps,
        "sigma_min": estimate.sigma_min,
        "sigma_max": estimate.sigma_max,
        "rho": estimate.rho,
        "outside_range": outside_range(maps["student"]),
        "covers": NOISES,
    }

    pfd = Interval(estimate.value, estimate.stderr, estimate.ci_low, estimate.ci_high, estimate.interval_method)
    described_by = {"shuffled": estimate.shuffled, "spread": estimate.spread, "solver_error": estimate.solver_error}
    yield row | {"metric": "PFD"} | numbers_of(pfd) | described_by | {"tail_share": tail_share(estimate.distances)}
    if memorization is not None:
        for metric, spread in (("E_mem", memorization.spread), ("E_emp", estimate.spread)):
            tally, error = memorization.measured.tallies[metric], memorization.errors[metric]
            described_by = {"shuffled": tally.shuffled, "spread": spread, "solver_error": None if error is None else error.value}
            interval = memorization.measured.interval(metric)
            yield row | {"metric": metric} | numbers_of(interval) | described_by | {"tail_share": tail_share(tally.distances)}
        if memorization.ratio is not None:
            yield row | {"metric": "memorization_ratio"} | numbers_of(memorization.ratio)
    for name, share in shares.items():
        yield row | {"metric": name} | numbers_of(share)


def verdict_object(verdict: Verdict | None, *, known: bool) -> dict[str, Any]:
    """Return what results keep of a verdict: the word (None where the training set is not `known`), the rule that was followed, the reason
    in one sentence, and whether E_gen lies clearly below the constant baseline (None where that was not compared)."""
    if verdict is None:
        return {"verdict": None, "verdict_rule": None, "verdict_reason": None, "below_spread": None}
    judged = {"verdict": verdict.word, "verdict_rule": VERDICT_RULE, "verdict_reason": verdict.sentence} if known else {}
    return {"verdict": None, "verdict_rule": None, "verdict_reason": None} | judged | {"below_spread": verdict.below_spread}


def numbers_of(interval: Interval) -> dict[str, float]:
    """Return value, standard error and both ends of an interval, as rows hold them."""
    return {"value": interval.value, "stderr": interval.stderr, "ci_low": interval.ci_low, "ci_high": interval.ci_high}


def result_object(
    estimate: PFDEstimate,
    maps: Mapping[str, FlowMap],
    psi: Descriptor,
    shape: tuple[int, ...],
    memorization: Memorization | None,
    verdict: Verdict | None,
    floor: RetrainedFloor | None,
) -> dict[str, Any]:
    """Return the object that `--json` prints, less `seconds`, `run_id` and the provenance."""
    student = maps["student"]
    covered = trained_range_of(map_model(student).metadata)
    return {
        "value": estimate.value,
        "stderr": estimate.stderr,
        "ci_low": estimate.ci_low,
        "ci_high": estimate.ci_high,
        "interval_method": estimate.interval_method,
        "shuffled": estimate.shuffled,
        "spread": estimate.spread,
        "student_spread": estimate.student_spread,
        "tail_share": tail_share(estimate.distances),
        "not_ruled_out": not_ruled_out(estimate.num_noises),
        "rms_per_coordinate": estimate.rms_per_coordinate,
        "num_noises": estimate.num_noises,
        "noise_seed": estimate.noise_seed,
        "descriptor": estimate.descriptor,
        "descriptor_sha256": psi.sha256,
        "solver": estimate.solver,
        "steps": estimate.steps,
        "student_steps": student_steps(student),
        "sigma_min": estimate.sigma_min,
        "sigma_max": estimate.sigma_max,
        "rho": estimate.rho,
        "outside_range": outside_range(student),
        "trained_range": covered and list(covered),
        "network_calls": estimate.network_calls,
        "solver_error": estimate.solver_error,
        "solver_error_extrapolated": estimate.solver_error_extrapolated,
        "discretization_error": estimate.discretization_error,
        "teacher": described(maps["teacher"]),
        "student": described(student),
        "shape": list(shape),
        "memorization": memorization and memorization.as_object(),
        **verdict_object(verdict, known=memorization is not None),
        "retrained_floor": floor and {name: getattr(floor, name) for name in KEPT},
        "range_note": range_note(student),
        "coupling_note": None if getattr(student, "keeps_coupling", True) else COUPLING_NOTE,
    }


def student_steps(student: FlowMap) -> int | None:
    """Return a few-step student's own number of steps; None for a PF-ODE student."""
    return None if isinstance(student, SolverMap) else getattr(student, "steps", None)


def described(flow_map: FlowMap) -> dict[str, Any]:
    """Return what identifies a checkpoint: `{reference, revision, parameters, family, weights, license}`."""
    model = map_model(flow_map)
    return {
        "reference": model.reference,
        "revision": model.revision,
        "parameters": model.num_parameters,
        "family": model.family,
        "weights": model.weights,
        "license": model.license,
    }


def checkpoint_event(role: str, flow_map: FlowMap) -> Event:
    """Return the event that records a checkpoint, once a run and role (`teacher` or `student`)."""
    model = map_model(flow_map)
    return {
        "type": "checkpoint",
        "role": role,
        **described(flow_map),
        "shape": list(model.shape),
        "sigma_min": model.sigma_min,
        "sigma_max": model.sigma_max,
        "metadata": model.metadata,
    }


def training_set_event(training_set: TrainingSet) -> Event:
    """Return the event that records a training set by content."""
    seeds = training_set.seeds
    return {
        "type": "training_set",
        "name": training_set.name,
        "num_samples": len(training_set.samples),
        "shape": list(training_set.samples.shape[1:]),
        "content_hash": training_set.content_hash,
        "seed_start": None if seeds is None else seeds.start,
        "seed_stop": None if seeds is None else seeds.stop,
    }
