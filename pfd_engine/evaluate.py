"""One evaluation from its configuration to its events: load and check both models, measure block by block, report as it goes.

`prepare` raises InputError for whatever cannot start; `Evaluation.run` then yields events, plain JSON objects, of which the last is the
result. Running the same evaluation again costs almost nothing and gives the same bits: end points are cached by content.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from pfd_engine.adapters import load_map, map_model
from pfd_engine.checkpoint_files import no_teacher
from pfd_engine.config import EvaluateConfig
from pfd_engine.convergence import converge, discretization_error
from pfd_engine.copy_scores import CopyScores
from pfd_engine.descriptors import Descriptor, load_descriptor
from pfd_engine.devices import resolve_device
from pfd_engine.distance import common_shape, finish, look_schedule, pair_of_maps, reached
from pfd_engine.empirical import EmpiricalDenoiser, nearest_samples
from pfd_engine.endpoints import EndPointCache, EndPoints, Progress, seed_blocks
from pfd_engine.errors import Cancelled, InputError
from pfd_engine.evaluation_report import Event, Memorization, checkpoint_event, measurement_events, result_object, training_set_event
from pfd_engine.flow_maps import FlowMap, SolverMap
from pfd_engine.image_pairs import pair_events
from pfd_engine.intervals import CONFIDENCE
from pfd_engine.measurement import Tally, measure
from pfd_engine.provenance import provenance
from pfd_engine.training_sets import TrainingSet, load_training_set
from pfd_engine.workspace import Workspace

Report = Callable[[Event], None]

MEMORIZED_BELOW = 1 / 3
PAIRS = {"PFD": ("teacher", "student"), "E_mem": ("student", "empirical"), "E_emp": ("teacher", "empirical")}


def prepare(config: EvaluateConfig, workspace: Workspace, report: Report | None = None) -> Evaluation:
    """Download, load and check everything that the evaluation needs; `report` receives progress events meanwhile.

    Raises InputError with one sentence for what cannot start.
    """
    report = report or (lambda event: None)
    device = resolve_device(config.device)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # states and sums are float32 throughout
    loaded: dict[str, FlowMap] = {}
    for role, reference in (("teacher", config.teacher), ("student", config.student)):
        report({"type": "progress", "phase": "load", "done": len(loaded), "total": 2, "unit": "models"})
        with _naming(role, reference):
            loaded[role] = load_map(
                reference,
                str(device),
                config.solver,
                config.steps,
                student_steps=config.student_steps if role == "student" else None,
                report=report,
            )
            if role == "teacher" and not isinstance(loaded[role], SolverMap):
                raise no_teacher(str(map_model(loaded[role]).reference))
    teacher, student = loaded["teacher"], loaded["student"]
    shape = common_shape(teacher, student)
    maps = pair_of_maps(
        teacher.denoiser if isinstance(teacher, SolverMap) else teacher,
        student.denoiser if isinstance(student, SolverMap) else student,
        config.solver,
        config.steps,
        config.sigma_min,
        config.sigma_max,
    )
    psi = load_descriptor(config.descriptor, device, config.descriptor_file, config.descriptor_sha256, config.allow_torchscript)
    evaluation = Evaluation(config, workspace, maps, shape, psi, None, device)
    named = config.training_set or getattr(map_model(student), "training_set_reference", None)
    if named is not None:
        try:
            evaluation.training_set = _training_set(named, evaluation, report)
        except InputError as error:
            if config.training_set is not None or error.field == "seed":
                raise  # noises used twice concern the PFD itself, whoever named the set
            evaluation.notes.append(f"E_mem is left out, because the training set that the student names cannot be used: {error}")
    return evaluation


@contextmanager
def _naming(field_name: str, reference: str) -> Iterator[None]:
    """Name the field at fault, and the reference, in an InputError of a loader that does not."""
    try:
        yield
    except InputError as error:
        if error.field not in EvaluateConfig.model_fields:
            error.field = field_name
        if error.field == field_name and reference.split("@")[0] not in str(error):
            error.args = (f"{field_name.replace('_', ' ')} {reference}: {error}",)
        raise


@contextmanager
def _cached_end_points(config: EvaluateConfig, workspace: Workspace) -> Iterator[EndPoints]:
    """Open the workspace's cache of end points; raises InputError where it cannot be."""
    try:
        cache = EndPointCache(workspace.cache / "endpoints")
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"the cache in {workspace.cache} cannot be opened ({error}): free space, or set PFD_HOME elsewhere") from None
    try:
        yield EndPoints(config.batch_size, cache)
    finally:
        cache.close()


