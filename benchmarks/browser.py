"""The app on a free port and a real Chromium, for the browser tests, the page benchmark and the screenshots."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DRAWN = "[data-testid=stApp][data-test-script-state=notRunning]"


def chromium_path() -> str | None:
    """Return the path of a Chromium that is installed here, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """Start a headless Chromium for the block, with further arguments of its command line."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", *arguments])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serve(folder: Path = REPOSITORY, environment: dict[str, str] | None = None, log: Path | None = None) -> Iterator[str]:
    """Serve `app.py` of a folder on a free port of loopback for the block; yields its address."""
    with serve_process(folder, environment, log) as (address, _):
        yield address


@contextmanager
def serve_process(
    folder: Path = REPOSITORY, environment: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[tuple[str, int]]:
    """Serve as `serve` does; yields the address and the server's process id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.address", "127.0.0.1",
        "--server.headless", "true", "--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none",
    ]  # fmt: skip
    output = log.open("ab") if log else None
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | (environment or {}), stdin=subprocess.DEVNULL,
        stdout=output or subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_healthy(address, process)
        yield address, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if output:
            output.close()


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it answered")
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"the server did not answer within {seconds:g} s")
