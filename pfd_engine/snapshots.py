"""A pinned set of files on this disk: what a reference becomes, and the identity of its contents."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from pfd_engine.checkpoint_files import CheckpointError, Layout, choose_files
from pfd_engine.errors import InputError

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Snapshot:
    """A pinned set of files on this disk.

    `reference` is as given, without `@revision`; `revision` is a commit sha, or `sha256:<hex>` over a folder's contents;
    `files` are the relative names that were asked for; `license` is what the repository's card says.
    """

    path: Path
    reference: str
    revision: str
    license: str | None = None
    files: tuple[str, ...] = ()
    repo_type: str = "model"
    checkpoint: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The checkpoint's files; raises CheckpointError where the snapshot was not resolved as a checkpoint."""
        if self.checkpoint is None:
            raise CheckpointError(f"{self.reference} was not resolved as a checkpoint: name a model")
        return self.checkpoint

    @property
    def weight_paths(self) -> list[Path]:
        return [self.path / name for name in self.layout.weight_files]

    def fingerprint(self) -> str:
        """Return the sha256 over names and contents of `files`."""
        return content_hash(self.path, self.files)


def select(names: Sequence[str], allow: Sequence[str] | None, weights: bool, what: str) -> tuple[tuple[str, ...], Layout | None]:
    """Return the files to take among `names`, and the checkpoint's layout where no patterns are given."""
    if allow is not None:
        return tuple(sorted(name for name in names if any(fnmatch(name, pattern) for pattern in allow))), None
    layout = choose_files(names, what)
    return (*layout.json_files, *(layout.weight_files if weights else ())), layout


def content_hash(root: Path, names: Sequence[str]) -> str:
    """Return the sha256, in hexadecimal, over the names and contents of files below `root`."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{file_sha256(root / name)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal; an unchanged file is read once a process.

    Raises InputError for what is no regular file once links are followed: a device or a pipe may never end.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path.name} is no ordinary file but a device, a pipe or a folder: remove it")
    return _file_sha256(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
