"""One evaluation from loaded models to its events: measure block by block, report on the way, and put the result together."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pfd_engine.analysis.verdicts import Verdict, judge_student
from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.errors import Cancelled, InputError
from pfd_engine.evaluation.caveats import caveats
from pfd_engine.evaluation.image_pairs import pair_events
from pfd_engine.evaluation.report import (
    Event,
    Memorization,
    checkpoint_event,
    measurement_events,
    result_object,
    training_set_event,
)
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.flow.maps import FlowMap, SolverMap
from pfd_engine.measure.convergence import converge, solver_errors
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.end_points import EndPointCache, EndPoints, Progress, seed_blocks
from pfd_engine.measure.memorization import count_memorized, distinct_samples
from pfd_engine.measure.metrics.copies import CopyScores
from pfd_engine.measure.pfd import PFDEstimate, finish
from pfd_engine.measure.rungs import KEPT_FROM, choose_rung, keep_rung, known_rung
from pfd_engine.measure.tally import BlockMeasurement, Deviations, Measured, Pairs, measure_until
from pfd_engine.models.families import map_model
from pfd_engine.provenance import provenance
from pfd_engine.store.queries.floor import RetrainedFloor, published_floor
from pfd_engine.training_sets.load import TrainingSet
from pfd_engine.workspace import Workspace

TEACHER_SPREAD, EMPIRICAL_SPREAD = "spread", "E_emp_spread"
PAIRS: Pairs = {"PFD": ("teacher", "student"), "E_mem": ("student", "empirical"), "E_emp": ("teacher", "empirical")}


@contextmanager
def cached_end_points(config: EvaluateConfig, workspace: Workspace) -> Iterator[EndPoints]:
    """Open the workspace's cache of end points; raises InputError where it cannot be."""
    try:
        cache = EndPointCache(workspace.cache / "endpoints")
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"the cache in {workspace.cache} cannot be opened ({error}): free space, or set PFD_HOME elsewhere") from None
    try:
        yield EndPoints(config.batch_size, cache)
    finally:
        cache.close()


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
    calls_made: dict[str, int] = field(default_factory=dict, init=False)

    def run(self, run_id: str, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Yield the events of the evaluation, the result last; raises Cancelled once `should_stop()` and RunError for what fails."""
        started = time.monotonic()
        with cached_end_points(self.config, self.workspace) as end_points:
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
        self.calls_made = {"teacher": 0, "student": 0}
        for role, flow_map in self.maps.items():
            yield checkpoint_event(role, flow_map)
        if self.training_set is not None:
            yield training_set_event(self.training_set)
        blocks = list(seed_blocks(config.seed, config.seed + config.num_noises, self.shape))

        maps = self.maps
        if config.steps == "auto":
            maps = yield from self._at_rung(blocks, end_points)
        convergence = yield from self._as_events("convergence", converge(maps, blocks, self.shape, self.psi, end_points))
        maps = dict(convergence.maps)
        if not convergence.converged:
            self.notes.append("the teacher's map did not converge: its solver error is part of this distance")
        pairs: Pairs = {"PFD": PAIRS["PFD"]}
        if self.training_set is not None:
            teacher = maps["teacher"]
            assert isinstance(teacher, SolverMap)
            maps["empirical"], pairs = teacher.of(EmpiricalDenoiser(self.training_set.samples.to(self.device))), PAIRS

        seen = _Seen(self.training_set, self.psi, self.device)
        work = measure_until(maps, pairs, blocks, self.shape, self.psi, end_points, None, config.target_relative_error)
        measured = yield from self._measured(work, maps, seen)
        yield from seen.deviation_events()
        work_again = solver_errors(maps, pairs, measured.tallies, blocks, self.shape, self.psi, end_points)
        errors = yield from self._as_events("solver error", work_again)
        pair = {role: maps[role] for role in ("teacher", "student")}
        estimate = finish(measured, pair, errors["PFD"], self.psi.name)
        yield _progress("images", 0, 1)
        samples = None if self.training_set is None else self.training_set.samples
        yield from pair_events(estimate, maps, blocks, self.shape, end_points, samples)
        memorization = None
        if self.training_set is not None:
            memorization = Memorization(self.training_set, seen.num_distinct, measured, errors, seen.memorized)
        floor = self._floor(estimate)
        verdict = None if self.config.outside_range == "teacher" else _judge(measured, seen, maps["student"], floor)
        shares = seen.copies.shares() if seen.copies is not None else {}
        yield from measurement_events(estimate, pair, self.psi, memorization, shares)
        result = result_object(estimate, pair, self.psi, self.shape, memorization, verdict, floor)
        result |= {f"{name.lower()}_score": {"value": s.value, "ci_low": s.ci_low, "ci_high": s.ci_high} for name, s in shares.items()}
        result |= {"confidence": measured.confidence, "network_calls_made": self.calls_made}
        self.notes += caveats(estimate, memorization)
        result["warnings"] = list(self.notes)
        yield {"type": "result", "result": result | {"seconds": time.monotonic() - started, "run_id": run_id} | provenance(self.device)}

    def _floor(self, estimate: PFDEstimate) -> RetrainedFloor | None:
        """Return the published distance of the teacher to one that differs in its training seed only, measured in the same way."""
        teacher, revision = self.maps["teacher"], getattr(map_model(self.maps["teacher"]), "revision", None)
        if not isinstance(teacher, SolverMap) or revision is None or estimate.steps is None:
            return None
        if "twin_of" in getattr(map_model(self.maps["student"]), "metadata", {}):
            return None  # the retrained teacher is the floor
        levels = teacher.sigma_min, teacher.sigma_max
        return published_floor(revision, estimate.descriptor, teacher.solver.name, estimate.steps, levels, estimate.noise_seed)

    def _at_rung(self, blocks: list[range], end_points: EndPoints) -> Generator[Event, None, dict[str, FlowMap]]:
        """Return the maps with the rung of their teacher, chosen here where none was before; few-step students converge by themselves."""
        teacher, folder = self.maps["teacher"], self.workspace.cache
        if not isinstance(teacher, SolverMap) or not all(isinstance(m, SolverMap) for m in self.maps.values()):
            return self.maps
        rung = known_rung(folder, teacher, self.psi.name)
        if rung is None:
            chosen = yield from self._as_events("solver steps", choose_rung(self.maps, blocks, self.shape, self.psi, end_points))
            rung = keep_rung(folder, teacher, self.psi.name, chosen) if self.config.num_noises >= KEPT_FROM else chosen
        return {role: m.with_steps(rung) if isinstance(m, SolverMap) else m for role, m in self.maps.items()}

    def _measured(
        self, work: Generator[Progress | BlockMeasurement, None, Measured], maps: dict[str, FlowMap], seen: _Seen
    ) -> Generator[Event, None, Measured]:
        """Turn the blocks of a measurement into events, and return it."""
        total, per_noise, calls = self.config.num_noises, sum(m.network_calls for m in maps.values()), 0  # type: ignore[attr-defined]
        while True:
            try:
                block = next(work)
            except StopIteration as stop:
                measured: Measured = stop.value
                return measured
            if isinstance(block, Progress):
                self._count(block)
                calls += block.noises * block.flow_map.network_calls  # type: ignore[attr-defined]
                yield _progress("noises", min(calls // per_noise, total), total)
                continue
            for name, pair in block.pairs.items():
                yield _distances(name, block.seeds, pair.distances)
            seen.add(block)

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


class _Seen:
    """What one pass over the noises counts beside the distances: memorized images, copies, and deviations from the mean end point."""

    def __init__(self, training_set: TrainingSet | None, psi: Descriptor, device: torch.device) -> None:
        samples = None if training_set is None else training_set.samples.to(device)
        self._distinct = None if samples is None else distinct_samples(samples)
        self.num_distinct = 0 if self._distinct is None else len(self._distinct)
        self.memorized: int | None = 0 if self.num_distinct > 1 else None
        self.copies = CopyScores(psi, samples, device) if psi.name == "sscd" else None
        self._deviations = {TEACHER_SPREAD: Deviations()} | ({EMPIRICAL_SPREAD: Deviations()} if samples is not None else {})
        self._blocks: list[range] = []

    def add(self, block: BlockMeasurement) -> None:
        """Count one block."""
        self._blocks.append(block.seeds)
        for metric, role in ((TEACHER_SPREAD, "teacher"), (EMPIRICAL_SPREAD, "empirical")):
            if metric in self._deviations:
                self._deviations[metric].add(block.seeds, block.features[role])
        student = block.end_points["student"]
        if self.memorized is not None and self._distinct is not None:
            self.memorized += count_memorized(student, self._distinct)
        if self.copies is not None:
            self.copies.add(block.pairs["PFD"].distances, student)

    def spread(self, metric: str) -> NDArray[np.float64] | None:
        """Return squared deviations `(M,)` from the mean end point, None where there are none or they would have taken too much memory."""
        return self._deviations[metric].squared if metric in self._deviations else None

    def deviation_events(self) -> Iterator[Event]:
        """Yield the squared deviations of the teacher's and the empirical map's end points as blocks of `spread` and `E_emp_spread`."""
        for metric, deviations in self._deviations.items():
            if (squared := deviations.squared) is None:
                continue
            ends = np.cumsum([len(seeds) for seeds in self._blocks])[:-1]
            for seeds, values in zip(self._blocks, np.split(squared, ends), strict=True):
                yield _distances(metric, seeds, values)


def _judge(measured: Measured, seen: _Seen, student: FlowMap, floor: RetrainedFloor | None) -> Verdict:
    """Judge a student by what one evaluation measured of it."""
    d = {name: tally.distances for name, tally in measured.tallies.items()}
    teacher, empirical = seen.spread(TEACHER_SPREAD), seen.spread(EMPIRICAL_SPREAD)
    return judge_student(
        d["PFD"],
        d.get("E_mem"),
        d.get("E_emp"),
        spread_teacher=measured.tallies["PFD"].spreads[0] if teacher is None else teacher,
        spread_empirical=measured.tallies["E_mem"].spreads[1] if empirical is None and "E_mem" in d else empirical,
        floor=floor.ci_high if floor is not None else None,
        distinct_samples=seen.num_distinct if "E_mem" in d else None,
        keeps_coupling=getattr(student, "keeps_coupling", True),
        confidence=measured.confidence,
    )


def _distances(metric: str, seeds: range, values: NDArray[np.float64]) -> Event:
    return {"type": "distances", "metric": metric, "seeds_start": seeds.start, "seeds_stop": seeds.stop, "values": values.tolist()}


def _progress(phase: str, done: int, total: int) -> Event:
    return {"type": "progress", "phase": phase, "done": done, "total": total, "unit": "noises"}
