"""The `sweep` command: its options, the cost that it states before it starts, and the list of students that `--dry-run` prints."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.errors import PFDError
from pfd_engine.workspace import Workspace

if TYPE_CHECKING:
    from pfd_engine.runs.folder import Run

PAGES = {"scaling": "scaling", "training-dynamics": "dynamics", "bias-variance": "bias_variance"}


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sweep`."""
    parser.add_argument("spec", metavar="SPEC", help="scaling, training-dynamics, bias-variance, ..., or a path that ends in .toml")
    parser.add_argument("--dry-run", action="store_true", help="print the cost and the students, and start nothing")
    parser.add_argument("--queue", action="store_true", help="leave the run to the worker instead of executing it now")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def print_cost(config: SweepConfig) -> None:
    """Say on stderr what a sweep will cost; raises InputError for what its teacher's files already rule out. No torch is imported."""
    from pfd_engine.planning.sweep import describe, look_up

    print(describe(look_up(config)), file=sys.stderr, flush=True)


def print_students(config: SweepConfig) -> None:
    """Print the students of a sweep, a line each, in the order in which they are trained."""
    from pfd_engine.planning.sweep import look_up

    parameters = look_up(config).parameters
    lines: list[tuple[str, ...]] = [("group", "size", "parameters", "N", "seed", "first noise", "last noise")]
    for group in config.groups():
        for student in group.students:
            seeds = student.samples
            numbers = (parameters[student.size], student.num_samples, student.seed, seeds.start, seeds.stop - 1)
            lines.append((group.id, student.size, *map(str, numbers)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print(
            "  ".join(cell.rjust(width) if i > 1 else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        )


def describe_sweep_run(result: dict[str, Any]) -> str:
    """Return the end of a sweep as a few lines for a terminal, with what its data show and the page of the dashboard that shows it."""
    from pfd_engine.cli.output import describe_sweep
    from pfd_engine.findings.sweeps import finding_sentence
    from pfd_engine.store.database import read_results

    lines, experiment, run_id = [describe_sweep(result)], str(result.get("experiment")), str(result.get("run_id"))
    try:
        with read_results(Workspace.from_environment()) as store:
            lines.append(f"finding        {finding_sentence(store, run_id, experiment)}")
    except (PFDError, OSError) as error:  # the sweep is done all the same
        print(f"warning: the results cannot be read now ({error})", file=sys.stderr)
    lines.append(f"see            /{PAGES[experiment]}?run={run_id} in the dashboard (make run)")
    return "\n".join(lines)


def what_was_kept(run: Run) -> str:
    """Say in one sentence what an interrupted sweep keeps, and how to go on with it."""
    from pfd_engine.sweeps.run import DONE

    config = run.config
    assert isinstance(config, SweepConfig)
    ended = {event.get("group") for event in run.events(DONE)}
    done = sum(len(group.students) for group in config.groups() if group.id in ended)
    return (
        f"cancelled: {done:,} of {config.num_students:,} students are finished and kept in run {run.id}, others from their last "
        "checkpoint: Try again on the Runs page goes on from there, while the same command starts a new sweep"
    )
