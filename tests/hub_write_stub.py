"""A stub of the Hub's documented endpoints for writing, as huggingface_hub 2.4 calls them: who am I, new repository, upload, commit."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.hub_stub import SHA, HubStub, _Handler


@dataclass
class HubWriteStub(HubStub):
    """A Hub with the one repository `name`, empty or missing at first, that the holder of `token` may write (unless `forbidden`).

    Whatever ends in `.safetensors` or `.parquet` goes the way of large files. `created` keeps what a new repository was asked to be,
    `commits` the lines of each commit; `bad_card` refuses every card; `failing` maps a part of a path to the status it answers with.
    """

    token: str = "hf_right"
    exists: bool = False
    forbidden: bool = False
    bad_card: bool = False
    failing: dict[str, int] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[list[dict[str, Any]]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)

    @property
    def handler(self) -> type[_WriteHandler]:
        return _WriteHandler


class _WriteHandler(_Handler):
    hub: HubWriteStub

    def do_GET(self) -> None:  # noqa: N802  the name is http.server's
        if self.path == "/api/whoami-v2":
            return self._say({"name": "acme", "type": "user"}) if self._known() else self._refuse(401, "")
        if not self.hub.exists:
            return self._refuse(404, "RepoNotFound")
        if self.path.startswith(f"/api/{self.hub.kind}/{self.hub.name}/tree/main?"):
            listed = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in self.hub.files.items()]
            return self._say(listed)
        return super().do_GET()

    def do_POST(self) -> None:  # noqa: N802  the name is http.server's
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for part, status in self.hub.failing.items():
            if part in self.path:
                return self._refuse(status, "")
        if not self._known():
            return self._refuse(401, "")
        if self.path == "/api/validate-yaml":
            errors = [{"message": "license is no license"}] if self.hub.bad_card else []
            return self._say({"errors": errors, "warnings": []}, 400 if errors else 200)
        if self.hub.forbidden:
            return self._refuse(403, "")
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        api = f"/api/{self.hub.kind}/{self.hub.name}"
        if path == f"{api}/preupload/main":
            return self._preupload(json.loads(body))
        if path == f"/{self.hub.place}.git/info/lfs/objects/batch":
            return self._batch(json.loads(body))
        if path == f"{api}/commit/main":
            return self._commit([json.loads(line) for line in body.splitlines()])
        return self._refuse(404, "RepoNotFound")

    def do_PUT(self) -> None:  # noqa: N802  the name is http.server's
        body = self.rfile.read(int(self.headers["Content-Length"]))
        oid = hashlib.sha256(body).hexdigest()
        if (status := self.hub.failing.get("/large/")) is not None:
            return self._refuse(status, "")
        if re.fullmatch(r"/large/[0-9a-f]{64}", self.path) is None or not self.path.endswith(oid):
            return self._refuse(400, "")
        self.hub.large[oid] = body
        return self._say({})

    def _known(self) -> bool:
        self.hub.tokens.append(self.headers.get("Authorization"))
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _say(self, answer: dict[str, Any] | list[dict[str, Any]], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _create(self, asked: dict[str, Any]) -> None:
        address = {"url": f"{self.hub.endpoint}/{self.hub.place}"}
        if self.hub.exists:
            return self._say(address, 409)
        assert f"{asked['organization']}/{asked['name']}" == self.hub.name
        assert f"{asked.get('type') or 'model'}s" == self.hub.kind
        self.hub.created.append(asked)
        self.hub.exists = True
        return self._say(address)

    def _preupload(self, asked: dict[str, Any]) -> None:
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": file["path"], "uploadMode": modes[file["path"].endswith((".safetensors", ".parquet"))], "shouldIgnore": False}
            for file in asked["files"]
        ]
        self._say({"files": files})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{wanted['oid']}"}}}
            for wanted in asked["objects"]
        ]  # fmt: skip
        self._say({"transfer": "basic", "objects": objects})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.hub.files[value["path"]]
            elif line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub.large[value["oid"]]
        self.hub.commits.append(lines)
        self._say({"commitUrl": f"{self.hub.endpoint}/{self.hub.place}/commit/{SHA}", "commitOid": SHA})
