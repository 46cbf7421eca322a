"""Writing the snapshot: every page, the data behind its figures, and plotly's script, in one folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from pfd_engine import __version__
from pfd_engine.errors import InputError, RunError
from pfd_engine.runs.events import sync_folder
from pfd_engine.site.blocks import Page
from pfd_engine.site.finding_pages import FILES, chosen_sweeps, empty, finding_page, trade_offs_page
from pfd_engine.site.other_pages import home_page, methods_page, results_page
from pfd_engine.store.database import Store
from pfd_engine.workspace import REPOSITORY

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = ("site.css", "site.js")
MARK = ".pfd-site"  # tells a folder of ours, which may be replaced, from any other


def export_site(store: Store, folder: Path, run_ids: Sequence[str] | None = None) -> list[str]:
    """Write the snapshot into a folder, new or of an earlier snapshot, and return its pages.

    `run_ids` None shows what the dashboard shows first. The same results give the same bytes. Paths of this machine are written as
    relative ones. Raises InputError where the folder is none that may be written, RunError where writing fails.
    """
    folder = folder.absolute()
    check_folder(folder)
    ids = None if run_ids is None else list(run_ids)
    pages = build(store, ids)
    files = render(pages, _places(store))
    _write(folder, files)
    return [page.file for page in pages]


def check_folder(folder: Path) -> None:
    """Raise InputError unless a snapshot may be written there."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder, new or of an earlier snapshot", "folder")
    if folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise InputError(f"{folder} holds other files: name a folder that is new, empty or an earlier snapshot", "folder")
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent}: make it first, or name another place", "folder")


def build(store: Store, run_ids: list[str] | None) -> list[Page]:
    """Return the pages, Home first."""
    sweeps = {experiment: chosen_sweeps(store, experiment, run_ids) for experiment in FILES}
    pages = [home_page(sweeps), *(finding_page(store, experiment, found) for experiment, found in sweeps.items())]
    pages += [trade_offs_page(store, run_ids), results_page(store, run_ids), methods_page()]
    return [Page(page.file, page.name, page.title, empty(list(page.blocks))) for page in pages]


def render(pages: Sequence[Page], places: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of the snapshot by their names; `places` are paths of this machine and what is written instead."""
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("page.html")
    files: dict[str, bytes] = {MARK: b"", "plotly.min.js": get_plotlyjs().encode()}
    for name in ASSETS:
        files[name] = (TEMPLATES / name).read_bytes()
    for page in pages:
        text = template.render(page=page, pages=pages, version=__version__, plots=any(block.kind == "figure" for block in page.blocks))
        files[page.file] = _portable(text, places)
        for block in page.blocks:
            if block.kind == "figure":
                files[f"data/{block.name}.csv"] = _portable(block.frame.to_csv(index=False), places)
    return files


def _places(store: Store) -> dict[str, str]:
    places = {} if store.workspace is None else {f"{store.workspace.root}{os.sep}": "./workspace/"}
    return places | {f"{REPOSITORY}{os.sep}": "./"}


def _portable(text: str, places: Mapping[str, str]) -> bytes:
    """Replace the places of this machine, also where HTML or JSON escaped one of their characters."""
    for path, name in places.items():
        for written in (path, str(escape(path)), json.dumps(path)[1:-1]):
            text = text.replace(written, name)
    return text.encode()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    draft, old = (folder.with_name(f".{folder.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    try:
        for name, data in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise RunError(f"{folder} could not be written ({error.strerror or error}): free space, and check who may write there") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
