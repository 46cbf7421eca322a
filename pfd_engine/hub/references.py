"""How a checkpoint or data set is named: `owner/name[@revision]` on the Hub, or a path that starts with `.`, `/` or `~`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB = re.compile(rf"(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,249}}))?")


@dataclass(frozen=True)
class HubReference:
    """A repository on the Hub; `revision` is a branch, a tag or a commit sha, None for the default branch."""

    repository: str
    revision: str | None


@dataclass(frozen=True)
class FolderReference:
    """A folder on this machine."""

    path: Path


def parse_reference(reference: str) -> HubReference | FolderReference:
    """Parse a reference; raises ValueError with one sentence. Nothing is looked up."""
    if reference.startswith((".", "/", "~")):
        if "\0" in reference:
            raise ValueError("the path contains a NUL character: give the path of a folder")
        return FolderReference(Path(os.path.expanduser(reference)))  # a folder ./~x stays what it is
    match = _HUB.fullmatch(reference)
    if match is None or ".." in reference or "--" in match["repository"]:
        raise ValueError(
            f"{reference[:100]!r} is no reference: give owner/name[@revision] on the Hub, or a path that starts with '.', '/' or '~'"
        )
    return HubReference(match["repository"], match["revision"])
