"""The kinds of runs: what configures each and what executes it. A new kind is one row here, a configuration and an executing module.

The executing module, imported when a run starts and not before, offers `prepare(config, workspace, report) -> job`, which raises
InputError for what cannot start; `job.run(run_id, should_stop)` yields events, of which the last is the result. A run that was
killed is prepared and run again from the beginning: what it keeps in its own folder lets it go on where it was.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pfd_engine.configs.base import RunConfig
from pfd_engine.configs.distill import DistillConfig
from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.errors import InputError
from pfd_engine.workspace import Workspace

Event = dict[str, Any]


class Job(Protocol):
    """A run that can start."""

    def run(self, run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]: ...


@dataclass(frozen=True)
class RunKind:
    """One row of the table: the class of the configuration, and the module that executes it."""

    config: type[RunConfig]
    executor: str


KINDS: dict[str, RunKind] = {
    "evaluate": RunKind(EvaluateConfig, "pfd_engine.evaluation.prepare"),
    "distill": RunKind(DistillConfig, "pfd_engine.distill.run"),
    "sweep": RunKind(SweepConfig, "pfd_engine.sweeps.run"),
}


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Build the configuration of a run's kind from untrusted values; raises InputError."""
    kind = values.get("kind", "evaluate")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"kind is {str(kind)[:40]!r}: this version knows {', '.join(KINDS)}", "kind")
    return KINDS[kind].config.parse(values)


def prepare(config: RunConfig, workspace: Workspace, report: Callable[[Event], None]) -> Job:
    """Load and check everything that the run needs; raises InputError. This imports torch."""
    module = importlib.import_module(KINDS[config.kind].executor)
    return cast(Job, module.prepare(config, workspace, report))
