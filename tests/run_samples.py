"""Run folders with made-up content, for tests of the store and the command line."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

from PIL import Image

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.workspace import Workspace


def a_config(**changes: Any) -> EvaluateConfig:
    return EvaluateConfig.parse({"teacher": "someone/teacher", "student": "someone/student", "num_noises": 128} | changes)


def png() -> str:
    stream = io.BytesIO()
    Image.new("L", (4, 4), 128).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def measurement(**changes: Any) -> dict[str, Any]:
    return {
        "type": "measurement", "experiment": "evaluation", "teacher": "someone/teacher", "teacher_revision": "a" * 40,
        "student": "someone/student", "student_revision": "b" * 40, "family": "mlp", "size": None, "parameters": 1000,
        "objective": None, "training_set": None, "num_samples": None, "student_seed": None, "step": None, "student_steps": None,
        "metric": "PFD", "band": None, "value": 1.5, "stderr": 0.1, "ci_low": 1.3, "ci_high": 1.7, "shuffled": 4.0,
        "noise_seed": 0, "num_noises": 128, "descriptor": "pixel", "descriptor_sha256": None, "solver": "heun",
        "solver_steps": 18, "sigma_min": 0.002, "sigma_max": 80,
    } | changes  # fmt: skip


def result(run_id: str) -> dict[str, Any]:
    side = {"revision": "a" * 40, "parameters": 1000, "family": "mlp"}
    return {
        "value": 1.5, "stderr": 0.1, "num_noises": 128, "seconds": 2.0, "run_id": run_id, "device": "cpu", "shape": [1, 8, 8],
        "versions": {"torch": "2.13.0"}, "git_commit": None, "network_calls": {"teacher": 35, "student": 35},
        "network_calls_made": {"teacher": 3500, "student": 3500},
        "teacher": {"reference": "someone/teacher", **side}, "student": {"reference": "someone/student", **side},
    }  # fmt: skip


def events(run_id: str) -> Iterator[dict[str, Any]]:
    yield {"type": "progress", "phase": "noises", "done": 0, "total": 128, "unit": "noises"}
    for role in ("teacher", "student"):
        yield {
            "type": "checkpoint", "role": role, "reference": f"someone/{role}", "revision": "a" * 40, "family": "mlp", "weights": "ema",
            "shape": [1, 8, 8], "parameters": 1000, "sigma_min": 0.002, "sigma_max": 80.0, "license": None, "metadata": {"size": "S"},
        }  # fmt: skip
    for start in (0, 64):
        values = [float(seed) for seed in range(start, start + 64)]
        yield {"type": "distances", "metric": "PFD", "seeds_start": start, "seeds_stop": start + 64, "values": values}
    yield {
        "type": "pair",
        "seed": 3,
        "rank": 0,
        "group": "nearest",
        "distance": 0.1,
        "teacher_png": png(),
        "student_png": png(),
        "nearest_png": None,
    }
    yield measurement()
    yield {"type": "result", "result": result(run_id)}


def finished_run(workspace: Workspace, config: EvaluateConfig | None = None) -> Run:
    run, lock = claim_new_run(workspace, config or a_config())
    with EventLog(run.events_path) as log:
        for event in events(run.id):
            log.append(event, durable=False)
    run.write_status(run.status.model_copy(update={"state": "finished", "finished": run.status.created + 2}))
    lock.release()
    return run


def append_raw(run: Run, *lines: bytes | dict[str, Any]) -> None:
    with run.events_path.open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
