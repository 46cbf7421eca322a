"""`make run` after its installation: both bundled students measured, and a link that opens on the result."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from benchmarks.browser import chromium, chromium_path
from pfd_engine.cli.quickstart import main, port_is_free
from pfd_engine.runs.folder import list_runs
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.raw_requests import request, web_socket
from tests.servers import free_port


@pytest.fixture
def port():
    return free_port()


@pytest.mark.browser
def test_quickstart_measures_both_students_and_prints_a_link_to_the_result(port, tmp_path):
    if chromium_path() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium is installed here: apt-get install chromium")
    log = tmp_path / "output"
    command = [sys.executable, "-m", "pfd_engine.cli.quickstart", "--no-browser", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while port_is_free(port) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        link = re.search(rf"http://127\.0\.0\.1:{port}/\S+", log.read_text())
        assert link is not None, log.read_text()
        assert {run.status.state for run in list_runs(Workspace.from_environment())} == {"finished"}
        assert request(f"http://127.0.0.1:{port}", f"Host: 127.0.0.1:{port}").status == 200
        stranger = f"rebound.evil.example:{port}"
        assert request(f"http://127.0.0.1:{port}", f"Host: {stranger}").status == 403
        assert web_socket(f"http://127.0.0.1:{port}", f"Host: {stranger}", f"Origin: http://{stranger}").status == 403
        with chromium() as browser:
            page = browser.new_page()
            page.goto(link[0])
            page.wait_for_selector("text=Where this comes from", timeout=60_000)
            assert "digits-student-generalizes" in page.inner_text("[data-testid=stMain]")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def test_a_port_that_is_taken_is_said_before_anything_is_measured(port, capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert main(["--no-browser", "--port", str(port)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Workspace.from_environment().runs.exists()
