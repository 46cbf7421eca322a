"""Tasks for `test_executor`: what a process of the executor may meet. No torch, so that processes start at once."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfd_engine.errors import InputError


@dataclass(frozen=True)
class Job:
    """`count` events, then what `end` names; `marks` is a folder in which attempts leave a file each."""

    name: str
    end: str = "well"
    count: int = 3
    marks: Path | None = None


def work(job: Job) -> Iterator[list[dict[str, Any]]]:
    attempt = 1
    if job.marks is not None:
        attempt = 1 + len(list(job.marks.glob(f"{job.name}-*")))
        (job.marks / f"{job.name}-{os.getpid()}").touch()
    for number in range(job.count):
        yield [{"type": "row", "job": job.name, "number": number, "pid": os.getpid(), "attempt": attempt}]
    if job.end == "dies" or (job.end == "dies once" and attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.end == "sentence":
        raise InputError("the teacher is gone: name another")
    if job.end == "surprise":
        raise ZeroDivisionError("a detail for the log")
    if job.end == "memory":
        raise MemoryError
    if job.end == "full disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    while job.end == "never":
        time.sleep(0.05)
