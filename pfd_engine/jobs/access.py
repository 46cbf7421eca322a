"""Who may do what on this server: the policy of its mode, and the one decision whether a launch is allowed. Pure, except for reading
the environment."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pfd_engine.errors import InputError
from pfd_engine.workspace import ASSETS

if TYPE_CHECKING:
    from pfd_engine.configs.base import RunConfig

Mode = Literal["local", "demo", "hosted"]
DAY = 86400.0
DEFAULT_MAX_RUNS, DEFAULT_MAX_SECONDS = 2, 3600.0
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE")
PATH_FIELDS = ("output", "descriptor_file")
_EMAIL = re.compile(r"[^@\s<>\"',;]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")


@dataclass(frozen=True)
class Policy:
    """What this server allows: `allowed` are e-mail addresses and, with a leading @, domains; the limits hold for each user.

    `max_runs` runs may wait or run at once, `max_seconds` of runs in any 24 hours.
    """

    mode: Mode
    allowed: frozenset[str] = frozenset()
    max_runs: int = DEFAULT_MAX_RUNS
    max_seconds: float = DEFAULT_MAX_SECONDS

    @classmethod
    def from_environment(cls) -> Policy:
        """Read `PFD_MODE`, `PFD_ALLOWED_USERS`, `PFD_MAX_RUNS_PER_USER` and `PFD_MAX_SECONDS_PER_DAY`; raises InputError."""
        if (found := mode()) != "hosted":
            return cls(found)
        listed = re.split(r"[\s,;]+", os.environ.get("PFD_ALLOWED_USERS", "").strip().lower())
        for entry in filter(None, listed):
            if normalized(f"x{entry}" if entry.startswith("@") else entry) is None:
                raise InputError(f"PFD_ALLOWED_USERS names {entry[:60]!r}: give e-mail addresses, and domains as @example.org")
        return cls(
            found, frozenset(filter(None, listed)), int(_limit("PFD_MAX_RUNS_PER_USER", DEFAULT_MAX_RUNS)),
            _limit("PFD_MAX_SECONDS_PER_DAY", DEFAULT_MAX_SECONDS),
        )  # fmt: skip

    def admits(self, user: str | None) -> bool:
        """Whether somebody may launch at all; `user` is a verified e-mail address, None for a visitor who has not signed in."""
        if self.mode == "local":
            return True
        email = normalized(user)
        return self.mode == "hosted" and email is not None and bool({email, email[email.index("@") :]} & self.allowed)


@dataclass(frozen=True)
class Used:
    """What one run cost the user who launched it: its state, and `earlier` seconds of attempts before the present one."""

    user: str
    state: str
    started: float | None = None
    finished: float | None = None
    earlier: float = 0.0

    def seconds_since(self, since: float, now: float) -> float:
        """Return the seconds of this run after a time; those of earlier attempts count whole as long as the run has not ended before it."""
        end = self.finished or now
        present = 0.0 if self.started is None else max(0.0, end - max(self.started, since))
        return present + (self.earlier if end >= since else 0.0)


def mode() -> Mode:
    """Return the mode that `PFD_MODE` names; what it cannot mean is the closed one, a demo."""
    asked = os.environ.get("PFD_MODE", "").strip().lower()
    if asked in ("", "local"):
        return "local"
    return "hosted" if asked == "hosted" else "demo"


def for_others(mode: Mode, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that works for strangers: its mode, and nothing of the host's own account on the Hub."""
    kept = {name: value for name, value in given.items() if name not in TOKENS}
    offline = {"HF_HUB_OFFLINE": "1"} if mode == "demo" else {}
    return {**kept, "PFD_MODE": mode, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", **offline}


def normalized(email: str | None) -> str | None:
    """Return an e-mail address in lower case, None for what is none."""
    given = (email or "").strip()
    if not (given.isascii() and given.isprintable()):  # lower case would turn some other letters into ASCII ones
        return None
    lowered = given.lower()
    return lowered if _EMAIL.fullmatch(lowered) else None


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """Return the address of a signed-in user, None unless the identity provider says that it verified it."""
    if claims.get("is_logged_in") is not True or claims.get("email_verified") not in (True, "true"):
        return None
    email = claims.get("email")
    return normalized(email) if isinstance(email, str) else None


def may_launch(policy: Policy, user: str | None, config: RunConfig, runs: Sequence[Used], now: float | None = None) -> float | None:
    """Return how many seconds the run may take (None: no limit); raises InputError with one sentence where it must not start.

    `runs` are the runs of this workspace that somebody launched.
    """
    if policy.mode == "local":
        return None
    check_user(policy, user)
    check_hosted(config)
    mine = [run for run in runs if run.user == normalized(user)]
    active = sum(run.state in ("queued", "running") for run in mine)
    if active >= policy.max_runs:
        raise InputError(
            f"{active} of your runs wait or run, and this server allows {policy.max_runs} at once: wait, or cancel one on the Runs page"
        )
    moment = time.time() if now is None else now
    left = policy.max_seconds - sum(run.seconds_since(moment - DAY, moment) for run in mine)
    if left <= 0:
        raise InputError(
            f"your runs of the last 24 hours took the {policy.max_seconds:,.0f} seconds that this server allows: try again later, or run "
            "the command on your own machine"
        )
    return left


def check_user(policy: Policy, user: str | None) -> None:
    """Raise InputError unless the policy admits this user."""
    if policy.admits(user):
        return
    if policy.mode == "demo":
        raise InputError("this is a read-only demo, which launches nothing")
    if user is None:
        raise InputError("launching needs sign-in, with an address that is on this server's list")
    raise InputError(f"{user} is not on this server's list of those who may launch: ask whoever runs it")


def may_change(policy: Policy, user: str | None, owner: str | None) -> bool:
    """Whether a user may cancel or try again a run that `owner` launched."""
    return policy.mode == "local" or (policy.admits(user) and owner is not None and owner == normalized(user))


def check_hosted(config: RunConfig) -> None:
    """Raise InputError, with the field at fault, for what reads or writes this machine's own files: every path but a bundled model's."""
    values = config.model_dump(mode="json")
    for name in PATH_FIELDS:
        if values.get(name) is not None:
            raise InputError(f"the {name.replace('_', ' ')} is a path, and this server takes none from visitors: leave it empty", name)
    if values.get("allow_torchscript"):
        raise InputError("a TorchScript file is code, which this server does not run for visitors: choose another descriptor", "descriptor")
    for field, text in _texts(values):
        if text.startswith((".", "/", "~", "\\")) and not is_bundled(text):
            raise InputError(
                f"the {field.replace('_', ' ')} is a folder, and this server takes none from visitors: name a repository on the Hub as "
                "owner/name",
                field,
            )


def is_bundled(reference: str) -> bool:
    """Whether a path is the folder of one of the models that come with the product."""
    if "\0" in reference or reference.startswith("~"):
        return False
    return Path(reference).resolve().parent == ASSETS.resolve()


def _texts(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield the outermost field's name and the text of every text in a configuration."""
    for name, value in values.items():
        for entry in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(entry, Mapping):
                yield from _texts(entry, within or name)
            elif isinstance(entry, str):
                yield within or name, entry


def _limit(name: str, default: float) -> float:
    given = os.environ.get(name, "").strip()
    if not given:
        return default
    if not given.isdecimal():
        raise InputError(f"{name} is {given[:40]!r}: give a whole number")
    return float(given)
