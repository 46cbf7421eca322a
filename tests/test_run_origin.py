"""Where runs come from: a run measures the models of the folder that it was made in, or fails in a sentence; never others."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pfd_engine.cli.main import main
from pfd_engine.configs.distill import DistillConfig
from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.errors import InputError
from pfd_engine.models.bundled import GENERALIZES, MEMORIZES, TEACHER
from pfd_engine.runs.folder import Run, create_run, retry
from pfd_engine.runs.origin import ORIGIN_FILE
from pfd_engine.store.database import Store
from pfd_engine.workspace import ASSETS, Workspace
from tests.run_processes import call
from tests.run_samples import a_config

ASKED: dict[str, Any] = {"teacher": "./teacher", "student": "./student", "num_noises": 16, "steps": 4}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return models(tmp_path / "mine", MEMORIZES)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with the same names, but another student."""
    return models(tmp_path / "elsewhere", GENERALIZES)


def models(folder: Path, student: str) -> Path:
    shutil.copytree(ASSETS / TEACHER, folder / "teacher")
    shutil.copytree(ASSETS / student, folder / "student", ignore=shutil.ignore_patterns("training_set.json"))
    return folder


@pytest.fixture
def queued(workspace: Workspace, mine: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(mine)
    return create_run(workspace, EvaluateConfig(**ASKED))


def execute(run: Run, where: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(where)
    assert main(["run", str(run.path)]) == 0, run.status.message
    assert run.result is not None
    return run.result


def of_earlier_version(run: Run, folder: Path | None) -> None:
    """Make a run folder what earlier versions left: no origin, and relative paths as they were typed."""
    (run.path / ORIGIN_FILE).unlink()
    (run.path / "config.json").write_text(EvaluateConfig(**ASKED).canonical)
    run.write_status(run.status.model_copy(update={"folder": str(folder) if folder else None}))


def test_paths_are_absolute_on_disk_and_as_typed_to_readers(queued: Run, mine: Path) -> None:
    stored = json.loads((queued.path / "config.json").read_text())
    assert (stored["teacher"], stored["student"]) == (str(mine / "teacher"), str(mine / "student"))
    assert queued.config == queued.config_here == EvaluateConfig(**ASKED)
    assert "--student ./student" in queued.config.command()


def test_every_field_that_is_a_path_is_resolved(workspace: Workspace, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(mine / "home"))
    config = EvaluateConfig(**ASKED | {"student": "~/s", "training_set": "../set", "descriptor_file": "weights.pt"})
    stored = json.loads((create_run(workspace, config, folder=mine).path / "config.json").read_text())
    assert stored["student"] == str(mine / "home" / "s")
    assert os.path.normpath(stored["training_set"]) == str(mine.parent / "set")
    assert stored["descriptor_file"] == str(mine / "weights.pt")
    distill = create_run(workspace, DistillConfig(teacher="./teacher", size="mlp-32", output="made"), folder=mine)
    assert json.loads((distill.path / "config.json").read_text())["output"] == str(mine / "made")
    hub = create_run(workspace, a_config(), folder=mine)
    assert json.loads((hub.path / "config.json").read_text())["student"] == "someone/student"


def test_the_worker_names_models_as_they_were_typed(queued: Run, workspace: Workspace) -> None:
    assert call(workspace.root, "worker", "--drain").returncode == 0
    assert queued.status.state == "finished", queued.status.message
    with Store(workspace, None) as store:
        store.ingest()
        rows = store.rows("select distinct m.teacher, m.student, r.student as asked from measurements m join runs r using (run_id)")
    assert rows == [{"teacher": "./teacher", "student": "./student", "asked": "./student"}]


def test_a_run_started_elsewhere_measures_the_models_of_its_own_folder(
    queued: Run, workspace: Workspace, mine: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = execute(queued, elsewhere, monkeypatch)
    sound = execute(create_run(workspace, EvaluateConfig(**ASKED), folder=mine), mine, monkeypatch)
    assert found["student"]["revision"] == sound["student"]["revision"]
    assert found["value"] == sound["value"]


@pytest.mark.parametrize("earlier", [False, True])
def test_a_folder_that_is_gone_fails_the_run_with_a_sentence(
    queued: Run, mine: Path, elsewhere: Path, earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        of_earlier_version(queued, mine)
    mine.rename(mine.with_name("renamed"))
    monkeypatch.chdir(elsewhere)
    assert main(["run", str(queued.path)]) == 2
    assert queued.status.state == "failed"
    assert queued.status.message == (
        f"the folder {mine}, which ./teacher starts from, is gone: put it back, or start the run again from elsewhere"
    )
    assert queued.result is None
    mine.with_name("renamed").rename(mine)
    retry(queued)
    assert execute(queued, elsewhere, monkeypatch)["value"] > 0


def test_the_worker_fails_a_run_whose_folder_is_gone(
    queued: Run, workspace: Workspace, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.rename(mine.with_name("renamed"))
    monkeypatch.chdir(mine.parent)
    assert call(workspace.root, "worker", "--drain").returncode == 0
    assert queued.status.state == "failed"
    assert "is gone" in (queued.status.message or "")


@pytest.mark.parametrize("content", [b"", b"{", b'{"state": "dancing"}'])
def test_an_emptied_status_loses_neither_date_nor_folder(
    queued: Run, workspace: Workspace, mine: Path, elsewhere: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = queued.status.created
    (queued.path / "status.json").write_bytes(content)
    monkeypatch.chdir(elsewhere)
    assert (queued.status.state, queued.status.created) == ("failed", created)
    retry(queued)
    assert (queued.status.state, queued.status.created, queued.status.folder) == ("queued", created, str(mine))
    found = execute(queued, elsewhere, monkeypatch)
    sound = execute(create_run(workspace, EvaluateConfig(**ASKED), folder=mine), mine, monkeypatch)
    assert found["value"] == sound["value"]


def test_a_run_of_an_earlier_version_measures_what_it_asked_for(
    queued: Run, workspace: Workspace, mine: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_earlier_version(queued, mine)
    monkeypatch.chdir(elsewhere)
    assert queued.config == EvaluateConfig(**ASKED)
    assert queued.values_here["student"] == str(mine / "student")
    found = execute(queued, elsewhere, monkeypatch)
    sound = execute(create_run(workspace, EvaluateConfig(**ASKED), folder=mine), mine, monkeypatch)
    assert found["value"] == sound["value"]


def test_a_run_whose_folder_nobody_knows_is_refused_and_dated_by_its_name(
    queued: Run, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_earlier_version(queued, None)
    (queued.path / "status.json").write_bytes(b"")
    monkeypatch.chdir(elsewhere)
    assert abs(queued.status.created - time.time()) < 60
    with pytest.raises(InputError, match=r"the folder that \./teacher starts from is no longer known: start the run again"):
        retry(queued)
    assert main(["run", str(queued.path)]) == 0  # it has ended: there is nothing to do
    assert queued.result is None


def test_a_finished_run_is_repeated_on_its_own_models(queued: Run, mine: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(queued, mine, monkeypatch)
    monkeypatch.chdir(elsewhere)
    again = retry(queued)
    assert json.loads((again.path / "config.json").read_text())["student"] == str(mine / "student")


def test_a_damaged_origin_leaves_absolute_paths(queued: Run, elsewhere: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (
        b"",
        b"{",
        b'{"created": "x"}',
        b'{"created": 1.0, "folder": 5}',
        b'{"created": 5, "folder": null, "typed": {"student": 3}}',
    ):
        (queued.path / ORIGIN_FILE).write_bytes(content)
        monkeypatch.chdir(elsewhere)
        assert queued.config_here.model_dump()["student"] == str(mine / "student")
