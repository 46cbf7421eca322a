"""Publishing results as a dataset repository on the Hub, or as a folder: one call for the command line and the page."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pfd_engine.errors import InputError
from pfd_engine.sharing.bundle.format import FIGURES_FILE, WALLS
from pfd_engine.sharing.bundle.write import DEFAULT_LICENSE, write_bundle
from pfd_engine.store.database import Store

Report = Callable[[dict[str, Any]], None]
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")


class Shared(NamedTuple):
    """Where results went: address (or folder), commit sha (empty for a folder), and the rows of each table."""

    where: str
    commit: str
    rows: dict[str, int]


def publish_results(
    store: Store,
    run_ids: Sequence[str] | None,
    repository: str,
    *,
    private: bool = False,
    license_name: str = DEFAULT_LICENSE,
    report: Report = lambda event: None,
) -> Shared:
    """Write finished runs (None: all that can be published) as a bundle and upload it to the dataset repository `owner/name`.

    Raises InputError with one sentence; nothing is uploaded then, or the repository is as it was.
    """
    from pfd_engine.hub.upload import check_repository, check_token, upload

    name = check_repository(repository)
    check_license(license_name)
    check_token()
    with tempfile.TemporaryDirectory(prefix="pfd-bundle-") as parent:
        folder = Path(parent) / "bundle"
        rows = write_bundle(store, run_ids, folder, repository=name, license_name=license_name, report=report)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        report({"type": "progress", "phase": "upload", "done": 0, "total": None, "unit": "files"})
        replacing = (f"{WALLS}/*", FIGURES_FILE)  # of runs that were published before and are not any more
        url, commit = upload(folder, name, files, "dataset", private, "Publish results", replacing=replacing)
    return Shared(url, commit, rows)


def publish_folder(store: Store, run_ids: Sequence[str] | None, folder: Path, license_name: str = DEFAULT_LICENSE) -> Shared:
    """Write finished runs as a bundle into a new folder, which `pull` opens; raises InputError with one sentence."""
    check_license(license_name)
    return Shared(str(folder), "", write_bundle(store, run_ids, folder, license_name=license_name))


def may_upload() -> bool:
    """Tell quickly whether this machine is logged in to the Hub; the token itself is not read."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface").expanduser()
    kept = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    return bool(os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")) or kept.is_file()


def check_license(name: str) -> None:
    """Raise InputError for what is no license identifier as the Hub writes them."""
    if not _LICENSE.fullmatch(name):
        raise InputError(f"license is {name[:60]!r}: give an identifier such as cc-by-4.0, cc0-1.0 or mit", "license")
