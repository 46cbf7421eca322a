"""A browser tab without a browser: one WebSocket session of a running app, spoken to as its own front end does."""

from __future__ import annotations

import re
import urllib.request
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

XSRF = "_streamlit_xsrf"


class Session:
    """A session of the app at `address`; `open` runs a page and returns what the server sent, `xsrf` is its token for requests."""

    def __init__(self, address: str, timeout: float = 60.0) -> None:
        self.address, self._timeout = address, timeout
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=10) as answer:
            cookies = "; ".join(answer.headers.get_all("Set-Cookie") or [])
        found = re.search(rf"{XSRF}=([^;]+)", cookies)
        self.xsrf = found[1] if found else ""
        self.id = ""
        self._connection = connect(
            f"ws://{urlsplit(address).netloc}/_stcore/stream", subprotocols=["streamlit", self.xsrf or "none"], origin=address,
            additional_headers={"Cookie": f"{XSRF}={self.xsrf}"}, max_size=None, proxy=None,
        )  # fmt: skip
        self._socket = self._connection.__enter__()

    def open(self, page: str, query: str = "", widgets: dict[str, bool] | None = None) -> list[ForwardMsg]:
        """Run a page (empty: Home) with a query string; `widgets` are buttons to press, by the ids that the server gave them."""
        ask = BackMsg()
        ask.rerun_script.query_string = query
        ask.rerun_script.page_name = page
        for widget, pressed in (widgets or {}).items():
            state = ask.rerun_script.widget_states.widgets.add()
            state.id, state.trigger_value = widget, pressed
        self._socket.send(ask.SerializeToString())
        messages = []
        while True:
            message = ForwardMsg()
            message.ParseFromString(self._socket.recv(self._timeout))
            messages.append(message)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.id = message.new_session.initialize.session_id
            if kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return messages

    def close(self) -> None:
        self._connection.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def texts(messages: list[ForwardMsg]) -> str:
    """Return everything that messages say, as one text to look into."""
    return "\n".join(str(message.delta.new_element) for message in messages if message.WhichOneof("type") == "delta")
