"""What the configurations of all kinds of runs share: checked fields, one-sentence errors, a canonical text and a command line."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Reference = Annotated[str, Field(min_length=1, max_length=1024)]


class FieldError(ValueError):
    """What a check of several fields together raises: one sentence, and the field to blame."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class RunConfig(BaseModel):
    """One run, checked and immutable. A subclass has a literal field `kind`, which is also the name of its command.

    `what` names the run in sentences; `flags` are the fields whose command-line option is not their name with dashes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: ClassVar[str] = "a run"
    flags: ClassVar[Mapping[str, str]] = {}

    kind: str

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build the configuration from untrusted values; raises `InputError` with one sentence and the field at fault."""
        from pfd_engine.errors import InputError

        try:
            return cls(**values)
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(one) for one in error.errors()]
            first, *others = errors
            if others and str(others[0]["loc"][-1]).startswith("literal[") and others[0]["loc"][:-1] == first["loc"][:-1]:
                # Of a setting that is a number or a word, each error's place ends with the type that was tried.
                first |= {"loc": first["loc"][:-1], "word": others[0]["ctx"]["expected"]}
            raised = first.get("ctx", {}).get("error")
            named = ".".join(part for part in first["loc"] if isinstance(part, str)) or None
            field = named or (raised.field if isinstance(raised, FieldError) else None)
            raise InputError(cls._sentence(first, field), field) from None

    @property
    def canonical(self) -> str:
        """The configuration as JSON with sorted keys: the same text for equal configurations."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """sha256 of `canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @classmethod
    def flag(cls, name: str) -> str:
        """Return the command-line option of a field."""
        return "--" + cls.flags.get(name, name).replace("_", "-")

    def command(self) -> str:
        """Return the command line that does the same (defaults left out)."""
        words = ["python", "-m", "pfd_engine", self.kind]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "kind" or (value == field.default and not field.is_required()):
                continue
            words += [self.flag(name)] if value is True else [self.flag(name), str(value)]
        return shlex.join(words)

    @classmethod
    def _sentence(cls, error: Any, field: str | None) -> str:
        """Turn one of pydantic's errors into our one sentence."""
        if error["type"] == "value_error":
            return str(error["ctx"]["error"])
        *groups, name = [part for part in error["loc"] if isinstance(part, str)] or [""]
        group = ".".join(groups)
        if error["type"] == "extra_forbidden":
            where = f"[{group}] of {cls.what}" if group else cls.what
            return f"{name[:60]!r} is not a setting of {where}: choose among {', '.join(cls._settings_of(groups))}"
        if error["type"] == "missing":
            return f"{field} is missing: name it"
        what = name.replace("num_", "number of ").replace("_", " ") + (f" in [{group}]" if group else "")
        expected = EXPECTED.get(error["type"].split("_")[0], "another value")
        if error["type"] == "literal_error":
            expected = error["ctx"]["expected"]
        elif bound := LIMITS.get(error["type"]):
            expected = bound.format(**error.get("ctx", {}))
        expected += f" or {error['word']}" if "word" in error else ""
        return f"{what} is {repr(error['input'])[:80]}: give {expected}"

    @classmethod
    def _settings_of(cls, groups: Sequence[str]) -> list[str]:
        """Return the names of the settings of a group within a group."""
        found: Any = cls
        for name in groups:
            found = found.model_fields[name].annotation
        return list(found.model_fields)


LIMITS = {
    "greater_than": "a number above {gt:,}",
    "greater_than_equal": "at least {ge:,}",
    "less_than": "a number below {lt:,}",
    "less_than_equal": "at most {le:,}",
    "finite_number": "a finite number",
    "too_long": "at most {max_length}",
    "too_short": "at least {min_length}",
    "string_pattern_mismatch": "a text that matches {pattern}",
}
EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text of 1 to 1,024 characters",
    "bool": "true or false",
    "tuple": "a list",
    "model": "a table of settings",
}


def one_of(what: str, value: str, allowed: Sequence[str]) -> str:
    """Return `value` if it is among `allowed`; raises ValueError with one sentence."""
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}: choose one of {', '.join(allowed)}")
    return value


def within(what: str, value: int, low: int, high: int) -> int:
    """Return a whole number if it lies in [low, high]; raises ValueError with one sentence."""
    if not low <= value <= high:
        raise ValueError(f"{what} is {value}: give a whole number from {low} to {high:,}")
    return value


def device_name(value: str) -> str:
    """Return a well-formed device name; raises ValueError with one sentence. Whether it exists is not looked up."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?", value):  # torch takes 300 for 44 and stumbles over other digits
        raise ValueError(f"device is {value[:40]!r}: give auto, cpu, cuda or cuda:N, N from 0 to 99")
    return value
