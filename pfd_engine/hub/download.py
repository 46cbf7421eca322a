"""Downloads from the Hub into its ordinary cache: pinned to a commit, resumed after a kill, checked by hash, usable offline."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import HfFileMetadata, http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
from tqdm import tqdm

from pfd_engine.errors import InputError
from pfd_engine.hub.errors import TIMEOUT_SECONDS, NoNetwork, endpoint, named, sentences, token
from pfd_engine.hub.layout import CONFIGURATIONS, MAX_JSON_BYTES, CheckpointError, Layout, too_large
from pfd_engine.hub.references import HubReference
from pfd_engine.hub.snapshot import Report, Snapshot, file_sha256, select
from pfd_engine.jobs.access import mode
from pfd_engine.time_limit import LOOK_UP_SECONDS
from pfd_engine.workspace import Workspace

LISTINGS = "pfd-listings"
_SHA = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Listing:
    """What one commit of a repository holds."""

    sha: str
    names: tuple[str, ...]
    license: str | None


def cache_folder() -> Path:
    """Return the Hub's cache, read from `HF_HUB_CACHE` and `HF_HOME` at each call.

    A server for others has one of its own in its workspace: the host's may hold private repositories, which would be served from it
    while the Hub cannot be reached.
    """
    if mode() != "local":
        return Workspace.from_environment().root / "hub"
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()


def fetch(reference: HubReference, allow: Sequence[str] | None, weights: bool, repo_type: str, max_bytes: int, report: Report) -> Snapshot:
    """Pin, choose and download; see `hub.resolve`."""
    storage = cache_folder() / repo_folder_name(repo_id=reference.repository, repo_type=repo_type)
    try:
        with sentences(reference, repo_type):
            listing = _ask(reference, repo_type)
            files, layout = _selected(listing, allow, weights, reference)
            _remember(storage, reference.revision or "main", listing)
            _download(reference, repo_type, storage, listing.sha, files, max_bytes, report)
    except NoNetwork:
        listing = _recall(storage, reference)
        files, layout = _selected(listing, allow, weights, reference)
        snapshot = storage / "snapshots" / listing.sha
        if not files or not all((snapshot / name).is_file() for name in files):
            raise _not_cached(reference) from None
        message = f"the Hub could not be reached: {named(reference)} is taken from the cache at {listing.sha}"
        report({"type": "warning", "message": message})
    return Snapshot(storage / "snapshots" / listing.sha, reference.repository, listing.sha, listing.license, files, repo_type, layout)


def read_start(snapshot: Snapshot, name: str, needed: Callable[[bytearray], int]) -> tuple[bytearray, int | None]:
    """Return the first bytes of a file on the Hub, as many as `needed(bytes so far)` asks for, and the file's size where the Hub tells.

    The transfer is broken off there: the rest of the file is never fetched. Raises InputError with one sentence, also where the
    transfer takes longer than `LOOK_UP_SECONDS`.
    """
    deadline = time.monotonic() + LOOK_UP_SECONDS
    reference = HubReference(snapshot.reference, snapshot.revision)
    start = bytearray()
    try:
        with sentences(reference, snapshot.repo_type):
            url = hf_hub_url(reference.repository, name, repo_type=snapshot.repo_type, revision=snapshot.revision, endpoint=endpoint())
            metadata = get_hf_file_metadata(url, token=token(), timeout=TIMEOUT_SECONDS, endpoint=endpoint())
            headers = _headers_for(metadata.location)
            with get_session().stream("GET", metadata.location, headers=headers, timeout=TIMEOUT_SECONDS) as response:
                hf_raise_for_status(response)
                for chunk in response.iter_bytes():  # of whatever size they come in, so that a slow sender is noticed
                    start += chunk
                    if len(start) >= max(needed(start), 8):
                        break
                    if time.monotonic() > deadline:
                        raise InputError(f"the Hub sends {named(reference)} too slowly to inspect it: try again later")
    except NoNetwork:
        raise InputError(f"the Hub cannot be reached, so {named(reference)} cannot be inspected: try again") from None
    return start, metadata.size


def _selected(
    listing: Listing, allow: Sequence[str] | None, weights: bool, reference: HubReference
) -> tuple[tuple[str, ...], Layout | None]:
    try:
        return select(listing.names, allow, weights, named(reference))
    except CheckpointError as error:
        error.revision, error.license = listing.sha, listing.license
        raise


def _ask(reference: HubReference, repo_type: str) -> Listing:
    """Ask the Hub which commit is meant and what is in it."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON") or constants.is_offline_mode():
        raise NoNetwork
    api = HfApi(endpoint=endpoint(), token=token())
    info: Any = api.repo_info(reference.repository, revision=reference.revision, repo_type=repo_type, timeout=TIMEOUT_SECONDS)
    names = tuple(sibling.rfilename for sibling in info.siblings or [] if _is_inside(sibling.rfilename))
    card = getattr(info, "card_data", None)
    license_name = card.get("license") if card is not None else None
    if isinstance(license_name, list):
        license_name = ", ".join(map(str, license_name))
    if not info.sha or not _SHA.fullmatch(info.sha):
        raise InputError(f"the Hub names no commit for {named(reference)}: try again later")
    return Listing(info.sha, names, str(license_name) if license_name else None)


def _is_inside(name: str) -> bool:
    """Tell a plain relative path from one that could lead out of the snapshot's folder."""
    return "\\" not in name and ":" not in name and not {"", ".", ".."} & {*name.split("/")}


