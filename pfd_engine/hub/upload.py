"""A folder on its way to the Hub: a student's own four files and nothing else, or a bundle of results. No token gets into a message."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

from pfd_engine.errors import InputError
from pfd_engine.hub.errors import endpoint
from pfd_engine.hub.layout import OWN_WEIGHTS, read_json
from pfd_engine.hub.references import HubReference, parse_reference
from pfd_engine.models.families.own import CARD_FILE, CONFIG_FILE, TRAINING_SET_FILE, matches
from pfd_engine.models.inspect import inspect
from pfd_engine.models.student_card import NOT_MEASURED

FILES = (CONFIG_FILE, OWN_WEIGHTS, TRAINING_SET_FILE, CARD_FILE)
NEEDED = (CONFIG_FILE, OWN_WEIGHTS, CARD_FILE)


class Pushed(NamedTuple):
    """Where a folder went: repository, commit sha, address, and the names of its files; `warning` is a sentence, or empty."""

    repository: str
    commit: str
    url: str
    files: tuple[str, ...]
    warning: str


def push(folder: Path, repository: str, private: bool = False) -> Pushed:
    """Upload a checkpoint folder of our own to a model repository `owner/name`, made where there is none; `private` is for a new one.

    Raises InputError with one sentence: a bad name, no folder, no checkpoint of ours, no token, no permission, no network.
    """
    name = check_repository(repository)
    files = check_folder(folder)
    card = (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    warning = "its card says that its errors have not been measured yet" if NOT_MEASURED in card else ""
    url, commit = upload(folder, name, files, "model", private, "Upload a checkpoint")
    return Pushed(name, commit, url, files, warning)


def upload(
    folder: Path, name: str, files: Sequence[str], repo_type: str, private: bool, message: str, *, replacing: Sequence[str] = ()
) -> tuple[str, str]:
    """Commit the named files of a folder to a repository of one kind (`model` or `dataset`), made where there is none.

    In the same commit, files that match `replacing` and are not among these go away. Returns its address and the sha of the commit;
    raises InputError with one sentence: no token, no permission, no network.
    """
    api = HfApi(endpoint=endpoint(), token=_token())
    with _sentences(name):
        api.whoami()
        api.create_repo(name, repo_type=repo_type, private=private or None, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            repo_type=repo_type,
            folder_path=folder,
            allow_patterns=list(files),
            delete_patterns=list(replacing) or None,
            commit_message=message,
        )
    return f"{endpoint()}/{'datasets/' if repo_type == 'dataset' else ''}{name}", commit.oid


def check_token() -> None:
    """Raise InputError, with what to do, where this machine is not logged in to the Hub."""
    _token()


def _token() -> str:
    token = get_token()
    if token is None:
        raise InputError("there is no Hub token: log in with `hf auth login`, or set HF_TOKEN to a token that may write")
    return token


def check_repository(repository: str) -> str:
    """Return the name of a repository to write to; raises InputError for anything but owner/name."""
    try:
        parsed = parse_reference(repository)
    except ValueError:
        parsed = None
    if not isinstance(parsed, HubReference) or parsed.revision is not None:
        raise InputError(f"{repository[:100]!r} is no repository to write to: give owner/name, letters, digits, '-', '_' and '.' in each")
    return parsed.repository


def check_folder(folder: Path) -> tuple[str, ...]:
    """Return the names of the files to upload; raises InputError unless the folder holds a sound checkpoint of our own, with a card."""
    if not folder.exists():
        raise InputError(f"there is no folder {folder}: give the folder of a student, as `distill` names it")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give the folder that holds the checkpoint")
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is no checkpoint of ours, it has no {missing[0]}: give the folder of a student, as `distill` names it")
    if not matches(folder, read_json(folder / CONFIG_FILE)):
        raise InputError(f"{folder} is a checkpoint of another format: push takes the folders that `distill` writes")
    info = inspect(str(folder.absolute()))
    if not info.loadable:
        raise InputError(info.reason or f"{folder} cannot be read: distill the student again")
    return tuple(name for name in FILES if (folder / name).is_file())


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turn what an upload can run into to an InputError of one sentence."""
    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        wrapped = isinstance(error, RuntimeError) and error.__cause__ is not None  # a large file's transfer
        raise InputError(_sentence(error.__cause__ if wrapped else error, name)) from None


def _sentence(error: BaseException | None, name: str) -> str:
    if isinstance(error, HFValidationError):
        return f"{name[:100]!r} is no name that the Hub allows: choose another owner/name"
    if isinstance(error, HfHubHTTPError):
        return _refusal(error.response.status_code, name)
    if isinstance(error, (HTTPError, ConnectionError, TimeoutError)):
        return f"the Hub could not be reached, so {name} was not changed: check the network and try again"
    if isinstance(error, ValueError) and CARD_FILE in str(error):  # how huggingface_hub tells of front matter that the Hub does not accept
        return f"the Hub does not accept the card: correct the lines between --- in {CARD_FILE}"
    if isinstance(error, OSError):
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or "a file cannot be read"
        return f"the folder cannot be sent ({reason}): check its files and try again"
    return f"the Hub answered the upload to {name} with something else than expected: try again later"


def _refusal(status: int, name: str) -> str:
    if status == 401:
        return "the Hub does not accept the token: log in again with `hf auth login`, or set HF_TOKEN to a valid one"
    if status in (403, 404):
        return f"the token may not write to {name}: use a token with write access, or choose a repository of your own"
    if status == 429:
        return "the Hub asks to slow down (too many requests): try again in some minutes"
    return f"the Hub answered the upload to {name} with status {status}: try again later"
