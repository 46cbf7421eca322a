"""What every test shares: a workspace and a Hub cache of its own, no way to the real Hub, and a Hub server on loopback."""

import os
import sys

import pytest

from tests import hub_server

NOWHERE = "http://127.0.0.1:9"

os.environ["HF_ENDPOINT"] = NOWHERE
for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PFD_MAX_DOWNLOAD_BYTES", "PFD_MODE"):
    os.environ.pop(name, None)
os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_XET="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: more threads only wait for each other


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """Give each test a workspace and a Hub home of its own."""
    monkeypatch.setenv("PFD_HOME", str(tmp_path / "workspace"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))


@pytest.fixture(autouse=True)
def _own_main_module(monkeypatch):
    """Take back the `__main__` that AppTest puts a page's script into: processes that a later test spawns would run that script."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def _no_worker_left():
    """End the workers that a test's own process started."""
    yield
    worker = sys.modules.get("pfd_engine.jobs.worker")
    while worker is not None and worker._started:
        process = worker._started.pop()
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """A running Hub server with a tiny checkpoint of every family: `hub.endpoint`, `hub.reference(family)`; HF_ENDPOINT is set."""
    reason = hub_server.why_not_available()
    if reason is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    server = hub_server.HubServer(tmp_path_factory.mktemp("hub"))
    server.add_families()
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
    server.stop()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; where there is none, a failure under CI and a skip elsewhere."""
    from benchmarks.browser import chromium, chromium_path

    if chromium_path() is None:
        reason = "no Chromium is installed here: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with chromium() as started:
        yield started


@pytest.fixture
def bare_home(tmp_path, monkeypatch):
    """An empty workspace and nothing published, for pages that are drawn in this process; the workspace."""
    import streamlit as st

    from pages.reads.store import forget
    from pfd_engine.workspace import REPOSITORY, Workspace

    monkeypatch.setenv("PFD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PFD_MODE", raising=False)
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("pages.reads.store.PUBLISHED_DATABASE", tmp_path / "published.duckdb")
    yield Workspace(tmp_path / "home")
    forget()
    st.cache_resource.clear()
    st.cache_data.clear()
