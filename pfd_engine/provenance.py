"""What computed a number: versions, device and the commit of this code."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pfd_engine import __version__
from pfd_engine.workspace import REPOSITORY

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "diffusers", "huggingface-hub", "numpy", "scipy")


def provenance(device: torch.device) -> dict[str, Any]:
    """Return `{versions, device, device_name, git_commit}` as plain values."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"versions": versions(), "device": str(device), "device_name": name, "git_commit": git_commit()}


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of this engine, of Python and of the packages that move numbers; missing packages are left out."""
    found = {"pfd_engine": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """Return the commit of this code, with `-dirty` where the engine differs from it; None outside a git checkout."""
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        return None

    def output(*words: str) -> str:
        return subprocess.run([git, "-C", str(REPOSITORY), *words], capture_output=True, text=True, timeout=10, check=False).stdout.strip()

    commit = output("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and output("status", "--porcelain", "--", "pfd_engine") else commit or None
