"""The errors that reach a user: each message is one plain sentence that says what was given, what is allowed, what to do."""


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
