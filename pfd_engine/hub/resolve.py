"""References to files on disk: Hub repositories pinned to a commit and downloaded as far as needed, and folders by content."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pfd_engine.configs.base import RunConfig
from pfd_engine.errors import InputError
from pfd_engine.hub.download import fetch
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.hub.snapshot import Report, Snapshot, content_hash, select

DEFAULT_MAX_BYTES = 20 * 10**9
MAX_FILES = 200_000


def resolve(
    reference: str | os.PathLike[str],
    *,
    allow: Sequence[str] | None = None,
    weights: bool = True,
    repo_type: str = "model",
    max_bytes: int | None = None,
    report: Report | None = None,
) -> Snapshot:
    """Find, pin and, on the Hub, download what a reference names; a path object is a folder, whatever it starts with.

    `allow` None takes a checkpoint's own files and nothing else (`choose_files`; without `weights`, its JSON only); patterns
    such as `*.safetensors` take every file whose path in the repository they match (`*` crosses folders). `max_bytes` None is
    `PFD_MAX_DOWNLOAD_BYTES` or 20 GB. `report` receives warnings and
    `{"type": "progress", "phase": "download", "done", "total", "unit": "bytes"}`.

    Raises InputError with one sentence: unknown repository or revision, no access, no network and nothing cached, too large,
    disk full; CheckpointError where no checkpoint is found in it.
    """
    reference = _as_text(reference)
    try:
        parsed = parse_reference(reference)
    except ValueError as error:
        raise InputError(str(error)) from None
    if isinstance(parsed, FolderReference):
        return _folder(reference, parsed, allow, weights)
    return fetch(parsed, allow, weights, repo_type, max_bytes or _max_bytes(), report or (lambda event: None))


def check_folders(config: RunConfig) -> None:
    """Raise InputError, with the field at fault, where a folder that a run shall use does not exist. Nothing is read or downloaded."""
    for field in ("teacher", "student", "training_set"):
        reference: str | None = getattr(config, field, None)
        parsed = None if reference is None else parse_reference(reference)
        if reference is not None and isinstance(parsed, FolderReference):
            _check_folder(reference, parsed.path, field)


def _as_text(reference: object) -> str:
    """Return a reference as text that `parse_reference` reads in the same sense."""
    if isinstance(reference, os.PathLike):
        path = os.fsdecode(reference)
        return path if os.path.isabs(path) else os.path.join(os.curdir, path)
    if not isinstance(reference, str):
        raise InputError(
            f"a reference is of type {type(reference).__name__}: give owner/name[@revision] on the Hub, or the path of a folder"
        )
    return reference


def _check_folder(reference: str, path: Path, field: str | None = None) -> None:
    if not path.exists():
        raise InputError(f"there is no folder {reference}: check the path, or name a Hub repository as owner/name", field)
    if not path.is_dir():
        raise InputError(f"{reference} is a file: give the folder that holds the checkpoint", field)


def _folder(reference: str, parsed: FolderReference, allow: Sequence[str] | None, weights: bool) -> Snapshot:
    path = parsed.path.absolute()
    try:
        _check_folder(reference, path)
        names = _names_below(path)
        files, layout = select(names, allow, True, reference)
        revision = f"sha256:{content_hash(path, files)}"
    except OSError as error:
        raise InputError(f"{reference} cannot be read ({error.strerror}): check its permissions") from None
    return Snapshot(path, reference, revision, _license(path / "README.md"), files, "folder", layout)


def _license(card: Path) -> str | None:
    """Return the license that a model card's front matter names."""
    if not card.is_file():  # opening a pipe would wait forever
        return None
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            front = file.read(4096)
    except OSError:
        return None
    found = re.match(r"---\n(?:.*\n)*?license: *([\w.+-]{1,100})", front.partition("\n---")[0])
    return found[1] if found else None


def _names_below(root: Path) -> list[str]:
    names = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        names += [(Path(folder) / name).relative_to(root).as_posix() for name in sorted(files)]
        if len(names) > MAX_FILES:
            raise InputError(f"the folder {root.name} holds more than {MAX_FILES:,} files: name the checkpoint's own folder")
    return names


def _max_bytes() -> int:
    given = os.environ.get("PFD_MAX_DOWNLOAD_BYTES")
    if not given:
        return DEFAULT_MAX_BYTES
    if not given.isdecimal():
        raise InputError(f"PFD_MAX_DOWNLOAD_BYTES is {given[:40]!r}: give a whole number of bytes")
    return int(given)
