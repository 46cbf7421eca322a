"""References to files: pinned, chosen, downloaded once, resumed, cached, and one sentence for everything that is wrong."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from pfd_engine.errors import InputError
from pfd_engine.hub import download as hub_download
from pfd_engine.hub.layout import CheckpointError, read_json
from pfd_engine.hub.resolve import resolve
from tests.conftest import NOWHERE
from tests.hub_server import REPOSITORY, make_family_folder
from tests.hub_stub import SHA, HubStub


def is_one_sentence(message):
    return "\n" not in message and "Traceback" not in message and "http" not in message and len(message) < 400


@pytest.fixture(scope="module")
def versions(hub):
    """A repository with two versions: the first is tagged v1, the second has other weights; returns both shas."""
    first = hub.add("acme/versions", lambda folder: make_family_folder("ddpm", folder, seed=1), tag="v1")
    second = hub.add("acme/versions", lambda folder: make_family_folder("ddpm", folder, seed=2))
    return first, second


@pytest.mark.hub
def test_branch_tag_and_full_sha_are_pinned_to_their_commits(versions):
    first, second = versions
    for name, sha in (("", second), ("@main", second), ("@v1", first), (f"@{first}", first)):
        snapshot = resolve(f"acme/versions{name}")
        assert (snapshot.revision, snapshot.reference, snapshot.license) == (sha, "acme/versions", "apache-2.0")
    assert resolve("acme/versions@v1").fingerprint() != resolve("acme/versions").fingerprint()


@pytest.mark.hub
def test_only_the_needed_files_come_down(hub):
    def write(folder):
        make_family_folder("ddpm", folder)
        for name in (
            "diffusion_pytorch_model.fp16.safetensors",
            "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.non_ema.safetensors",
        ):
            (folder / "unet" / name).write_bytes(b"not wanted")
        (folder / "vae").mkdir()
        (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"not wanted")
        (folder / "run_me.py").write_text("raise SystemExit")

    hub.add("acme/crowded", write)
    snapshot = resolve("acme/crowded")
    there = {path.relative_to(snapshot.path).as_posix() for path in snapshot.path.rglob("*") if path.is_file()}
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert there == {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json", weights}
    assert snapshot.layout.weights == "ema"


@pytest.mark.hub
def test_averaged_weights_are_preferred_and_said_to_be(hub):
    def write(folder):
        make_family_folder("ddpm", folder)
        shutil.copytree(folder / "unet", folder / "unet_ema")

    hub.add("acme/averaged", write)
    layout = resolve("acme/averaged").layout
    assert (layout.weights, layout.weight_files) == ("ema", ("unet_ema/diffusion_pytorch_model.safetensors",))


@pytest.mark.hub
def test_a_root_layout_is_read(hub):
    def write(folder):
        make_family_folder("ddpm", folder)
        for name in ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
            (folder / name).rename(folder / Path(name).name)

    hub.add("acme/root", write)
    assert resolve("acme/root").layout.weight_files == ("diffusion_pytorch_model.safetensors",)


@pytest.mark.hub
def test_large_file_storage_is_followed(hub):
    if shutil.which("git-lfs") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("git-lfs is not installed (Debian: apt-get install git-lfs)")
    hub.add("acme/large", lambda folder: make_family_folder("own", folder), lfs=True)
    pointer = subprocess.run(
        ["git", "show", "HEAD:model.safetensors"], cwd=hub.root / "mirrors/models/acme/large", capture_output=True, check=True, timeout=30
    ).stdout
    snapshot = resolve("acme/large")
    assert pointer.startswith(b"version https://git-lfs")
    assert snapshot.weight_paths[0].stat().st_size > 10_000
    assert snapshot.weight_paths[0].resolve().name in pointer.decode()


@pytest.mark.hub
def test_a_second_look_downloads_nothing_and_reports_nothing(hub):
    events = []
    resolve("tiny/ddpm", report=events.append)
    assert events[-1] == {
        "type": "progress",
        "phase": "download",
        "done": events[-1]["total"],
        "total": events[-1]["total"],
        "unit": "bytes",
    }
    assert [event["done"] for event in events] == sorted(event["done"] for event in events)
    again = []
    resolve("tiny/ddpm", report=again.append)
    assert again == []


@pytest.mark.hub
@pytest.mark.parametrize("way", ["no server", "offline setting"])
def test_without_a_network_the_cache_serves_what_it_has(versions, monkeypatch, way):
    first, second = versions
    resolve("acme/versions")
    resolve("acme/versions@v1")
    if way == "no server":
        monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    events = []
    for name, sha in (("", second), ("@v1", first), (f"@{second}", second)):
        snapshot = resolve(f"acme/versions{name}", report=events.append)
        assert (snapshot.revision, snapshot.license) == (sha, "apache-2.0")
    assert {event["type"] for event in events} == {"warning"}
    for unknown in ("tiny/ddpm", "acme/versions@v2"):
        with pytest.raises(InputError, match="cannot be reached") as caught:
            resolve(unknown)
        assert is_one_sentence(str(caught.value))


@pytest.mark.hub
def test_what_another_tool_downloaded_serves_without_a_network(hub, versions, monkeypatch):
    sha = snapshot_download("acme/versions", endpoint=hub.endpoint, cache_dir=hub_download.cache_folder())[-40:]
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert resolve("acme/versions").revision == sha == versions[1]


@pytest.mark.hub
def test_an_incomplete_cache_does_not_pass_for_a_checkpoint_without_a_network(hub, monkeypatch):
    resolve("tiny/ddpm", weights=False)
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    with pytest.raises(InputError, match="not complete in the cache"):
        resolve("tiny/ddpm")


@pytest.mark.hub
def test_an_incomplete_cache_does_not_pass_for_a_data_set_without_a_network(hub, monkeypatch):
    def write(folder):
        for number in range(3):
            (folder / f"{number}.json").write_text(str(number))

    hub.add("acme/numbers", write, kind="datasets")
    first = resolve("acme/numbers", allow=("*.json",), repo_type="dataset")
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert resolve("acme/numbers", allow=("*.json",), repo_type="dataset") == first
    (first.path / "1.json").unlink()
    with pytest.raises(InputError, match="not complete in the cache"):
        resolve("acme/numbers", allow=("*.json",), repo_type="dataset")


@pytest.mark.hub
@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("acme/nothing", "there is no repository acme/nothing on the Hub"),
        ("tiny/ddpm@nope", "repository tiny/ddpm has no revision nope"),
        ("no reference", "is no reference"),
        ("./nowhere", "there is no folder"),
    ],
)
def test_what_is_not_there_gets_one_sentence(hub, reference, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        resolve(reference)
    assert is_one_sentence(str(caught.value))


def test_a_path_object_is_a_folder_whatever_it_starts_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("owner/name", "~folder", "plain"):
        make_family_folder("own", tmp_path / name)
        found = resolve(Path(name))
        assert found.reference == f"./{name}"
        assert found.revision == resolve(tmp_path / name).revision == resolve(found.reference).revision
    for wrong in (None, 5, b"plain"):
        with pytest.raises(InputError, match="a reference is of type") as caught:
            resolve(wrong)
        assert is_one_sentence(str(caught.value))


@pytest.mark.hub
def test_pickled_weights_are_refused_and_never_downloaded(hub):
    def write(folder):
        make_family_folder("ddpm", folder)
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_suffix(".bin"))

    hub.add("acme/pickled", write)
    with pytest.raises(CheckpointError, match="only pickled weights") as caught:
        resolve("acme/pickled")
    assert is_one_sentence(str(caught.value))
    assert not list(hub_download.cache_folder().rglob("*.bin"))


def test_nothing_but_files_of_a_checkpoint_is_no_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(CheckpointError, match="has no config"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no safetensors weights"):
        resolve(str(tmp_path))


def test_a_folder_is_named_by_its_content(tmp_path):
    first = make_family_folder("own", tmp_path / "a")
    second = make_family_folder("own", tmp_path / "b")
    other = make_family_folder("own", tmp_path / "c", seed=1)
    revisions = [resolve(str(folder)).revision for folder in (first, second, other)]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", revisions[0])
    assert revisions[0] == revisions[1] != revisions[2]


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_device_or_a_pipe_in_a_folder_is_refused_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "data.bin"
    path.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(path)
    with pytest.raises(InputError, match=r"data\.bin is no ordinary file"):
        resolve(tmp_path, allow=["*.bin"])


@pytest.mark.hub
def test_a_data_set_is_another_kind_of_repository(hub):
    def write(folder):
        (folder / "training_set.json").write_text("{}")
        (folder / "samples.safetensors").write_bytes(b"samples")
        (folder / "README.md").write_text("a data set")

    hub.add("acme/samples", write, kind="datasets")
    snapshot = resolve("acme/samples", allow=("training_set.json", "*.safetensors"), repo_type="dataset")
    assert snapshot.files == ("samples.safetensors", "training_set.json")
    with pytest.raises(InputError, match="there is no repository"):
        resolve("acme/samples")


FILES = {"config.json": b'{"format": "pfd-denoiser"}', "model.safetensors": os.urandom(3 * 2**20)}


@pytest.fixture
def stub(monkeypatch):
    """Start stubs of the Hub; the last one started is what HF_ENDPOINT names."""
    running = []

    def start(**options):
        running.append(HubStub(**{"files": FILES, **options}).__enter__())
        monkeypatch.setenv("HF_ENDPOINT", running[-1].endpoint)
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


def test_the_hub_tells_an_unknown_revision_from_an_unknown_repository(stub):
    stub()
    with pytest.raises(InputError, match="has no revision nope"):
        resolve("acme/model@nope")
    with pytest.raises(InputError, match="there is no repository acme/other"):
        resolve("acme/other")


def test_a_file_that_is_listed_and_not_there_is_said_to_be_so(stub):
    stub(absent=("model.safetensors",))
    with pytest.raises(InputError, match="acme/model lists a file that is not there on the Hub") as caught:
        resolve("acme/model")
    assert "try again" not in str(caught.value)
    assert is_one_sentence(str(caught.value))


def test_a_gated_repository_says_what_to_do_and_no_message_shows_the_token(stub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    server = stub(gated=True)
    with pytest.raises(InputError, match="acme/model is gated: accept its terms") as caught:
        resolve("acme/model")
    assert is_one_sentence(str(caught.value))
    assert "hf_secret" not in str(caught.value)
    assert "Bearer hf_secretsecretsecret" in server.tokens


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "refused access|no repository"), (403, "refused access"), (429, "slow down"), (418, "status 418")]
)
def test_other_refusals_get_one_sentence(stub, monkeypatch, status, sentence):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    stub(status=status)
    with pytest.raises(InputError, match=sentence) as caught:
        resolve("acme/model")
    assert is_one_sentence(str(caught.value))


def test_a_download_above_the_limit_is_refused_before_it_starts(stub, monkeypatch):
    server = stub()
    monkeypatch.setenv("PFD_MAX_DOWNLOAD_BYTES", "1000000")
    with pytest.raises(InputError, match=r"needs a download of 0\.00315 GB but the limit is 0\.001 GB"):
        resolve("acme/model")
    assert [sent for _, _, sent in server.served] == []
    monkeypatch.setenv("PFD_MAX_DOWNLOAD_BYTES", "much")
    with pytest.raises(InputError, match="PFD_MAX_DOWNLOAD_BYTES is 'much'"):
        resolve("acme/model")


def test_a_full_disk_gets_one_sentence(stub, monkeypatch):
    stub()

    def no_space(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub_download, "http_get", no_space)
    with pytest.raises(InputError, match="the disk is full"):
        resolve("acme/model")
    monkeypatch.setattr(hub_download.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(InputError, match="the disk has less"):
        resolve("acme/model")


KILLED_AFTER_ONE_CHUNK = """
import os, signal
from pfd_engine.hub import download as hub_download, resolve as hub

