"""Putting a student on the Hub: its own files byte for byte, pulled and measured again, and every refusal in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pfd_engine.cli.main import main
from pfd_engine.models.bundled import bundled_references
from pfd_engine.workspace import REPOSITORY
from tests.conftest import NOWHERE
from tests.hub_stub import SHA
from tests.hub_write_stub import HubWriteStub
from tests.run_processes import command, environment

FILES = ("config.json", "model.safetensors", "training_set.json", "README.md")
TOKEN = "hf_right"
# huggingface_hub calls its own HTTP library in a way that the latter will drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Push:
    """Run `push` in this process, against a Hub that is not there unless one is named."""

    def push(*words: str, endpoint: str = NOWHERE, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_TOKEN", token or "")
        status = main(("push", *words))
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    return push


def run(tmp_path: Path, *words: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own, as a user does."""
    settings = environment(tmp_path / "workspace") | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": TOKEN}
    return subprocess.run(command(*words), env=settings, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A copy of the bundled student that memorizes, with files beside its own that must stay here."""
    folder = Path(shutil.copytree(REPOSITORY / bundled_references().student_memorizes, tmp_path / "student"))
    (folder / "notes.txt").write_text("nobody else's business")
    (folder / ".env").write_text("SECRET=1")
    (folder / "more").mkdir()
    (folder / "more" / "config.json").write_text("{}")
    return folder


@pytest.mark.hub
def test_what_was_pushed_is_the_folder_byte_for_byte_and_is_measured_as_the_folder_is(tmp_path: Path, student: Path) -> None:
    with HubWriteStub({}) as hub:
        answer = run(tmp_path, "push", str(student), "acme/model", "--json", endpoint=hub.endpoint)
        assert answer.returncode == 0, answer.stderr
        pushed = json.loads(answer.stdout)
        assert pushed == {"repository": "acme/model", "commit": SHA, "url": f"{hub.endpoint}/acme/model", "files": list(FILES)}
        assert hub.files == {name: (student / name).read_bytes() for name in FILES}
        assert {line["key"] for line in hub.commits[0]} == {"header", "file", "lfsFile"}
        assert [asked.get("visibility") for asked in hub.created] == [None]
        assert TOKEN not in answer.stdout + answer.stderr
        values = []
        for reference in ("acme/model", str(student)):
            words = ("evaluate", "--teacher", bundled_references().teacher, "--student", reference, "--noises", "32", "--json")
            measured = run(tmp_path, *words, endpoint=hub.endpoint)
            assert measured.returncode == 0, measured.stderr
            result = json.loads(measured.stdout)
            values.append((result["value"], result["memorization"]["e_mem"]))
        assert values[0] == values[1]


@pytest.mark.hub
def test_a_new_repository_is_private_where_asked_and_one_that_is_there_gets_another_commit(push: Push, student: Path) -> None:
    with HubWriteStub({}) as hub:
        for _ in range(2):
            answer = push(str(student), "acme/model", "--private", endpoint=hub.endpoint)
            assert answer.returncode == 0, answer.stderr
            assert answer.stdout.startswith(f"{hub.endpoint}/acme/model at commit {SHA}")
        assert [asked["visibility"] for asked in hub.created] == ["private"]
        assert len(hub.commits) == 2


@pytest.mark.hub
def test_a_card_without_errors_is_pushed_with_a_warning(push: Push, student: Path) -> None:
    (student / "README.md").write_text("---\nlicense: mit\n---\nIts errors have not been measured yet.\n")
    with HubWriteStub({}) as hub:
        answer = push(str(student), "acme/model", endpoint=hub.endpoint)
    assert answer.returncode == 0
    assert "have not been measured yet" in answer.stderr


def refused(answer: subprocess.CompletedProcess[str], part: str) -> None:
    assert answer.returncode == 2, answer.stderr
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert part in line
    assert TOKEN not in line
    assert "Traceback" not in line


@pytest.mark.parametrize("name", ["model", "acme/model/more", "acme/model@main", "./model", "acme/mo del", "acme/..", "a--b/model", ""])
def test_a_bad_name_is_refused(push: Push, student: Path, name: str) -> None:
    refused(push(str(student), name), "is no repository to write to")


def test_what_is_no_student_is_refused(push: Push, student: Path, tmp_path: Path) -> None:
    refused(push(str(tmp_path / "nowhere"), "acme/model"), "there is no folder")
    refused(push(str(student / "notes.txt"), "acme/model"), "is a file")
    refused(push(str(student / "more"), "acme/model"), "has no model.safetensors")
    weights = (student / "model.safetensors").read_bytes()
    (student / "model.safetensors").write_bytes(weights[:-100])
    refused(push(str(student), "acme/model"), "truncated or corrupted")
    (student / "model.safetensors").write_bytes(weights)
    (student / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    refused(push(str(student), "acme/model"), "another format")
    (student / "config.json").write_text("{")
    refused(push(str(student), "acme/model"), "config.json")
    (student / "README.md").unlink()
    refused(push(str(student), "acme/model"), "has no README.md")


def test_without_a_token_or_a_network_nothing_is_pushed(push: Push, student: Path) -> None:
    refused(push(str(student), "acme/model", token=None), "there is no Hub token")
    refused(push(str(student), "acme/model"), "the Hub could not be reached")


@pytest.mark.hub
@pytest.mark.parametrize(
    ("hub", "part"),
    [
        (HubWriteStub({}, token="hf_another"), "does not accept the token"),
        (HubWriteStub({}, forbidden=True), "the token may not write to acme/model"),
        (HubWriteStub({}, forbidden=True, exists=True), "the token may not write to acme/model"),
        (HubWriteStub({}, bad_card=True), "does not accept the card"),
        (HubWriteStub({}, failing={"/large/": 403}), "the token may not write to acme/model"),
        (HubWriteStub({}, failing={"/commit/": 500}), "with status 500"),
        (HubWriteStub({}, failing={"/api/repos/create": 429}), "too many requests"),
        (HubWriteStub({}, failing={"validate-yaml": 502}), "try again later"),
    ],
    ids=["token", "new repository", "another's repository", "card", "large file", "commit", "rate", "gateway"],
)
def test_what_the_hub_refuses_is_one_sentence(push: Push, student: Path, tmp_path: Path, hub: HubWriteStub, part: str) -> None:
    with hub:
        refused(push(str(student), "acme/model", endpoint=hub.endpoint), part)
        assert hub.files == {}
    assert not any("hf_right" in path.read_text(errors="replace") for path in _texts(tmp_path / "workspace"))


def _texts(folder: Path) -> list[Path]:
    return [Path(root) / name for root, _, names in os.walk(folder) for name in names]
