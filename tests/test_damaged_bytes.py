"""Damaged or exchanged bytes never become numbers: they count as absent, are computed again, and are told once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfd_engine import EvaluateConfig
from pfd_engine.evaluation.prepare import prepare
from pfd_engine.hub.layout import CheckpointError
from pfd_engine.hub.snapshot import Snapshot
from pfd_engine.models.bundled import bundled_references
from pfd_engine.models.families import LoadedDenoiser, load_denoiser, own
from pfd_engine.runs.events import EventLog, parse_lines, read_events
from pfd_engine.runs.folder import Run
from pfd_engine.store.database import Store
from pfd_engine.store.queries import runs as queries
from pfd_engine.workspace import Workspace
from tests.run_samples import append_raw, finished_run, measurement


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def replace_in_events(run: Run, old: bytes, new: bytes) -> None:
    content = run.events_path.read_bytes()
    assert old in content
    run.events_path.write_bytes(content.replace(old, new, 1))


def test_an_event_is_read_as_it_was_reported(tmp_path: Path) -> None:
    event = {"type": "warning", "message": 'ends like a checksum ,"sum":"0123456789abcdef"}', "ünï": [1.5, None]}
    with EventLog(tmp_path / "events.jsonl") as log:
        log.append(event)
    (found,) = read_events(tmp_path / "events.jsonl")
    assert found.pop("time") > 0
    assert found == event


def test_no_flipped_bit_of_an_event_line_passes(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        log.append({"type": "measurement", "value": 3.66})
    line = (tmp_path / "events.jsonl").read_bytes()
    assert [event for event in parse_lines(line) if event is not None]
    for position in range(len(line) - 1):
        for bit in range(8):
            changed = bytearray(line)
            changed[position] ^= 1 << bit
            assert all(event is None for event in parse_lines(bytes(changed))), bytes(changed)


def test_lines_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    lines = [b'{"type":"warning","message":"a","time":1.5}', b'{"type": "warning", "message": "b"}', b'{"type":"warning","sum":"c"}']
    assert [event for event in parse_lines(b"\n".join([*lines, b""])) if event is None] == []


def test_a_bit_in_an_event_line_costs_the_line_and_is_told_once(workspace: Workspace) -> None:
    run = finished_run(workspace)
    replace_in_events(run, b'"value":1.5,"stderr"', b'"value":5.5,"stderr"')
    with Store(workspace, None) as store:
        store.ingest()
        store.ingest()
        assert queries.measurements_of(store, run.id)["value"].tolist() == []
        (warning,) = store.warnings
        assert warning.startswith(f"1 damaged line in the events of run {run.id} was left out")
    with Store(workspace, None) as store:
        store.ingest()
        assert store.warnings == []


def test_an_earlier_run_folder_is_read(workspace: Workspace) -> None:
    run = finished_run(workspace)
    lines = [json.dumps(event).encode() for event in run.events()]
    run.events_path.write_bytes(b"\n".join([*lines, b""]))
    append_raw(run, measurement(metric="E_mem"))
    with Store(workspace, None) as store:
        store.ingest()
        assert queries.measurements_of(store, run.id)["metric"].tolist() == ["E_mem", "PFD"]
        assert store.warnings == []


MEMORIZES, GENERALIZES = bundled_references().student_memorizes, bundled_references().student_generalizes


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "student"
    shutil.copytree(MEMORIZES, folder)
    return folder


def save_anew(student: Path, source: str) -> None:
    """Replace the weights as a training script does, in the middle of anything."""
    shutil.copyfile(Path(source) / "model.safetensors", student / ".new")
    (student / ".new").replace(student / "model.safetensors")


def during_the_load(monkeypatch: pytest.MonkeyPatch, student: Path, act: Callable[[int], None]) -> None:
    load, calls = own.load, []

    def loading(snapshot: Snapshot, device: str) -> LoadedDenoiser:
        loaded = load(snapshot, device)
        if snapshot.path == student:
            calls.append(snapshot)
            act(len(calls))
        return loaded

    monkeypatch.setattr(own, "load", loading)


def test_a_student_saved_anew_while_it_is_loaded_is_measured_as_what_it_became(
    student: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure() -> tuple[float, str]:
        config = EvaluateConfig(teacher=bundled_references().teacher, student=str(student), num_noises=64)
        result = list(prepare(config, workspace, events.append).run("run"))[-1]["result"]
        return result["value"], result["student"]["revision"]

    events: list[dict[str, Any]] = []
    during_the_load(monkeypatch, student, lambda call: save_anew(student, GENERALIZES) if call == 1 else None)
    raced = measure()
    assert [event["message"] for event in events if event["type"] == "warning"] == [
        f"{student} was saved anew while it was loaded: it is loaded again"
    ]
    monkeypatch.undo()
    monkeypatch.setenv("PFD_HOME", str(workspace.root))
    assert measure() == raced
    shutil.rmtree(workspace.cache)
    assert measure() == raced


def test_a_student_that_never_stops_changing_is_refused(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during_the_load(monkeypatch, student, lambda call: save_anew(student, (MEMORIZES, GENERALIZES)[call % 2]))
    with pytest.raises(CheckpointError, match="changes while it is loaded: wait until it is saved"):
        load_denoiser(student)


def test_weights_changed_behind_their_size_and_time_are_noticed(student: Path) -> None:
    path = student / "model.safetensors"
    first = load_denoiser(student)
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-400, os.SEEK_END)
        file.write(bytes(8))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = load_denoiser(student)
    assert first.content_key != second.content_key
    assert first.revision != second.revision