class Dying:
    def __init__(self, file):
        self.file = file
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, chunk):
        self.file.write(chunk)
        self.file.flush()
        if len(chunk) > 2**16:
            os.kill(os.getpid(), signal.SIGKILL)

http_get = hub_download.http_get
hub_download.http_get = lambda url, file, **options: http_get(url, Dying(file), **options)
"""


def kill_in_mid_download(endpoint, home, reference):
    """Download in a process of its own, which dies by SIGKILL when the first chunk of a large file is on disk."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    script = f"{KILLED_AFTER_ONE_CHUNK}\nhub.resolve({reference!r})"
    died = subprocess.run([sys.executable, "-c", script], env=environment, cwd=REPOSITORY, timeout=120).returncode
    assert died == -signal.SIGKILL, "the download ended before it was killed"


def partial_bytes(home):
    return sum(path.stat().st_size for path in Path(home).rglob("*.pfd-partial"))


def test_a_download_killed_halfway_goes_on_where_it_stopped(stub, tmp_path):
    files = {**FILES, "model.safetensors": os.urandom(25 * 2**20)}
    server = stub(files=files)
    home = tmp_path / "hub-home"
    kill_in_mid_download(server.endpoint, home, "acme/model")
    kept = partial_bytes(home)
    assert 0 < kept < len(files["model.safetensors"])
    assert not list(home.rglob("snapshots/*/model.safetensors"))
    events = []
    snapshot = resolve("acme/model", report=events.append)
    assert snapshot.weight_paths[0].read_bytes() == files["model.safetensors"]
    assert server.served[-1] == ("model.safetensors", f"bytes={kept}-", len(files["model.safetensors"]) - kept)
    assert events[0]["done"] >= kept
    assert snapshot.revision == SHA


