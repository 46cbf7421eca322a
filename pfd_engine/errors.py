"""The errors that reach a user: each message is one plain sentence that says what was given, what is allowed, what to do."""

import errno
import sqlite3

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PFDError(Exception):
    """Base of every error whose message is meant for the user as it stands."""


class InputError(PFDError):
    """What was asked for cannot start: bad input, no network, no such device (exit status 2).

    `field` names the configuration field at fault, where one is known, so that a form can put the sentence beside it.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class RunError(PFDError):
    """A run failed after it had started: disk full, memory exhausted, weights that produce NaN (exit status 1)."""


class Cancelled(PFDError):
    """The run was asked to stop and did so (exit status 130)."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error, or one that it came from, means that nothing more can be written."""
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in DISK_FULL
        if full or (isinstance(cause, sqlite3.OperationalError) and "full" in str(cause)):
            return True
        cause = cause.__cause__
    return False
