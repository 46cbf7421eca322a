"""Scripted visitors: they speak Streamlit's WebSocket protocol with a server, without a browser, so that many fit on one machine."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

TIMEOUT = 60.0


@dataclass
class Visits:
    """What visitors saw: seconds of each page load, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def load(socket: ClientConnection, path: str, seen: Visits) -> None:
    """Open a page (`scaling?size=mlp-64`; empty: the first page) in a session, as a click on its link does, and wait until it is drawn."""
    page, _, query = path.partition("?")
    message = BackMsg()
    message.rerun_script.page_name = page
    message.rerun_script.query_string = query
    start = time.perf_counter()
    await socket.send(message.SerializeToString())
    async with asyncio.timeout(TIMEOUT):
        while True:
            answer = ForwardMsg.FromString(await socket.recv())  # type: ignore[arg-type]
            if trouble := problem(answer):
                seen.errors.append(f"{path}: {trouble}")
            if answer.WhichOneof("type") == "script_finished":
                if answer.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                    seen.errors.append(f"{path}: the script ended with {answer.script_finished}")
                seen.seconds.append(time.perf_counter() - start)
                return


def problem(answer: ForwardMsg) -> str:
    """Return what is wrong with a message; empty where it is sound."""
    kind = answer.WhichOneof("type")
    if kind == "page_not_found":
        return "there is no such page"
    if kind == "session_event" and answer.session_event.WhichOneof("type") == "script_compilation_exception":
        return "the page does not compile"
    element = answer.delta.new_element if kind == "delta" else None
    if element is None:
        return ""
    if element.WhichOneof("type") == "exception":
        return element.exception.message
    if element.WhichOneof("type") == "alert" and "could not be drawn" in element.alert.body:
        return element.alert.body
    return ""


def open_session(address: str) -> connect:
    """Return a connection to a server, as a context manager."""
    url = address.replace("http://", "ws://") + "/_stcore/stream"
    return connect(url, subprotocols=[Subprotocol("streamlit")], max_size=2**28)


async def crowd(address: str, paths: list[str], visitors: int, pages: int, every: float) -> Visits:
    """Let `visitors` come at once; each opens `pages` pages, one `every` so many seconds, starting at different ones of `paths`."""
    seen = Visits()

    async def visitor(number: int) -> None:
        await asyncio.sleep(every * number / visitors)
        try:
            async with open_session(address) as socket:
                for visit in range(pages):
                    start = time.perf_counter()
                    await load(socket, paths[(number + visit) % len(paths)], seen)
                    await asyncio.sleep(max(0.0, every - (time.perf_counter() - start)))
        except Exception as error:  # what breaks a session is a result, not the end of the measurement
            seen.errors.append(f"{type(error).__name__}: {error}")

    await asyncio.gather(*(visitor(number) for number in range(visitors)))
    return seen


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int, peak: bool = False) -> float:
    """Return the resident memory of a process, or the most that it ever had, in MiB."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
