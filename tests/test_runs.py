"""Run folders: complete or absent, one writer, states that survive anything."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from pfd_engine.errors import InputError
from pfd_engine.jobs.execute import ActiveRun
from pfd_engine.runs import folder as runs
from pfd_engine.runs.events import EventLog, read_events
from pfd_engine.runs.folder import Run, claim_new_run, create_run, list_runs, open_run, retry
from pfd_engine.runs.status import Status
from pfd_engine.workspace import Workspace
from tests.run_samples import a_config, append_raw


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_a_queued_run_has_everything_a_worker_needs(workspace: Workspace) -> None:
    config = a_config(seed=5)
    run = create_run(workspace, config)
    assert run.config == config
    assert (run.path / "config.json").read_text() == config.canonical
    assert run.id.startswith("evaluate-")
    assert run.id.endswith(config.hash[:8])
    assert run.status.state == "queued"
    assert run.status.folder == str(Path.cwd())
    assert not run.is_locked
    assert open_run(workspace, run.id) == run


def test_runs_of_one_second_get_different_names_even_from_many_threads(workspace: Workspace) -> None:
    threads = [threading.Thread(target=create_run, args=(workspace, a_config())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list_runs(workspace)) == 8
    assert not list(workspace.runs.glob(".new-*"))


def test_runs_are_listed_newest_first_and_strangers_left_out(workspace: Workspace) -> None:
    ids = [f"evaluate-{stamp}-0000000a" for stamp in ("20260101-000000", "20260101-000000", "20260301-000000", "20260201-120000")]
    ids[1] += "-12"
    for name in [*ids, "other", "evaluate-20260101-000000-ZZZZZZZZ"]:
        (workspace.runs / name).mkdir(parents=True)
    (workspace.runs / "evaluate-20260401-000000-0000000a").write_text("a file")
    (workspace.runs / "evaluate-20260501-000000-0000000a").symlink_to(workspace.root)
    assert [run.id for run in list_runs(workspace)] == [ids[2], ids[3], ids[1], ids[0]]
    assert list_runs(Workspace(workspace.root / "nowhere")) == []


@pytest.mark.parametrize("name", ["../../etc", "", ".", "evaluate-20260101-000000-0000000a", "a\0b", "evaluate-1-1-1/..", "x" * 5000])
def test_an_id_from_a_link_opens_nothing_but_a_run(workspace: Workspace, name: str) -> None:
    create_run(workspace, a_config())
    with pytest.raises(InputError, match="no run"):
        open_run(workspace, name)


def test_a_workspace_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="PFD_HOME"):
        create_run(Workspace(tmp_path / "file"), a_config())


def test_a_failure_while_making_a_run_leaves_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "replace_file", full)
    with pytest.raises(InputError, match="No space left"):
        create_run(workspace, a_config())
    assert [path.name for path in workspace.runs.iterdir()] == [".lock"]


def test_an_event_log_cuts_a_torn_last_line_and_continues(workspace: Workspace) -> None:
    run = create_run(workspace, a_config())
    append_raw(run, {"type": "warning", "message": "one"}, b'{"type": "warning", "mess')
    with EventLog(run.events_path) as log:
        log.append({"type": "warning", "message": "two"})
    assert [event["message"] for event in run.events("warning")] == ["one", "two"]
    assert all(json.loads(line)["type"] for line in run.events_path.read_bytes().splitlines())


def test_a_long_torn_line_is_cut_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"type":"a"}\n' + b"x" * 300_000)
    EventLog(path).close()
    assert path.read_bytes() == b'{"type":"a"}\n'
    path.write_bytes(b"x" * 300_000)
    EventLog(path).close()
    assert path.read_bytes() == b""


def test_a_refused_append_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "events.jsonl", os.write
    with EventLog(path) as log:
        log.append({"type": "a"})
        before = path.read_bytes()

        def write_half(file: int, data: bytes) -> int:
            write(file, data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", write_half)
        with pytest.raises(OSError, match="No space"):
            log.append({"type": "b"})
        monkeypatch.undo()
        assert path.read_bytes() == before
        log.append({"type": "c"})
    assert [event["type"] for event in read_events(path)] == ["a", "c"]


def test_cancelling_a_queued_run_ends_it_and_a_running_one_is_asked(workspace: Workspace) -> None:
    queued = create_run(workspace, a_config())
    queued.cancel()
    assert queued.status.state == "cancelled"
    running, lock = claim_new_run(workspace, a_config(seed=1))
    running.cancel()
    assert running.cancel_requested
    assert running.status.state == "running"
    lock.release()
    queued.cancel()
    assert queued.status.state == "cancelled"


def test_retry_requeues_what_failed_and_repeats_what_finished(workspace: Workspace) -> None:
    run = create_run(workspace, a_config())
    with pytest.raises(InputError, match="only a failed or cancelled run"):
        retry(run)
    run.cancel()
    assert retry(run) == run
    assert run.status.state == "queued"
    assert run.status.attempt == 0
    assert not run.cancel_requested
    run.write_status(run.status.model_copy(update={"state": "finished"}))
    again = retry(run)
    assert again != run
    assert again.config == run.config
    run.write_status(run.status.model_copy(update={"state": "failed"}))
    (run.path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        retry(run)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"kind": "sweep"}', '{"teacher": "a/b"}', '{"teacher":"a/b","student":"a/b","evil":1}', "[" * 99_999]
)
def test_a_hostile_configuration_is_refused_with_a_sentence(workspace: Workspace, content: str) -> None:
    run = create_run(workspace, a_config())
    (run.path / "config.json").write_text(content)
    with pytest.raises(InputError) as refused:
        run.config  # noqa: B018
    assert "\n" not in str(refused.value)


def test_a_damaged_status_reads_as_failed(workspace: Workspace) -> None:
    run = create_run(workspace, a_config())
    for content in (b"", b"{", b'{"state": "dancing"}', b"\xff"):
        (run.path / "status.json").write_bytes(content)
        assert run.status.state == "failed"
        assert "cannot be read" in (run.status.message or "")


def test_the_end_is_recorded_on_a_full_disk_because_room_was_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(workspace, a_config())
    replace = runs.replace_file

    def replace_if_room(path: Path, data: bytes, *, durable: bool) -> None:
        if (run.path / "reserve").exists():
            raise OSError(28, "No space left on device")
        replace(path, data, durable=durable)

    monkeypatch.setattr(runs, "replace_file", replace_if_room)
    with pytest.raises(OSError, match="No space"):
        run.write_status(Status(state="running"), durable=False)
    run.write_status(Status(state="failed", message="the disk is full"))
    assert run.status.message == "the disk is full"


def test_readers_never_see_half_a_status(workspace: Workspace) -> None:
    run = create_run(workspace, a_config())
    stop = threading.Event()
    seen: list[Status] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(Run(run.path).status)

    reader = threading.Thread(target=read)
    reader.start()
    for done in range(300):
        run.write_status(Status(state="running", done=done, total=300, message="m" * (done % 50)), durable=False)
    stop.set()
    reader.join()
    assert {status.state for status in seen} <= {"running", "queued"}


def test_progress_says_how_long_is_left() -> None:
    status = Status(state="running", done=25, total=100, started=0.0, pace_started=time.time() - 10, pace_done=20)
    assert status.fraction == 0.25
    assert status.seconds_left == pytest.approx(150, rel=0.01)  # 5 in 10 seconds: what an earlier attempt did tells nothing
    assert Status(state="queued").seconds is None
    assert Status(state="running", total=None, done=3).fraction is None


def test_a_resumed_run_measures_its_speed_from_where_it_resumed(workspace: Workspace) -> None:
    run = create_run(workspace, a_config())
    earlier = {"state": "queued", "attempt": 1, "phase": "noises", "done": 900, "total": 1000, "pace_started": 1.0, "pace_done": 0}
    run.write_status(run.status.model_copy(update=earlier))
    lock = run.lock()
    lock.acquire()
    active = ActiveRun(run, lock)
    active.begin()
    active.report({"type": "progress", "phase": "noises", "done": 900, "total": 1000, "unit": "noises"})
    assert run.status.pace_done == 900
    assert run.status.seconds_left is None
    active.end("cancelled", "cancelled", 130)
    before = time.time()
    run.requeue()
    assert (run.status.queued or 0) >= before
