"""Downloads from the Hub into its ordinary cache: pinned to a commit, resumed after a kill, checked by hash, usable offline."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import HfFileMetadata, http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
from tqdm import tqdm

from pfd_engine.checkpoint_files import CheckpointError, Layout
from pfd_engine.errors import InputError
from pfd_engine.hub import Report, Snapshot, file_sha256, select
from pfd_engine.references import HubReference

TIMEOUT_SECONDS = 10
_SHA = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NoNetwork(Exception):
    """The Hub could not be reached."""


def endpoint() -> str:
    """Return the Hub's address, read from `HF_ENDPOINT` at each call."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def cache_folder() -> Path:
    """Return the Hub's cache, read from `HF_HUB_CACHE` and `HF_HOME` at each call."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()


def fetch(reference: HubReference, allow: Sequence[str] | None, weights: bool, repo_type: str, max_bytes: int, report: Report) -> Snapshot:
    """Pin, choose and download; see `hub.resolve`."""
    storage = cache_folder() / repo_folder_name(repo_id=reference.repository, repo_type=repo_type)
    try:
        with _sentences(reference, repo_type):
            sha, names, license_name = _listing(reference, repo_type)
            files, layout = _selected(names, allow, weights, reference, sha, license_name)
            _download(reference, repo_type, storage, sha, files, max_bytes, report)
        _remember(storage, reference.revision or "main", sha)
    except NoNetwork:
        sha = _cached_revision(storage, reference)
        snapshot = storage / "snapshots" / sha
        names = [p.relative_to(snapshot).as_posix() for p in sorted(snapshot.rglob("*")) if p.is_file()]
        try:
            files, layout = select(names, allow, weights, named(reference))
        except CheckpointError:
            raise _not_cached(reference) from None
        if not files:
            raise _not_cached(reference) from None
        license_name = None
        report({"type": "warning", "message": f"the Hub could not be reached: {named(reference)} is taken from the cache at {sha}"})
    return Snapshot(storage / "snapshots" / sha, reference.repository, sha, license_name, files, repo_type, layout)


def read_start(snapshot: Snapshot, name: str, needed: Callable[[bytes], int]) -> tuple[bytes, int | None]:
    """Return the first bytes of a file on the Hub, as many as `needed(bytes so far)` asks for, and the file's size where the Hub tells.

    The transfer is broken off there: the rest of the file is never fetched. Raises InputError with one sentence.
    """
    reference = HubReference(snapshot.reference, snapshot.revision)
    start = b""
    try:
        with _sentences(reference, snapshot.repo_type):
            url = hf_hub_url(reference.repository, name, repo_type=snapshot.repo_type, revision=snapshot.revision, endpoint=endpoint())
            metadata = get_hf_file_metadata(url, timeout=TIMEOUT_SECONDS, endpoint=endpoint(), headers=build_hf_headers())
            with get_session().stream("GET", metadata.location, headers=_headers_for(metadata.location)) as response:
                hf_raise_for_status(response)
                for chunk in response.iter_bytes(2**16):
                    start += chunk
                    if len(start) >= max(needed(start), 8):
                        break
    except NoNetwork:
        raise InputError(f"the Hub cannot be reached, so {named(reference)} cannot be inspected: try again") from None
    return start, metadata.size


def _selected(
    names: Sequence[str], allow: Sequence[str] | None, weights: bool, reference: HubReference, sha: str, license_name: str | None
) -> tuple[tuple[str, ...], Layout | None]:
    try:
        return select(names, allow, weights, named(reference))
    except CheckpointError as error:
        error.revision, error.license = sha, license_name
        raise


def named(reference: HubReference) -> str:
    """Return the reference as the user wrote it."""
    return reference.repository + (f"@{reference.revision}" if reference.revision else "")


def _listing(reference: HubReference, repo_type: str) -> tuple[str, list[str], str | None]:
    """Return the commit sha, the names of all files and the license."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON") or constants.is_offline_mode():
        raise NoNetwork
    api = HfApi(endpoint=endpoint())
    info: Any = api.repo_info(reference.repository, revision=reference.revision, repo_type=repo_type, timeout=TIMEOUT_SECONDS)
    names = [sibling.rfilename for sibling in info.siblings or [] if _is_inside(sibling.rfilename)]
    card = getattr(info, "card_data", None)
    license_name = card.get("license") if card is not None else None
    if isinstance(license_name, list):
        license_name = ", ".join(map(str, license_name))
    if not info.sha or not _SHA.fullmatch(info.sha):
        raise InputError(f"the Hub names no commit for {named(reference)}: try again later")
    return info.sha, names, str(license_name) if license_name else None


