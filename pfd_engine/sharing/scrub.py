"""What others may see of a text: no path of a machine, no token, no password. Of a path the last name alone stays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_QUOTED = r"""(?P<quote>["'`])(?=~?/[^\s/]|~[A-Za-z_][\w.-]*/|file:/|[A-Za-z]:[\\/]|\\\\)(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)"""
_ADDRESS = r"""(?<![A-Za-z0-9])(?P<address>(?:(?:git\+)?https?|hf)://[^\s"'`,;<>|]+)"""
_OTHER_ADDRESS = r"""(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s"'`,;<>|]+"""  # file:///home/ann/x, s3://lab/x
_WINDOWS = r"""(?<![A-Za-z0-9])(?:[A-Za-z]:[\\/]+|\\\\)[^\s"'`,;:<>|]+"""
_PART = r"""/+(?:\\.|[^\s\\/"'`,;:()<>|])+"""
_POSIX = rf"(?<![\w./~…\\-])(?:~(?:[A-Za-z_][\w.-]*)?(?:{_PART})+|(?:{_PART}){{2,}})"  # not a relative path, nor a part of one
_PLACE = re.compile("|".join((_QUOTED, _ADDRESS, _OTHER_ADDRESS, _WINDOWS, _POSIX)))
_PASSWORD = re.compile(r"""(?<=://)[^\s/?#"<>]*@""")
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")


def scrubbed(value: Any) -> Any:
    """Return a value, in a text or in the values of a JSON text, without the paths of a machine, tokens and passwords.

    Addresses on the web stay, without the user that they name; a path with blanks is seen as one where it stands in quotes.
    """
    return in_texts(value, lambda text: _TOKEN.sub("hf_…", _PLACE.sub(_last_name, _PASSWORD.sub("…@", text))))


def in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with every text in it changed: names and values of objects and lists, those inside a JSON text too."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            return json.dumps(in_texts(json.loads(value), change), sort_keys=True)
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {in_texts(name, change): in_texts(item, change) for name, item in value.items()}
    numbers = isinstance(value, list) and isinstance(next(iter(value), None), float)
    return [in_texts(item, change) for item in value] if isinstance(value, list) and not numbers else value


def _last_name(place: re.Match[str]) -> str:
    """Return the last name of a path, in the quotes that it had; an address on the web stays as it is."""
    if place["address"]:
        return place["address"]
    quote, parts = place["quote"] or "", re.split(r"/|\\(?! )", place["quoted"] or place[0])  # a blank may follow a backslash in a name
    return f"{quote}…/{parts[-1]}{quote}"
