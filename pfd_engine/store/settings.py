"""How DuckDB is opened: without a network, and with bounded memory and disk."""

from __future__ import annotations

import os
import secrets
import tempfile

Settings = dict[str, str | bool | int | float | list[str]]

OFFLINE: Settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
MEMORY_LIMIT = "200MB"  # of DuckDB; what does not fit goes to a temporary folder, which it makes and removes when it has to
TEMPORARY_LIMIT = "4GB"


def settings() -> Settings:
    """Return the settings of a connection that answers questions, with a temporary folder of its own."""
    folder = os.path.join(tempfile.gettempdir(), f"pfd-{os.getpid()}-{secrets.token_hex(4)}")
    return OFFLINE | {"memory_limit": MEMORY_LIMIT, "temp_directory": folder, "max_temp_directory_size": TEMPORARY_LIMIT}
