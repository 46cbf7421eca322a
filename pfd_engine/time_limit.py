"""Work on behalf of a page that may not keep its visitor waiting: what takes too long is answered with one sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pfd_engine.errors import InputError

LOOK_UP_SECONDS = 30.0
AT_ONCE = 8

Found = TypeVar("Found")
_free = threading.BoundedSemaphore(AT_ONCE)


def look_up(what: str, work: Callable[[], Found], seconds: float | None = None) -> Found:
    """Return what `work()` returns, or raise what it raises; raises InputError that names `what` after so many seconds.

    `seconds` None is `LOOK_UP_SECONDS`.
    The work that took too long goes on in its thread, which holds up neither the page nor the end of the process; no more than
    `AT_ONCE` such threads exist at a time, and who finds none free waits within the same time limit.
    """
    seconds = LOOK_UP_SECONDS if seconds is None else seconds
    refusal = InputError(f"looking {what} up took longer than {seconds:g} seconds: try again later, or name another")
    if not _free.acquire(timeout=seconds):
        raise refusal
    outcome: Future[Found] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            _free.release()

    threading.Thread(target=run, name="look-up", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise
        raise refusal from None
