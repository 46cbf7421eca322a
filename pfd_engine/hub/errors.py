"""The Hub's errors as one sentence each: no traceback, no address and no token ever gets into a message."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pfd_engine.errors import InputError
from pfd_engine.hub.references import HubReference
from pfd_engine.jobs.access import mode

TIMEOUT_SECONDS = 10


class NoNetwork(Exception):
    """The Hub could not be reached."""


def endpoint() -> str:
    """Return the Hub's address, read from `HF_ENDPOINT` at each call."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def named(reference: HubReference) -> str:
    """Return the reference as the user wrote it."""
    return reference.repository + (f"@{reference.revision}" if reference.revision else "")


def token() -> bool | None:
    """Return what requests to the Hub take as `token`: False on a server for others, which lends nobody its own account."""
    return None if mode() == "local" else False


@contextmanager
def sentences(reference: HubReference, repo_type: str) -> Iterator[None]:
    """Turn the Hub's errors into NoNetwork or an InputError of one sentence."""
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
        raise InputError(f"{name} lists a file that is not there on the Hub: name another revision or checkpoint") from None
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
        HfApi(endpoint=endpoint(), token=token()).repo_info(repository, repo_type=repo_type, timeout=TIMEOUT_SECONDS)
    except (HTTPError, OSError):
        return False
    return True


def _unknown_revision(reference: HubReference, kind: str) -> InputError:
    return InputError(f"{kind} {reference.repository} has no revision {reference.revision}: name an existing branch, tag or commit sha")
