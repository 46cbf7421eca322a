"""The retrained floor is found among a store's evaluations: that of the teacher's own twin, measured the same way, and of no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.sharing.selection import publish
from pfd_engine.store.database import Store
from pfd_engine.store.queries.floor import RetrainedFloor, retrained_floor
from pfd_engine.workspace import Workspace
from tests.run_samples import a_config, measurement, result

TEACHER = "a" * 40
TWIN: dict[str, Any] = {"twin_of": {"teacher": "../teacher", "revision": TEACHER}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def store(workspace: Workspace) -> Iterator[Store]:
    with Store(workspace, None) as store:
        yield store


def measured(workspace: Workspace, metadata: dict[str, Any], **changes: Any) -> Run:
    """Add a finished evaluation whose student has these metadata; `changes` are columns of its measurement."""
    row = measurement(**changes)
    run, lock = claim_new_run(workspace, a_config())
    with EventLog(run.events_path) as log:
        for role, about in (("teacher", {}), ("student", metadata)):
            log.append(
                {
                    "type": "checkpoint", "role": role, "reference": row[role], "revision": row[f"{role}_revision"], "family": "mlp",
                    "weights": "ema", "shape": [1, 8, 8], "parameters": 1000, "sigma_min": 0.002, "sigma_max": 80.0, "license": None,
                    "metadata": about,
                },
                durable=False,
            )  # fmt: skip
        log.append(row, durable=False)
        log.append({"type": "result", "result": result(run.id)}, durable=False)
    run.write_status(run.status.model_copy(update={"state": "finished", "finished": run.status.created + 2}))
    lock.release()
    return run


def floor_of(store: Store, **changes: Any) -> RetrainedFloor | None:
    store.ingest()
    asked = {"teacher_revision": TEACHER, "descriptor": "pixel", "solver": "heun", "steps": 18} | changes
    return retrained_floor(store, **asked)


def test_the_floor_is_the_distance_of_the_twin_with_its_interval(workspace: Workspace, store: Store) -> None:
    measured(workspace, {"size": "S"}, student="someone/student", value=3.0)
    run = measured(workspace, TWIN, student="someone/twin", value=0.8, stderr=0.02, ci_low=0.76, ci_high=0.84, num_noises=1024)
    assert floor_of(store) == RetrainedFloor(0.8, 0.02, 0.76, 0.84, 1024, "someone/twin", run.id, "workspace")


def test_without_a_measured_twin_there_is_no_floor(workspace: Workspace, store: Store) -> None:
    assert floor_of(store) is None
    measured(workspace, {})
    measured(workspace, {"twin_of": "someone/teacher"}, student="someone/odd")
    measured(workspace, {"twin_of": {"revision": "c" * 40}}, student="someone/twin-of-another")
    measured(workspace, TWIN, student="someone/twin", teacher="someone/else", teacher_revision="c" * 40)
    measured(workspace, TWIN, student="someone/twin-2", metric="E_mem")
    measured(workspace, TWIN, student="someone/twin-3", experiment="scaling")
    assert floor_of(store) is None


@pytest.mark.parametrize("changes", [{"descriptor": "dinov2"}, {"solver": "euler"}, {"steps": 36}, {"sigma_range": (0.002, 24.0)}])
def test_a_floor_measured_otherwise_is_not_taken(workspace: Workspace, store: Store, changes: dict[str, Any]) -> None:
    measured(workspace, TWIN)
    assert floor_of(store) is not None
    assert floor_of(store, sigma_range=(0.002, 80.0)) is not None
    assert floor_of(store, **changes) is None


def test_a_copy_of_the_teacher_in_another_folder_has_the_same_floor(workspace: Workspace, store: Store) -> None:
    measured(workspace, TWIN, teacher="./here/teacher", student="./here/twin", value=0.8)
    assert floor_of(store) is not None
    assert floor_of(store, teacher_revision="c" * 40) is None


def test_of_several_floors_the_widest_range_then_the_most_noises_then_the_newest_is_taken(workspace: Workspace, store: Store) -> None:
    measured(workspace, TWIN, value=0.5, num_noises=4096, sigma_max=10.0)
    measured(workspace, TWIN, value=0.6, num_noises=1024)
    measured(workspace, TWIN, value=0.7, num_noises=128)
    found, narrow = floor_of(store), floor_of(store, sigma_range=(0.002, 10.0))
    assert found is not None
    assert narrow is not None
    assert (found.value, narrow.value) == (0.6, 0.5)


def test_the_published_floor_serves_a_workspace_without_one(workspace: Workspace, tmp_path: Path) -> None:
    run = measured(workspace, TWIN, value=0.8)
    with Store(workspace, None) as store:
        store.ingest()
        publish(store, [run.id], tmp_path / "results.duckdb")
    with Store(Workspace(tmp_path / "other"), tmp_path / "results.duckdb") as other:
        found = floor_of(other)
    assert found is not None
    assert (found.value, found.source) == (0.8, "published")
