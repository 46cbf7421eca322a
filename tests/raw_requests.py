"""Requests as bytes on a socket: with whatever headers a browser, or somebody who is none, may send."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

# The key is the example of RFC 6455.
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


def request(address: str, *lines: str, path: str = "/", method: str = "GET", version: str = "HTTP/1.1", to: str | None = None) -> Answer:
    """Send one request with exactly these header lines to the server at `address`, or to its port of another host `to`."""
    target = urlsplit(address)
    with socket.create_connection((to or target.hostname, target.port), timeout=20) as connection:
        connection.sendall("\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode("latin-1"))
        received = b""
        while b"\r\n\r\n" not in received and (part := connection.recv(2**16)):
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        while len(body) < length and (part := connection.recv(2**16)):
            body += part
    return Answer(int(first.split()[1]), headers, body.decode(errors="replace"))


def web_socket(address: str, *lines: str, to: str | None = None) -> Answer:
    """Ask for the WebSocket that a page of the app opens; it is granted with status 101."""
    return request(address, *lines, *UPGRADE, path="/_stcore/stream", to=to)
