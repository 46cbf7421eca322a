"""The check that every request passes before Streamlit sees it, HTTP and WebSocket alike, as ASGI middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pfd_engine.jobs.hosts import HEALTH, Authority, Hosts

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

FRAMING = (b"content-security-policy", b"frame-ancestors 'self'")
SHOWN = 100


class HostCheck:
    """Refuse requests that name a host which is not the server's, or come from another site's page; forbid other sites to frame it."""

    def __init__(self, app: App, hosts: Hosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), FRAMING]}
            await send(message)

        refusal = self.refusal(scope)
        if refusal is None:
            await self.app(self._as_seen_by_its_page(scope), receive, send_unframed)
        else:
            await _refuse(scope, receive, send, refusal)

    def refusal(self, scope: Message) -> str | None:
        """Return the sentence that refuses a request, None where it may pass.

        A health check may name any host: whoever asks whether the server runs may know it by another name, and learns nothing else.
        """
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        authority = Authority.parse(hosts[0]) if len(hosts) == 1 else None
        reached = (scope.get("server") or (None,))[0]
        is_health_check = scope["type"] == "http" and scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD")
        if authority is None or not (is_health_check or self.hosts.answers(authority, reached)):
            return (
                f"This server does not answer to the host {_shown(hosts)}: open it at the address that it printed when it started, or name "
                "that host in PFD_HOSTS and start it again."
            )
        if not all(self.hosts.trusts(origin, authority) for origin in origins):
            return f"This server answers no page of {_shown(origins)}: open its own address, {_shown(hosts)}, in the browser."
        return None

    def _as_seen_by_its_page(self, scope: Message) -> Message:
        """Return the request with the host at which its page was loaded: Streamlit's own check knows no proxy that changes it."""
        origins = _values(scope, b"origin")
        if not origins:
            return scope
        host = origins[0].partition("://")[2].encode("latin-1")
        return {**scope, "headers": [(name, host if name == b"host" else value) for name, value in scope["headers"]]}


def _values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _shown(values: list[str]) -> str:
    """Return what a header said, safe to print."""
    given = ", ".join(values)
    return ascii(given[:SHOWN])[1:-1] + ("…" if len(given) > SHOWN else "") if given else "without a name"


async def _refuse(scope: Message, receive: Receive, send: Send, sentence: str) -> None:
    """Answer with status 403 and one sentence, the request for a WebSocket before it becomes one."""
    is_socket = scope["type"] == "websocket"
    if is_socket:
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008})
            return
    body = f"{sentence}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
        FRAMING,
    ]
    kind = "websocket.http.response" if is_socket else "http.response"
    await send({"type": f"{kind}.start", "status": 403, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else body})
