"""What stands between the network and Streamlit, however the app was started."""

from __future__ import annotations

import sys

import streamlit as st
from starlette.middleware import Middleware

from pfd_engine.errors import InputError
from pfd_engine.host_check import HostCheck
from pfd_engine.hosts import Hosts


def middleware() -> list[Middleware]:
    """Return the host check with the hosts of this server, nothing in the demo; ends the process where `PFD_HOSTS` cannot be meant."""
    try:
        hosts = Hosts.from_environment([st.get_option("server.address"), st.get_option("browser.serverAddress")])
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    return [] if hosts is None else [Middleware(HostCheck, hosts=hosts)]
