"""A pinned set of files on this disk: what a reference becomes, and the identity of its contents."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from pfd_engine.errors import InputError
from pfd_engine.hub.layout import CheckpointError, Layout, choose_files

Report = Callable[[dict[str, Any]], None]
_SHA256 = re.compile(r"[0-9a-f]{64}")


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

    def fingerprint(self, *, anew: bool = False) -> str:
        """Return the sha256 over names and contents of `files`; `anew` reads them again, whatever was read before."""
        return content_hash(self.path, self.files, anew=anew)

    def damaged_files(self) -> list[Path]:
        """Return the files from the Hub, of `files`, whose bytes are not those that the Hub's own sha256 names."""
        blobs = {} if self.repo_type == "folder" else {name: (self.path / name).resolve() for name in self.files}
        return [blob for name, blob in blobs.items() if _SHA256.fullmatch(blob.name) and file_sha256(self.path / name) != blob.name]


def select(names: Sequence[str], allow: Sequence[str] | None, weights: bool, what: str) -> tuple[tuple[str, ...], Layout | None]:
    """Return the files to take among `names`, and the checkpoint's layout where no patterns are given."""
    if allow is not None:
        return tuple(sorted(name for name in names if any(fnmatch(name, pattern) for pattern in allow))), None
    layout = choose_files(names, what)
    return (*layout.json_files, *(layout.weight_files if weights else ())), layout


def content_hash(root: Path, names: Sequence[str], *, anew: bool = False) -> str:
    """Return the sha256, in hexadecimal, over the names and contents of files below `root`; see `file_sha256`."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{file_sha256(root / name, anew=anew)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path, *, anew: bool = False) -> str:
    """Return a file's sha256 in hexadecimal; an unchanged file is read once a process, unless `anew` asks for its bytes of now.

    Raises InputError for what is no regular file once links are followed: a device or a pipe may never end.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path.name} is no ordinary file but a device, a pipe or a folder: remove it")
    read = _file_sha256.__wrapped__ if anew else _file_sha256
    return read(path, found.st_ino, found.st_size, found.st_mtime_ns)


def forget_hashes() -> None:
    """Read every file again when its sha256 is next asked for: one was changed without a trace in its size and time."""
    _file_sha256.cache_clear()


@lru_cache(maxsize=4096)
def _file_sha256(path: Path, inode: int, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
