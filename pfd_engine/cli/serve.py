"""Starts the app as a host runs it, `python -m pfd_engine.cli.serve demo`: what the container, `make demo` and the tests call."""

from __future__ import annotations

import argparse
import os
import sys

from pfd_engine.errors import InputError
from pfd_engine.jobs.access import Policy, for_others
from pfd_engine.jobs.hosts import Hosts, auth_settings
from pfd_engine.workspace import REPOSITORY

MODES = ("demo", "hosted")
# Said here although some are defaults: a config file of the host's own must not open what strangers can reach.
OPTIONS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "viewer",
    "global.developmentMode": "false",
    "runner.magicEnabled": "false",
    "server.enableAgentApi": "false",
    # Pages and their WebSocket have one origin, also within the frame that a Space shows them in, so neither protection is in the way.
    # What they break there, uploads from within a frame without cookies, is not wanted at all.
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.enableStaticServing": "false",
    "server.fileWatcherType": "none",
    "server.headless": "true",
    "server.maxUploadSize": "0",
}


def command(port: int, address: str) -> list[str]:
    """Return the command that starts the server."""
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    return [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.address={address}", f"--server.port={port}", *options]


def check_secrets() -> None:
    """Raise InputError where Streamlit would stumble over its secrets.toml at the start; the pages tell of what else may be missing."""
    for path, settings in auth_settings():
        if not isinstance(settings, dict):
            raise InputError(f"{path}: auth is no table: write it as docs/hosting.md shows")


def main(arguments: list[str] | None = None) -> None:
    """Become the server."""
    parser = argparse.ArgumentParser(prog="python -m pfd_engine.cli.serve", description=__doc__)
    parser.add_argument("mode", choices=MODES, help="demo: published results only, nothing is launched; hosted: launching needs sign-in")
    parser.add_argument("--port", type=int, default=8501, help="where the server listens (default: 8501)")
    parser.add_argument("--address", default="127.0.0.1", help="of which network (default: 127.0.0.1, this machine alone)")
    options = parser.parse_args(arguments)
    os.chdir(REPOSITORY)
    words, surroundings = command(options.port, options.address), for_others(options.mode, os.environ)
    os.environ.update(surroundings)
    try:
        Policy.from_environment()
        Hosts.from_environment()
        if options.mode == "hosted":
            check_secrets()
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    os.execve(words[0], words, surroundings)


if __name__ == "__main__":
    main()
