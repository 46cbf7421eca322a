"""Finished sweeps with made-up students, written as real run folders, for tests of the finding pages and their queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.sharing.bundle.write import write_bundle
from pfd_engine.store.database import Store
from pfd_engine.workspace import Workspace
from tests import sweep_samples
from tests.run_samples import finished_run, measurement, png

SIZES = {"mlp-32": 30_000, "mlp-64": 120_000, "mlp-128": 480_000}
SAMPLES = (16, 64, 256, 1024)
STEPS = (100, 400, 1600, 6400)
BANDS = ("pc 1-4", "pc 5-16", "pc 17-64")
NOISES = 64


def a_sweep(experiment: str, **changes: Any) -> SweepConfig:
    values: dict[str, Any] = {
        "experiment": experiment, "name": f"{experiment}-small", "teacher": "someone/teacher", "sizes": list(SIZES), "seeds": [0, 1, 2],
        "num_samples": list(SAMPLES), "steps": STEPS[-1], "evaluation": {"num_noises": NOISES},
    }  # fmt: skip
    return SweepConfig.parse(values | changes)


def scaling_events(exponent: float = 0.5, sizes: dict[str, int] = SIZES, samples: tuple[int, ...] = SAMPLES) -> Iterator[dict[str, Any]]:
    """Students whose E_mem and E_gen cross at N* = 64 times (parameters / 30,000)^exponent."""
    rng = np.random.default_rng(0)
    crossings = sweep_samples.true_crossings(exponent, sizes=sizes)
    measurements, distances = sweep_samples.scaling_sweep(rng, crossings, samples, noises=NOISES, sizes=sizes)
    yield from _events("scaling", measurements.to_dict("records"), distances.to_dict("records"))


def dynamics_events() -> Iterator[dict[str, Any]]:
    """Students of N = 16 that learn and then overfit, and of N = 1,024 that only learn; band energies that add up."""
    rng = np.random.default_rng(1)
    curves = {16: np.array([3.5, 2.6, 3.0, 3.6]), 1024: np.array([3.4, 2.5, 2.0, 1.7])}
    measurements, distances = sweep_samples.dynamics_sweep(rng, curves, STEPS, noises=NOISES, seeds=4, scatter=0.01)
    rows = measurements.to_dict("records")
    for row in list(rows):
        shares = np.array([0.5, 0.3, 0.2]) * row["value"] ** 2
        rows += [{**row, "metric": "E_gen2", "band": band, "value": float(share)} for band, share in zip(BANDS, shares, strict=True)]
        rows += [{**row, "metric": loss, "value": 1 / row["step"] + extra} for loss, extra in (("train_loss", 0.1), ("held_out_loss", 0.2))]
    yield from _events("training-dynamics", rows, distances.to_dict("records"))


def bias_variance_events() -> Iterator[dict[str, Any]]:
    """Parts with bias^2 falling and variance rising with the size, one bias^2 below 0; their sum is E_gen^2."""
    for size, (bias2, variance) in zip(SIZES, ((4.0, 1.0), (2.0, 2.0), (-0.01, 3.0)), strict=True):
        for num_samples in SAMPLES[:2]:
            shared = {
                "experiment": "bias-variance", "size": size, "parameters": SIZES[size], "num_samples": num_samples, "step": STEPS[-1],
                "num_noises": NOISES, "objective": "samples",
            }  # fmt: skip
            for seed in range(4):
                student = {"student": f"{size} N={num_samples} seed {seed}", "student_seed": seed}
                yield measurement(**shared, **student, metric="E_gen", value=2.0)
            for metric, value in (("bias2", bias2), ("variance", variance), ("E_gen2", bias2 + variance)):
                numbers = {"value": value, "stderr": 0.1, "ci_low": value - 0.43, "ci_high": value + 0.43}
                yield measurement(**shared, student=f"{size} N={num_samples} all", metric=metric, **numbers)


EVENTS = {"scaling": scaling_events, "training-dynamics": dynamics_events, "bias-variance": bias_variance_events}


def finished_sweep(
    workspace: Workspace,
    experiment: str,
    events: Iterator[dict[str, Any]] | None = None,
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> Run:
    config = a_sweep(experiment, **changes)
    run, lock = claim_new_run(workspace, config)
    with EventLog(run.events_path) as log:
        for event in events or EVENTS[experiment]():
            log.append(event, durable=False)
        told = {"experiment": experiment, "name": config.name, "students": 36, "failed": {}, "seconds": 60.0, "run_id": run.id}
        log.append({"type": "result", "result": told | (result or {})}, durable=False)
    run.write_status(run.status.model_copy(update={"state": "finished", "finished": run.status.created + 60}))
    lock.release()
    return run


def _events(experiment: str, measurements: list[dict[Any, Any]], distances: list[dict[Any, Any]]) -> Iterator[dict[str, Any]]:
    for row in measurements:
        shared = {**row, "experiment": experiment, "num_noises": NOISES, "objective": "samples"}
        yield measurement(**shared)
        if row["metric"] == "E_gen":
            yield measurement(**{**shared, "metric": "seconds", "value": 12.0})
    last = max(row["step"] for row in distances)
    for row in distances:
        squared = row["squared"].tolist()
        yield {**row, "type": "distances", "seeds_start": 0, "seeds_stop": len(squared), "values": squared, "squared": None}
        if row["step"] == last and row["metric"] == "E_gen":
            yield {
                "type": "pair", "group": "nearest", "rank": 0, "seed": 7, "distance": 0.5, "teacher_png": png(), "student_png": png(),
                "nearest_png": None, "student": row["student"], "step": last,
            }  # fmt: skip


def a_bundle(folder: Path) -> Path:
    """Write an evaluation and a sweep of a workspace in `folder` as a bundle that others can pull."""
    workspace, bundle = Workspace(folder / "workspace"), folder / "bundle"
    finished_run(workspace)
    finished_sweep(workspace, "bias-variance")
    with Store(workspace, None) as store:
        store.ingest()
        write_bundle(store, None, bundle)
    return bundle