def _is_inside(name: str) -> bool:
    """Tell a plain relative path from one that could lead out of the snapshot's folder."""
    return "\\" not in name and ":" not in name and not {"", ".", ".."} & {*name.split("/")}


def _download(
    reference: HubReference, repo_type: str, storage: Path, sha: str, files: Sequence[str], max_bytes: int, report: Report
) -> None:
    snapshot = storage / "snapshots" / sha
    missing = [name for name in files if not (snapshot / name).exists()]
    urls = {name: hf_hub_url(reference.repository, name, repo_type=repo_type, revision=sha, endpoint=endpoint()) for name in missing}
    remote = {
        name: get_hf_file_metadata(url, timeout=TIMEOUT_SECONDS, endpoint=endpoint(), headers=build_hf_headers())
        for name, url in urls.items()
    }
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
    return build_hf_headers(token=None if same_host else False)


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


def _remember(storage: Path, revision: str, sha: str) -> None:
    """Note which commit a branch or tag meant, for later use without a network."""
    if _SHA.fullmatch(revision):
        return
    note = storage / "refs" / revision
    if note.is_file() and note.read_text() == sha:
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_name(f".{note.name}.{os.getpid()}")
    temporary.write_text(sha)
    temporary.replace(note)


def _cached_revision(storage: Path, reference: HubReference) -> str:
    revision = reference.revision or "main"
    if not _SHA.fullmatch(revision):
        note = storage / "refs" / revision
        if not note.is_file():
            raise _not_cached(reference)
        revision = note.read_text().strip()
    if not _SHA.fullmatch(revision) or not (storage / "snapshots" / revision).is_dir():
        raise _not_cached(reference)
    return revision


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


@contextmanager
def _sentences(reference: HubReference, repo_type: str) -> Iterator[None]:
    """Turn the Hub's errors into NoNetwork or an InputError of one sentence; tokens and addresses never get into it."""
    kind = "data set" if repo_type == "dataset" else "repository"
    name = named(reference)
    try:
        yield
    except GatedRepoError:
        raise InputError(f"{name} is gated: accept its terms on its Hub page, then log in with `hf auth login` or set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise _unknown_revision(reference, kind) from None
    except RepositoryNotFoundError:
        if reference.revision is not None and _exists(reference.repository, repo_type):
            raise _unknown_revision(reference, kind) from None
        raise InputError(
            f"there is no {kind} {reference.repository} on the Hub, or it is private: check the name, or log in with `hf auth login`"
        ) from None
    except EntryNotFoundError:
        raise InputError(f"a file of {name} has disappeared from the Hub: try again") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(f"the Hub refused access to {name}: check the token in HF_TOKEN or log in with `hf auth login`") from None
        if status == 429:
            raise InputError("the Hub asks to slow down (too many requests): try again in some minutes") from None
        if status >= 500:
            raise NoNetwork from None
        raise InputError(f"the Hub answered {name} with status {status}: try again later") from None
    except (HTTPError, OfflineModeIsEnabled, ConnectionError, TimeoutError):
        raise NoNetwork from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"the disk is full, so {name} cannot be downloaded: free some space and try again") from None
        raise InputError(f"the download of {name} failed ({error.strerror or 'incomplete file'}): try again") from None


def _exists(repository: str, repo_type: str) -> bool:
    try:
        HfApi(endpoint=endpoint()).repo_info(repository, repo_type=repo_type, timeout=TIMEOUT_SECONDS)
    except (HTTPError, OSError):
        return False
    return True


def _unknown_revision(reference: HubReference, kind: str) -> InputError:
    return InputError(f"{kind} {reference.repository} has no revision {reference.revision}: name an existing branch, tag or commit sha")