def _training_set(reference: str, evaluation: Evaluation, report: Report) -> TrainingSet:
    """Load the student's training set; raises InputError where its shape or its seeds do not fit."""
    config, shape = evaluation.config, evaluation.shape
    with _naming("training_set", reference), _cached_end_points(config, evaluation.workspace) as end_points:
        end_points.notes = evaluation.notes
        training_set = load_training_set(
            reference,
            config.teacher,
            evaluation.device,
            report,
            end_points=end_points,
            evaluation_seeds=range(config.seed, config.seed + config.num_noises),
        )
    found = tuple(training_set.samples.shape[1:])
    if found != shape:
        raise InputError(
            f"the training set holds samples of {'x'.join(map(str, found))} but the models make {'x'.join(map(str, shape))}: "
            "name the set that the student was trained on",
            "training_set",
        )
    return training_set


@dataclass
class Evaluation:
    """An evaluation that can start: both maps on one sigma range, the descriptor, and the training set if there is one."""

    config: EvaluateConfig
    workspace: Workspace
    maps: dict[str, FlowMap]
    shape: tuple[int, ...]
    psi: Descriptor
    training_set: TrainingSet | None
    device: torch.device
    notes: list[str] = field(default_factory=list)
    memorized: int = field(default=0, init=False)
    calls_made: dict[str, int] = field(default_factory=dict, init=False)

    def run(self, run_id: str, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Yield the events of the evaluation, the result last; raises Cancelled once `should_stop()` and RunError for what fails."""
        started = time.monotonic()
        with _cached_end_points(self.config, self.workspace) as end_points:
            end_points.notes = self.notes
            told: list[str] = []
            for event in self._events(run_id, end_points, started):
                if should_stop():
                    raise Cancelled("the run was cancelled")
                while len(told) < len(self.notes):
                    told.append(self.notes[len(told)])
                    yield {"type": "warning", "message": told[-1]}
                yield event

    def _events(self, run_id: str, end_points: EndPoints, started: float) -> Iterator[Event]:
        config = self.config
        self.memorized, self.calls_made = 0, {"teacher": 0, "student": 0}
        for role, flow_map in self.maps.items():
            yield checkpoint_event(role, flow_map)
        if self.training_set is not None:
            yield training_set_event(self.training_set)
        blocks = list(seed_blocks(config.seed, config.seed + config.num_noises, self.shape))

        convergence = yield from self._as_events("convergence", converge(self.maps, blocks, self.shape, self.psi, end_points))
        maps = dict(convergence.maps)
        if not convergence.converged:
            self.notes.append("the teacher's map did not converge: its solver error is part of this distance")
        pairs = {"PFD": PAIRS["PFD"]}
        if self.training_set is not None:
            maps["empirical"] = self._empirical_map(maps)
            pairs = PAIRS

        tallies, interval = {name: Tally() for name in pairs}, None
        samples = None if self.training_set is None else self.training_set.samples
        copies = CopyScores(self.psi, samples, self.device) if self.psi.name == "sscd" else None
        looks = look_schedule(blocks) if config.target_relative_error is not None else [config.num_noises]
        per_noise = sum(m.network_calls for m in maps.values())
        calls = 0
        for block in measure(maps, pairs, blocks, self.shape, self.psi, end_points):
            if isinstance(block, Progress):
                self._count(block)
                calls += block.noises * block.flow_map.network_calls  # type: ignore[attr-defined]
                yield _progress("noises", min(calls // per_noise, config.num_noises), config.num_noises)
                continue
            for name, tally in tallies.items():
                tally.add(block.pairs[name])
                yield {
                    "type": "distances",
                    "metric": name,
                    "seeds_start": block.seeds.start,
                    "seeds_stop": block.seeds.stop,
                    "values": block.pairs[name].distances.tolist(),
                }
            if self.training_set is not None and len(self.training_set.samples) > 1:
                self.memorized += self._count_memorized(block.end_points["student"])
            if copies is not None:
                copies.add(block.pairs["PFD"].distances, block.end_points["student"])
            done = block.seeds.stop - config.seed
            if done in looks:
                interval = tallies["PFD"].interval(1 - (1 - CONFIDENCE) / len(looks))
                if config.target_relative_error is not None and reached(interval, config.target_relative_error):
                    break
        assert interval is not None
        pair = {role: maps[role] for role in ("teacher", "student")}
        error = convergence.error
        if error is None:
            error = yield from self._as_events(
                "discretization error", discretization_error(pair, tallies["PFD"], blocks, self.shape, self.psi, end_points)
            )
        estimate = finish(tallies["PFD"], interval, pair, error, self.psi.name)
        yield _progress("images", 0, 1)
        yield from pair_events(estimate, maps, blocks, self.shape, end_points, samples)
        memorization = self._memorization(tallies)
        shares = copies.shares() if copies is not None else {}
        yield from measurement_events(estimate, pair, self.psi, memorization, shares)
        result = result_object(estimate, pair, self.psi, self.shape, memorization)
        result |= {f"{name.lower()}_score": {"value": s.value, "ci_low": s.ci_low, "ci_high": s.ci_high} for name, s in shares.items()}
        result["network_calls_made"] = self.calls_made
        if estimate.discretization_error is not None and estimate.discretization_error > (estimate.ci_high - estimate.ci_low) / 2:
            self.notes.append(
                f"the solver's own error, about {estimate.discretization_error:.2g}, is larger than half the interval's width, "
                f"{(estimate.ci_high - estimate.ci_low) / 2:.2g}: take more steps to narrow it"
            )
        result["warnings"] = list(self.notes)
        yield {"type": "result", "result": result | {"seconds": time.monotonic() - started, "run_id": run_id} | provenance(self.device)}

    def _as_events(self, phase: str, work: Generator[Progress, None, Any]) -> Generator[Event, None, Any]:
        """Turn the progress of a computation of unknown length into events, and return its value."""
        noises = 0
        while True:
            try:
                progress = next(work)
            except StopIteration as stop:
                return stop.value
            self._count(progress)
            noises += progress.noises
            yield {"type": "progress", "phase": phase, "done": noises, "total": None, "unit": "noises"}

    def _count(self, progress: Progress) -> None:
        """Count the network calls really made for each side, for all noises together; what came from the cache cost none."""
        for role, flow_map in self.maps.items():
            if not progress.cached and map_model(progress.flow_map) is map_model(flow_map):
                self.calls_made[role] += progress.noises * progress.flow_map.network_calls  # type: ignore[attr-defined]

    def _empirical_map(self, maps: dict[str, FlowMap]) -> SolverMap:
        """The training set's own map, with the solver, the steps and the range of the pair."""
        assert self.training_set is not None
        reference = maps["teacher"]
        assert isinstance(reference, SolverMap)
        denoiser = EmpiricalDenoiser(self.training_set.samples.to(self.device))
        return SolverMap(denoiser, reference.solver.name, reference.steps, reference.sigma_min, reference.sigma_max, device=self.device)

    def _memorization(self, tallies: dict[str, Tally]) -> Memorization | None:
        if self.training_set is None:
            return None
        memorized = self.memorized if len(self.training_set.samples) > 1 else None
        return Memorization(self.training_set, tallies["E_mem"], tallies["E_emp"], memorized)

    def _count_memorized(self, images: torch.Tensor) -> int:
        """Count the images whose nearest training sample is closer than a third of the second nearest."""
        assert self.training_set is not None
        distances, _ = nearest_samples(images, self.training_set.samples.to(images.device))
        return int((distances[:, 0] < MEMORIZED_BELOW * distances[:, 1]).sum())


def _progress(phase: str, done: int, total: int) -> Event:
    return {"type": "progress", "phase": phase, "done": done, "total": total, "unit": "noises"}
