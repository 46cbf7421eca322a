"""A stub of the Hub's documented endpoints for what olah does not serve: gates, error codes, ranges, slow and broken transfers."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubStub:
    """One repository with the given files: the model `acme/model`, or what `name` and `kind` (`datasets`) say.

    `gated`, `absent`, `status` and `chunk_seconds` make it misbehave.

    `served` collects `(name, range header, bytes sent)` of every file transfer.
    """

    files: dict[str, bytes]
    name: str = "acme/model"
    kind: str = "models"
    gated: bool = False
    absent: tuple[str, ...] = ()
    status: int | None = None
    chunk_seconds: float = 0.0
    served: list[tuple[str, str | None, int]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The path at which files are found: the kind is left out for models."""
        return self.name if self.kind == "models" else f"{self.kind}/{self.name}"

    @property
    def handler(self) -> type[_Handler]:
        return _Handler

    def __enter__(self) -> HubStub:
        stub = self

        class Handler(self.handler):
            hub = stub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def wait_for(self, name: str) -> int:
        """Wait until a transfer of one file has ended; return the bytes it sent."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for served, _, sent in list(self.served):
                if served == name:
                    return sent
            time.sleep(0.01)
        raise TimeoutError(f"no transfer of {name} has ended")

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubStub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.status is not None:
            return self._refuse(self.hub.status, "")
        info = re.fullmatch(rf"/api/{self.hub.kind}/{self.hub.name}(?:/revision/([^/?]+))?(?:\?.*)?", self.path)
        file = re.fullmatch(rf"/{self.hub.place}/resolve/([^/]+)/(.+)", self.path)
        if info is None and file is None:
            return self._refuse(404, "RepoNotFound")
        revision = (info or file)[1]
        if revision not in (None, "main", SHA):
            return self._refuse(404, "RevisionNotFound")
        if info is not None:
            siblings = [{"rfilename": name} for name in self.hub.files]
            return self._answer(
                json.dumps({"id": self.hub.name, "sha": SHA, "siblings": siblings, "cardData": {"license": "mit"}}).encode()
            )
        if self.hub.gated:
            return self._refuse(403, "GatedRepo")
        if file[2] not in self.hub.files or file[2] in self.hub.absent:
            return self._refuse(404, "EntryNotFound")
        return self._send_file(file[2], self.hub.files[file[2]])

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _send_file(self, name: str, content: bytes) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        try:
            for position in range(start, len(content), 2**16):
                self.wfile.write(content[position : position + 2**16])
                sent += len(content[position : position + 2**16])
                if self.hub.chunk_seconds:
                    time.sleep(self.hub.chunk_seconds)
        except OSError:
            self.close_connection = True
        finally:
            self.hub.served.append((name, asked, sent))