def _download(
    reference: HubReference, repo_type: str, storage: Path, sha: str, files: Sequence[str], max_bytes: int, report: Report
) -> None:
    snapshot = storage / "snapshots" / sha
    missing = [name for name in files if not (snapshot / name).exists()]
    urls = {name: hf_hub_url(reference.repository, name, repo_type=repo_type, revision=sha, endpoint=endpoint()) for name in missing}
    remote = {name: get_hf_file_metadata(url, token=token(), timeout=TIMEOUT_SECONDS, endpoint=endpoint()) for name, url in urls.items()}
    for name, metadata in remote.items():
        if Path(name).name in CONFIGURATIONS and (metadata.size or 0) > MAX_JSON_BYTES:
            raise too_large(name)
    total = sum(metadata.size or 0 for metadata in remote.values())
    if total > max_bytes:
        raise InputError(
            f"{named(reference)} needs a download of {total / 1e9:.3g} GB but the limit is {max_bytes / 1e9:.3g} GB: "
            "choose a smaller checkpoint or raise PFD_MAX_DOWNLOAD_BYTES"
        )
    if missing:
        storage.mkdir(parents=True, exist_ok=True)
        if total > shutil.disk_usage(storage).free:
            raise InputError(f"{named(reference)} needs {total / 1e9:.3g} GB and the disk has less: free some space")
    done = 0
    for name in missing:
        blob = _download_blob(remote[name], storage, _reporter(report, done, total))
        _link(blob, snapshot / name)
        done += remote[name].size or 0


def _download_blob(metadata: HfFileMetadata, storage: Path, progress: type[tqdm]) -> Path:
    """Bring one file into the cache's `blobs`, going on where a killed process stopped.

    huggingface_hub 2.x writes to a file name of its own each time, so a killed download starts over; here the partial file
    keeps its name, a lock keeps others away, and the hash is checked before the file gets its final name.
    """
    if not metadata.etag or not re.fullmatch(r"[\w.-]{1,128}", metadata.etag):
        raise InputError("the Hub sent a file without a usable ETag: try again later")
    blobs = storage / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob, partial = blobs / metadata.etag, blobs / f"{metadata.etag}.pfd-partial"
    locks = storage.parent / ".locks" / storage.name
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{metadata.etag}.lock"):
        if blob.exists():
            return blob
        partial.touch()
        if metadata.size is not None and partial.stat().st_size > metadata.size:
            partial.unlink()
            partial.touch()
        with partial.open("r+b") as file:
            start = file.seek(0, io.SEEK_END)
            http_get(
                metadata.location,
                file,
                resume_size=start,
                headers=_headers_for(metadata.location),
                expected_size=metadata.size,
                tqdm_class=progress,
            )
            file.flush()
            os.fsync(file.fileno())
        if _SHA256.fullmatch(metadata.etag) and file_sha256(partial) != metadata.etag:
            partial.unlink()
            raise InputError("a downloaded file does not match its sha256: try again")
        partial.replace(blob)
    return blob


def _headers_for(location: str) -> dict[str, str]:
    """Return request headers; the token goes to the Hub itself only, never to the storage host it redirects to."""
    same_host = urlsplit(location).netloc == urlsplit(endpoint()).netloc
    return build_hf_headers(token=token() if same_host else False)


def _link(blob: Path, pointer: Path) -> None:
    """Make `pointer` stand for `blob`, as the Hub's cache does: a relative link, a copy where links are not to be had."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if pointer.exists():
        return
    temporary = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        shutil.copyfile(blob, temporary)
    temporary.replace(pointer)


def _remember(storage: Path, revision: str, listing: Listing) -> None:
    """Note what a commit holds and which commit a branch or tag meant, for later use without a network."""
    _write(storage / LISTINGS / f"{listing.sha}.json", json.dumps({"names": listing.names, "license": listing.license}))
    if not _SHA.fullmatch(revision):
        _write(storage / "refs" / revision, listing.sha)


def _write(path: Path, text: str) -> None:
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def _recall(storage: Path, reference: HubReference) -> Listing:
    """Return what `_remember` noted, else what another tool left in the cache; raises InputError where there is nothing."""
    sha = reference.revision or "main"
    try:
        if not _SHA.fullmatch(sha):
            sha = (storage / "refs" / sha).read_text().strip()
        note = storage / LISTINGS / f"{sha}.json"
        if note.is_file():
            noted = json.loads(note.read_text())
            return Listing(sha, tuple(noted["names"]), noted["license"])
    except (OSError, ValueError, KeyError, TypeError):
        raise _not_cached(reference) from None
    snapshot = storage / "snapshots" / sha
    names = tuple(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())
    if not _SHA.fullmatch(sha) or not names:
        raise _not_cached(reference)
    return Listing(sha, names, None)


def _not_cached(reference: HubReference) -> InputError:
    return InputError(
        f"the Hub cannot be reached and {named(reference)} is not complete in the cache: connect to the network and try again"
    )


def _reporter(report: Report, before: int, total: int) -> type[tqdm]:
    """Return a progress bar class that draws nothing and reports bytes instead."""

    class Reporter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})
            self._report()

        def update(self, n: float | None = 1) -> bool | None:
            updated = super().update(n)
            self._report()
            return updated

        def _report(self) -> None:
            done = min(before + int(self.n), total)
            report({"type": "progress", "phase": "download", "done": done, "total": total, "unit": "bytes"})

    return Reporter
