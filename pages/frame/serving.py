"""What `app.py` adds to Streamlit's server, however the app was started: the host check, and an orderly end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from pfd_engine.errors import InputError
from pfd_engine.jobs.host_check import HostCheck
from pfd_engine.jobs.hosts import Hosts


def middleware() -> list[Middleware]:
    """Return the host check with the hosts of this server, nothing in the demo; ends the process where `PFD_HOSTS` cannot be meant."""
    try:
        hosts = Hosts.from_environment([st.get_option("server.address"), st.get_option("browser.serverAddress")])
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    return [] if hosts is None else [Middleware(HostCheck, hosts=hosts)]


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Let SIGTERM and Ctrl-C end the process as its own end would: databases are closed and temporary folders removed.

    Uvicorn raises the signal a second time after it has shut down, which would end the process before that.
    """
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if hasattr(server, "should_exit") and threading.current_thread() is threading.main_thread():

        def stop(number: int, frame: FrameType | None) -> None:
            server.force_exit = server.should_exit  # asked a second time
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
    yield
