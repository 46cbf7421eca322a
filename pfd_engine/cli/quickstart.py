"""`make run`: measure the bundled students against the bundled teacher, then open the dashboard at the result."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from contextlib import closing

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.errors import InputError
from pfd_engine.jobs.hosts import Hosts
from pfd_engine.models.bundled import bundled_references
from pfd_engine.runs.folder import list_runs
from pfd_engine.workspace import REPOSITORY, Workspace

ADDRESS = "127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    """Measure both students, start the server and open a browser where there is one; returns the server's exit status."""
    parser = argparse.ArgumentParser(prog="python -m pfd_engine.cli.quickstart", description=__doc__)
    parser.add_argument("--port", type=int, default=8501, help="where the dashboard listens on 127.0.0.1 (default: 8501)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    if not 1 <= options.port <= 65535 or not port_is_free(options.port):
        print(
            f"port {options.port} is taken or no port: stop what listens there, or choose another with PORT=8502 make run", file=sys.stderr
        )
        return 2
    try:
        Hosts.from_environment()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2

    references = bundled_references()
    configs = [
        EvaluateConfig(teacher=references.teacher, student=student)
        for student in (references.student_memorizes, references.student_generalizes)
    ]
    for config in configs:
        print(f"$ {config.command()}", flush=True)
        status = subprocess.run([sys.executable, *config.command().split()[1:]], cwd=REPOSITORY, check=False).returncode
        if status != 0:
            return status
    latest = max(list_runs(Workspace.from_environment()), key=lambda run: run.status.created)
    address = f"http://{ADDRESS}:{options.port}"
    result = f"{address}/result?run={latest.id}"
    print(f"\nThe dashboard: {address}\nThis result:   {result}\n(Ctrl-C stops it)", flush=True)
    if not options.no_browser and has_browser():
        threading.Thread(target=open_when_ready, args=(address, result), daemon=True).start()
    try:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                f"--server.port={options.port}",
                f"--server.address={ADDRESS}",
                "--server.headless=true",
            ],
            cwd=REPOSITORY,
            check=False,
        ).returncode
    except KeyboardInterrupt:
        return 130


def port_is_free(port: int) -> bool:
    """Tell whether nothing listens on the port of the loopback address."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex((ADDRESS, port)) != 0


def has_browser() -> bool:
    """Tell whether a graphical browser can be expected."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_when_ready(address: str, page: str) -> None:
    """Wait, half a minute at most, until the server answers, then open the page."""
    for _ in range(60):
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                webbrowser.open(page)
                return
        except OSError:
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