@pytest.mark.hub
def test_a_server_that_ignores_ranges_still_completes_a_killed_download(hub, tmp_path):
    content = os.urandom(40 * 2**20)

    def write(folder):
        make_family_folder("own", folder)
        (folder / "model.safetensors").write_bytes(content)

    hub.add("acme/big", write)
    home = tmp_path / "hub-home"
    kill_in_mid_download(hub.endpoint, home, "acme/big")
    assert resolve("acme/big").weight_paths[0].read_bytes() == content


def test_names_that_lead_out_of_the_cache_are_never_written(stub, tmp_path):
    stub(files={**FILES, "../../../../evil.json": b"{}", "/evil.json": b"{}"})
    assert resolve("acme/model", allow=("*.json",)).files == ("config.json",)
    assert not list(tmp_path.rglob("evil.json"))


def test_a_folder_names_the_license_of_its_card(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "a")
    assert resolve(str(folder)).license == "apache-2.0"
    (folder / "README.md").write_text("license: none of a front matter")
    assert resolve(str(folder)).license is None


def test_a_partial_file_with_wrong_bytes_is_found_out_by_its_hash(stub):
    stub()
    resolve("acme/model", weights=False)
    blobs = hub_download.cache_folder() / "models--acme--model" / "blobs"
    name = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    (blobs / f"{name}.pfd-partial").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="does not match its sha256"):
        resolve("acme/model")
    assert resolve("acme/model").weight_paths[0].read_bytes() == FILES["model.safetensors"]


def test_a_configuration_is_a_json_object_of_a_sane_size(tmp_path):
    for content, sentence in ((b"[1]", "no JSON object"), (b"{", "not readable JSON"), (b"[" * 10**6, "not readable JSON")):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=sentence):
            read_json(tmp_path / "config.json")
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(CheckpointError, match="larger than"):
        read_json(tmp_path / "config.json")
    (tmp_path / "good.json").write_text(json.dumps({"a": 1}))
    assert read_json(tmp_path / "good.json") == {"a": 1}
