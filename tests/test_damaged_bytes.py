"""Damaged or exchanged bytes never become numbers: they count as absent, are computed again, and are told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pfd_engine import store_queries as queries
from pfd_engine.run_events import EventLog, parse_lines, read_events
from pfd_engine.runs import Run
from pfd_engine.store import Store
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
