"""The `sweep` command: its options, the cost that it states before it starts, and the list of students that `--dry-run` prints."""

from __future__ import annotations

import argparse
import sys

from pfd_engine.experiments.spec import SweepConfig


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sweep`."""
    parser.add_argument("spec", metavar="SPEC", help="scaling, training-dynamics, bias-variance, ..., or a path that ends in .toml")
    parser.add_argument("--dry-run", action="store_true", help="print the cost and the students, and start nothing")
    parser.add_argument("--queue", action="store_true", help="leave the run to the worker instead of executing it now")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def print_cost(config: SweepConfig) -> None:
    """Say on stderr what a sweep will cost; raises InputError for what its teacher's files already rule out. No torch is imported."""
    from pfd_engine.experiments.cost import describe, look_up

    print(describe(look_up(config)), file=sys.stderr, flush=True)


def print_students(config: SweepConfig) -> None:
    """Print the students of a sweep, a line each, in the order in which they are trained."""
    from pfd_engine.experiments.cost import look_up

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
