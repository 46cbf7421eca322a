"""Publishing results: what a bundle holds and never holds, what the Hub gets, and that pulling it gives back the same numbers."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pfd_engine.cli.main import main
from pfd_engine.runs.events import EventLog
from pfd_engine.sharing.pull import list_pulled
from pfd_engine.sharing.selection import selection
from pfd_engine.store.database import Store
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.conftest import NOWHERE
from tests.finding_samples import finished_sweep
from tests.hub_stub import SHA
from tests.hub_write_stub import HubWriteStub
from tests.judged_samples import judged_run, twin_run
from tests.run_samples import a_config, finished_run, measurement

TOKEN = "hf_" + "right" * 5
TABLES = ("runs", "measurements", "checkpoints", "training_sets", "noise_distances", "training_curves", "pairs")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

Say = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command in this process, against a Hub that is not there unless one is named."""

    def say(*words: str, endpoint: str = NOWHERE, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_TOKEN", token or "")
        status = main(words)
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    return say


@pytest.fixture
def mine() -> Workspace:
    return Workspace(Path(os.environ["PFD_HOME"]))


def rows(workspace: Workspace, table: str, source: str) -> list[dict[str, object]]:
    with Store(workspace, None) as store:
        store.ingest()
        return store.rows(f"select * exclude (source) from {table} where source = ? order by all", [source])


def refused(answer: subprocess.CompletedProcess[str], part: str) -> None:
    assert answer.returncode == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert part in line
    assert TOKEN not in line


def test_a_folder_holds_every_row_of_the_selection_as_the_hubs_viewer_reads_it(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run, left_out = finished_run(mine), finished_run(mine)
    folder = tmp_path / "bundle"
    answer = say("publish", "--run", run.id, "--output", str(folder))
    assert answer.returncode == 0, answer.stderr
    with Store(mine, None) as store:
        store.ingest()
        expected = selection(store, [run.id])
    for name in TABLES:
        assert pq.read_table(folder / f"{name}.parquet").num_rows == len(expected[name]), name
    assert pq.read_table(folder / "measurements.parquet")["value"].to_pylist() == [row["value"] for row in expected["measurements"]]
    card = (folder / "README.md").read_text()
    front = card.split("---\n")[1]
    assert "license: cc-by-4.0" in front
    for path in re.findall(r"path: (\S+)", front):
        assert (folder / path).is_file()
    assert "path: measurements.parquet" in front
    assert "1.5 (1.3 to 1.7)" in card
    assert "python -m pfd_engine pull" in card
    assert "push" in card
    provenance = json.loads((folder / "provenance.json").read_text())
    assert [told["run_id"] for told in provenance["runs"]] == [run.id]
    assert provenance["runs"][0]["revisions"] == {"someone/teacher": "a" * 40, "someone/student": "b" * 40}
    assert provenance["runs"][0]["command"].startswith("python -m pfd_engine evaluate --teacher someone/teacher")
    assert left_out.id not in card + json.dumps(provenance)
    with Image.open(folder / "walls" / f"{run.id}.png") as wall:
        assert wall.height > wall.width / 10
    assert not list(folder.rglob("*.duckdb"))


def test_a_sweep_brings_its_sentence_and_its_figures_which_need_no_network(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run = finished_sweep(mine, "bias-variance")
    assert say("publish", "--run", run.id, "--output", str(tmp_path / "bundle")).returncode == 0
    page, card = (tmp_path / "bundle" / "figures.html").read_text(), (tmp_path / "bundle" / "README.md").read_text()
    assert "more variance" in card
    assert page.count("Plotly.newPlot(") >= 2
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page), "nothing is fetched from elsewhere"


def test_neither_a_path_of_this_machine_nor_a_token_leaves_it(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run = finished_run(mine)
    warning = f"read {Path.home()}/secret/weights.bin and /data/lab/set.bin with {TOKEN}"
    told = {"value": 1.5, "warnings": [warning], "name": f"{mine.root}/x"}
    with EventLog(run.events_path) as log:
        log.append(measurement(training_set="set seeds 0-63", metric="E_mem"), durable=False)
        log.append({"type": "result", "result": told}, durable=False)
    assert say("publish", "--run", run.id, "--output", str(tmp_path / "bundle")).returncode == 0
    texts = [path.read_bytes() for path in (tmp_path / "bundle").rglob("*") if path.suffix in (".md", ".json", ".html")]
    texts += [json.dumps(pq.read_table(path).to_pylist(), default=repr).encode() for path in (tmp_path / "bundle").glob("*.parquet")]
    everything = b"\n".join(texts)
    for secret in (TOKEN, str(Path.home()) + "/", "/data/lab", str(mine.root), str(REPOSITORY)):
        assert secret.encode() not in everything, secret
    assert b"weights.bin" in everything


def test_the_card_gives_the_memorization_ratio_in_percent_with_its_interval(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run = finished_run(mine)
    with EventLog(run.events_path) as log:
        log.append(measurement(metric="memorization_ratio", value=0.25, ci_low=0.2, ci_high=0.305), durable=False)
    assert say("publish", "--run", run.id, "--output", str(tmp_path / "bundle")).returncode == 0
    assert "| 25 % (20 to 30.5) |" in (tmp_path / "bundle" / "README.md").read_text()


def test_the_card_gives_each_number_its_baselines_and_its_verdict(say: Say, mine: Workspace, tmp_path: Path) -> None:
    runs = judged_run(mine), judged_run(mine, "./diagnostic", outside_range="teacher", memorization=None), twin_run(mine)
    chosen = [word for run in runs for word in ("--run", run.id)]
    assert say("publish", *chosen, "--output", str(tmp_path / "bundle")).returncode == 0
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "| 1.5 (1.4 to 1.6) | 4.2 | 6 | 1.2 | 2.9 (2.8 to 3) | - | generalizes |" in card
    assert "| none (diagnostic map) |" in card
    assert "| 1.2 (1.1 to 1.3) | 4.2 | 6 | - | - | - | none (retrained teacher) |" in card


def test_the_card_says_what_the_number_of_a_student_without_the_coupling_means(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run = finished_run(mine)
    with EventLog(run.events_path) as log:
        told = {"student": {"reference": "someone/student"}, "coupling_note": "it measures coupling and distribution together"}
        log.append({"type": "result", "result": told}, durable=False)
    assert say("publish", "--run", run.id, "--output", str(tmp_path / "bundle")).returncode == 0
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "1.5 (1.3 to 1.7) †" in card
    assert "† it measures coupling and distribution together." in card


def test_a_student_in_a_workspace_with_any_name_is_published_by_its_place_in_it(tmp_path: Path) -> None:
    odd = Workspace(tmp_path / 'Zoë\'s "lab"')
    student = f"{odd.runs}/distill-x/student"
    run = finished_run(odd, a_config(student=student))
    with EventLog(run.events_path) as log:
        log.append({"type": "result", "result": {"student": {"reference": student}}}, durable=False)
    with Store(odd, None) as store:
        store.ingest()
        (row,) = selection(store, [run.id])["runs"]
    place = "./workspace/runs/distill-x/student"
    assert (json.loads(row["config"])["student"], json.loads(row["result"])["student"]["reference"]) == (place, place)
    assert f"--student '{place}'" in row["command"]


def test_a_run_of_a_training_set_elsewhere_is_refused_by_name(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run = finished_run(mine, a_config(training_set="/data/lab/set"))
    refused(say("publish", "--run", run.id, "--output", str(tmp_path / "bundle")), "the training set of run")
    assert not (tmp_path / "bundle").exists()


def test_images_are_written_anew_without_what_else_their_files_hold(say: Say, mine: Workspace, tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    stream, notes = io.BytesIO(), PngInfo()
    notes.add_text("Comment", "a private note")
    Image.new("RGB", (4, 4), "red").save(stream, "PNG", pnginfo=notes)
    run = finished_run(mine)
    import base64

    image = base64.b64encode(stream.getvalue()).decode()
    with EventLog(run.events_path) as log:
        pair = {"type": "pair", "seed": 9, "rank": 1, "group": "nearest", "distance": 0.2, "teacher_png": image, "student_png": image}
        log.append(pair, durable=False)
    assert say("publish", "--run", run.id, "--output", str(tmp_path / "bundle")).returncode == 0
    images = [row["teacher_png"] for row in pq.read_table(tmp_path / "bundle" / "pairs.parquet").to_pylist()]
    assert len(images) == 2
    assert not any(b"private" in found for found in images)
    with Image.open(io.BytesIO(next(found for found in images if Image.open(io.BytesIO(found)).mode == "RGB"))) as clean:
        assert clean.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.hub
def test_what_was_published_is_pulled_with_the_same_numbers(say: Say, mine: Workspace, tmp_path: Path, monkeypatch) -> None:
    finished_run(mine)
    finished_sweep(mine, "bias-variance")
    with HubWriteStub({}, name="acme/results", kind="datasets", token=TOKEN) as hub:
        answer = say("publish", "acme/results", "--all", "--private", "--json", endpoint=hub.endpoint)
        assert answer.returncode == 0, answer.stderr
        sent = json.loads(answer.stdout)
        assert (sent["where"], sent["commit"]) == (f"{hub.endpoint}/datasets/acme/results", SHA)
        assert [asked["visibility"] for asked in hub.created] == ["private"]
        assert {"README.md", "provenance.json", "figures.html", *(f"{name}.parquet" for name in TABLES)} <= hub.files.keys()
        assert "python -m pfd_engine pull acme/results" in hub.files["README.md"].decode()
        assert TOKEN not in answer.stdout + answer.stderr
        theirs = Workspace(tmp_path / "theirs")
        monkeypatch.setenv("PFD_HOME", str(theirs.root))
        answer = say("pull", "acme/results", "--json", endpoint=hub.endpoint, token=None)
        assert answer.returncode == 0, answer.stderr
    assert {name for name, _, _ in hub.served} == {"provenance.json", *(f"{name}.parquet" for name in TABLES)}, "nothing else is fetched"
    source = f"hub:acme/results@{SHA[:7]}"
    (pulled,) = list_pulled(theirs)
    assert (pulled.source, pulled.revision, pulled.license) == (source, SHA, "mit")
    for table in ("measurements", "training_curves", "training_sets", "checkpoints", "noise_distances"):
        assert rows(theirs, table, source) == rows(mine, table, "workspace"), table
    assert say("pull", "--list").stdout.startswith(source)
    assert say("pull", "--remove", source).returncode == 0
    assert rows(theirs, "measurements", source) == []
    refused(say("pull", "--remove", source), "nothing was pulled from")


@pytest.mark.hub
def test_what_is_published_no_more_leaves_nothing_in_the_repository(say: Say, mine: Workspace) -> None:
    first, second = finished_run(mine), finished_run(mine, a_config(num_noises=64))
    sweep = finished_sweep(mine, "bias-variance")
    with HubWriteStub({}, name="acme/results", kind="datasets", token=TOKEN) as hub:
        assert say("publish", "acme/results", "--run", first.id, "--run", sweep.id, endpoint=hub.endpoint).returncode == 0
        assert {f"walls/{first.id}.png", "figures.html"} <= hub.files.keys()
        hub.files["notes.md"] = b"of its owner"
        answer = say("publish", "acme/results", "--run", second.id, endpoint=hub.endpoint)
        assert answer.returncode == 0, answer.stderr
        kept = {"README.md", "provenance.json", "notes.md", f"walls/{second.id}.png", *(f"{name}.parquet" for name in TABLES)}
        assert hub.files.keys() == kept
        assert not any(first.id.encode() in content for content in hub.files.values())


@pytest.mark.hub
@pytest.mark.parametrize(
    ("hub", "part"),
    [
        (HubWriteStub({}, name="acme/results", kind="datasets", token="hf_another"), "does not accept the token"),
        (HubWriteStub({}, name="acme/results", kind="datasets", token=TOKEN, forbidden=True), "the token may not write to acme/results"),
        (HubWriteStub({}, name="acme/results", kind="datasets", token=TOKEN, bad_card=True), "does not accept the card"),
        (HubWriteStub({}, name="acme/results", kind="datasets", token=TOKEN, failing={"/commit/": 500}), "with status 500"),
    ],
    ids=["token", "permission", "card", "commit"],
)
def test_what_the_hub_refuses_is_one_sentence(say: Say, mine: Workspace, hub: HubWriteStub, part: str) -> None:
    run = finished_run(mine)
    with hub:
        refused(say("publish", "acme/results", "--run", run.id, endpoint=hub.endpoint), part)
        assert hub.files == {}


def test_what_cannot_be_published_is_one_sentence(say: Say, mine: Workspace, tmp_path: Path) -> None:
    run = finished_run(mine)
    refused(say("publish", "acme/results", "--run", run.id, token=None), "there is no Hub token")
    refused(say("publish", "acme/results", "--run", run.id), "the Hub could not be reached")
    refused(say("publish", "acme", "--run", run.id), "is no repository")
    refused(say("publish", "acme/results", "--run", "nothing"), "is no finished run")
    refused(say("publish", "--run", run.id), "name either a repository")
    refused(say("publish", "acme/results", "--run", run.id, "--output", "x"), "name either a repository")
    refused(say("publish", "--run", run.id, "--output", str(tmp_path)), "exists already: name a new folder")
    refused(say("publish", "--run", run.id, "--output", str(tmp_path / "no" / "b")), "name a new folder in one that exists")
    refused(say("publish", "--run", run.id, "--output", str(tmp_path / "b"), "--license", "My License!"), "license is")
    assert not (tmp_path / "b").exists()


@pytest.mark.hub
def test_a_branch_of_a_data_set_on_a_real_hub_server_is_pulled(say: Say, mine: Workspace, hub, tmp_path: Path, monkeypatch) -> None:
    run = finished_run(mine)
    sha = hub.add(
        "tiny/results", lambda folder: say("publish", "--run", run.id, "--output", str(folder / "in")) and _up(folder), kind="datasets"
    )
    monkeypatch.setenv("PFD_HOME", str(tmp_path / "theirs"))
    answer = say("pull", "tiny/results@main", endpoint=hub.endpoint, token=None)
    assert answer.returncode == 0, answer.stderr
    (pulled,) = list_pulled(Workspace(tmp_path / "theirs"))
    assert (pulled.source, pulled.revision) == (f"hub:tiny/results@{sha[:7]}", sha)
    assert rows(Workspace(tmp_path / "theirs"), "measurements", pulled.source) == rows(mine, "measurements", "workspace")
    refused(say("pull", "tiny/nothing", endpoint=hub.endpoint, token=None), "there is no data set tiny/nothing")


def _up(folder: Path) -> None:
    for path in (folder / "in").iterdir():
        path.rename(folder / path.name)
    (folder / "in").rmdir()
