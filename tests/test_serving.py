"""The end of a server: asked to stop, it closes its database and says that all is well, also while somebody looks at a page."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from pfd_engine.workspace import REPOSITORY, Workspace
from tests.app_session import Session
from tests.run_samples import finished_run
from tests.servers import free_port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_stop_ends_in_order(number, tmp_path):
    workspace = Workspace(tmp_path / "home")
    finished_run(workspace)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"],
        cwd=REPOSITORY,
        env=os.environ | {"PFD_HOME": str(workspace.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        with Session(address) as session:
            session.open("")
            assert (workspace.root / "results.duckdb.wal").exists()
            process.send_signal(number)
            output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in output
    assert not (workspace.root / "results.duckdb.wal").exists()
