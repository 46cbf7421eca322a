"""The local executor: every task in a process of its own, as many at once as there are cores or devices.

A process that dies takes nothing with it but its task, which is tried once more. Whatever a task yields goes to the driver, and the task
goes on only once the driver has taken it: so a task may rely on what it reported before.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pfd_engine.errors import PFDError, is_disk_full

ATTEMPTS = 2
POLL_SECONDS = 0.5

Event = dict[str, Any]
Work = Callable[[Any], Iterator[list[Event]]]


@dataclass(frozen=True)
class Outcome:
    """The end of a task: `error` None where it succeeded, else one sentence, with the traceback in `details` where there is one.

    `fatal` errors would meet every other task too, such as a full disk.
    """

    error: str | None = None
    details: str | None = None
    fatal: bool = False


def available_processes() -> int:
    """Return how many tasks run at once on the CPU: `PFD_PROCESSES`, or the cores that this process may use."""
    asked = os.environ.get("PFD_PROCESSES", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(work: Work, tasks: Sequence[Any], processes: int) -> Generator[tuple[int, list[Event] | Outcome] | None]:
    """Run `work(task)` for every task; yields `(index, events)` as they come, `(index, outcome)` once each, and None where nothing comes.

    A task goes on when the caller asks for the next item. Closing the iterator ends all processes.
    """
    context = multiprocessing.get_context("spawn")
    queue = [(index, 1) for index in range(len(tasks))]
    active: dict[Connection, tuple[int, int, BaseProcess]] = {}
    try:
        while queue or active:
            while queue and len(active) < processes:
                index, attempt = queue.pop(0)
                ours, theirs = context.Pipe()
                process: BaseProcess = context.Process(target=_child, args=(theirs, work, tasks[index]), daemon=True)
                process.start()
                theirs.close()
                active[ours] = (index, attempt, process)
            ready = wait(list(active), timeout=POLL_SECONDS)
            if not ready:
                yield None
            for connection in ready:
                assert isinstance(connection, Connection)
                index, attempt, process = active[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    message = Outcome(f"its process ended unexpectedly (exit status {process.exitcode}), perhaps for lack of memory")
                if not isinstance(message, Outcome):
                    yield index, message
                    with suppress(OSError):  # it may have died meanwhile: its end is noticed at the next turn
                        connection.send(None)
                    continue
                del active[connection]
                connection.close()
                process.join()
                if message.error is not None and attempt < ATTEMPTS and not message.fatal:
                    queue.append((index, attempt + 1))
                    yield index, [{"type": "retry", "message": message.error}]
                else:
                    yield index, message
    finally:
        for connection, (_, _, process) in active.items():
            process.terminate()
            connection.close()
        for _, _, process in active.values():
            process.join(timeout=5)
            if process.is_alive():
                process.kill()


def _child(connection: Connection, work: Work, task: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    with suppress(EOFError, OSError):  # the driver is gone: its successor does this task again
        for message in attempt(work, task):
            connection.send(message)
            if not isinstance(message, Outcome):
                connection.recv()


def attempt(work: Work, task: Any) -> Iterator[list[Event] | Outcome]:
    """Run one task in this process: yields its events, and its outcome last."""
    try:
        yield from work(task)
        outcome = Outcome()
    except PFDError as error:
        outcome = Outcome(str(error))
    except MemoryError:
        outcome = Outcome("the memory is exhausted: lower the group size")
    except Exception as error:
        if is_disk_full(error):
            outcome = Outcome(
                "the disk is full: free space and choose Try again on the Runs page, where the sweep goes on from here", fatal=True
            )
        else:
            outcome = Outcome(f"unexpected error ({type(error).__name__})", traceback.format_exc())
    yield outcome


def _end_with_the_driver() -> None:
    """End this process as soon as the driver is gone, so that it never works beside its successor."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
