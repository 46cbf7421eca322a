"""At which names this server answers, and to whose pages: what keeps another web site from driving it through a visitor's browser.

A site can point its own host name at this machine (DNS rebinding); its page then has the same origin as this server, and only the
name tells. So every request, HTTP and WebSocket, passes `HostCheck` before Streamlit sees it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from pfd_engine.errors import InputError
from pfd_engine.jobs.access import mode
from pfd_engine.workspace import REPOSITORY

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS = ("0.0.0.0", "::")
HEALTH = "/_stcore/health"
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})))(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


class Authority(NamedTuple):
    """A host, in lower case and without brackets or a final dot, and a port where one is given."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `host`, `host:port` or `[IPv6]:port`; None for anything else."""
        found = _AUTHORITY.fullmatch(text)
        if found is None:
            return None
        host = same_host(found[1] or found[2])
        return cls(host, int(found[3]) if found[3] else None) if host else None


def same_host(host: str) -> str:
    """Return the one spelling of a host name or IP address that stands for all of its spellings."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().removesuffix(".")
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)


@dataclass(frozen=True)
class Hosts:
    """The host names at which the server answers, besides the IP address to which a request was sent.

    `named` are those that whoever runs the server named: a page that was loaded from there may speak to the server although the
    request names another host, as it does behind a proxy that puts its own name into requests.
    """

    names: frozenset[str] = frozenset(LOOPBACK)
    named: frozenset[Authority] = frozenset()

    @classmethod
    def from_environment(cls, served: Iterable[str | None] = ()) -> Self | None:
        """Return what `PFD_HOSTS`, the address served and, with sign-in, redirect_uri allow; None in the demo, which has nothing to take.

        Raises InputError for a `PFD_HOSTS` that names no host.
        """
        if mode() == "demo":
            return None
        named = {_named(entry) for entry in filter(None, re.split(r"[\s,;]+", os.environ.get("PFD_HOSTS", "")))}
        if mode() == "hosted":
            named |= set(_redirect_hosts())
        addresses = {same_host(address.strip("[]")) for address in served if address and address not in ANY_ADDRESS}
        return cls(frozenset(LOOPBACK) | addresses | {authority.host for authority in named}, frozenset(named))

    def answers(self, authority: Authority | None, reached: str | None) -> bool:
        """Tell whether a request is answered that names a host and was sent to the IP address `reached`, where that is known.

        A browser that was given an IP address looked no name up, so nobody can have pointed it here.
        """
        return authority is not None and (authority.host in self.names or (reached is not None and authority.host == same_host(reached)))

    def trusts(self, origin: str, authority: Authority) -> bool:
        """Tell whether a page of an origin may speak to the server at the host and port that its request names."""
        scheme, _, rest = origin.partition("://")
        page = Authority.parse(rest)
        if page is None or scheme not in _PORTS:
            return False
        default = _PORTS[scheme]
        here = (page.host, page.port or default)
        return any(here == (known.host, known.port or default) for known in (authority, *self.named))


def auth_settings() -> Iterator[tuple[Path, Any]]:
    """Yield each secrets.toml that can be read, with its `auth`."""
    for folder in (Path.home(), REPOSITORY):
        path = folder / ".streamlit" / "secrets.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        yield path, values.get("auth", {})


def _named(entry: str) -> Authority:
    authority = Authority.parse(entry)
    if authority is None:
        raise InputError(f"PFD_HOSTS names {entry[:60]!r}: give host names such as pfd.example.org or pfd.example.org:8443, with commas")
    return authority


def _redirect_hosts() -> Iterator[Authority]:
    for _, settings in auth_settings():
        address = settings.get("redirect_uri") if isinstance(settings, dict) else None
        if isinstance(address, str):
            try:
                found = Authority.parse(urlsplit(address).netloc)
            except ValueError:
                continue
            if found is not None:
                yield found
