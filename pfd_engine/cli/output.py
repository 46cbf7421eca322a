"""How the command line shows progress, a result and rows of measurements."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from pfd_engine.analysis.intervals import not_ruled_out

SHORT_PHASES = ("load", "download", "training set", "images", "bundle", "check", "upload")


class ProgressBar:
    """A bar on stderr, one for each phase of a run; short phases and those of unknown length show one only after a second."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._phase: str | None = None

    def show(self, event: dict[str, Any]) -> None:
        """Show a progress event on the bar and a warning above it; other events are not for the terminal."""
        if event["type"] == "warning":
            tqdm.write(f"warning: {event.get('message')}", file=sys.stderr)
        if event["type"] != "progress":
            return
        if event.get("phase") != self._phase:
            self._close()
            self._phase = event.get("phase")
        if self._bar is None:
            delay = 1.0 if self._phase in SHORT_PHASES or event.get("total") is None else 0.0
            unit = f" {event.get('unit') or 'steps'}"
            large = event.get("unit") in ("bytes", "B")
            self._bar = tqdm(
                desc=self._phase, total=event.get("total"), unit=unit, unit_scale=large, delay=delay, leave=False, file=sys.stderr
            )  # fmt: skip
        self._bar.total = event.get("total")
        self._bar.update(max(0, (event.get("done") or 0) - self._bar.n))

    def _close(self) -> None:
        if self._bar is not None:
            drawn = not self._bar.delay or self._bar.last_print_t > self._bar.start_t
            self._bar.close()
            self._bar = None
            if drawn and not sys.stderr.isatty():
                print(file=sys.stderr)  # in a log, what follows starts on a line of its own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()


def describe_sweep(result: dict[str, Any]) -> str:
    """Return the end of a sweep as a few lines for a terminal."""
    lines = [
        f"experiment     {result.get('experiment')} ({result.get('name')})",
        f"students       {result.get('students', 0):,} trained and measured",
        *(f"left out       group {group}: {reason}" for group, reason in (result.get("failed") or {}).items()),
        *(f"left out       {student}: its numbers were not finite" for student in result.get("diverged") or ()),
        f"teacher        {_model(result.get('teacher') or {})}",
        f"run            {result.get('run_id')}  ({result.get('seconds') or 0:,.0f} s)",
    ]
    return "\n".join(lines)


def describe_result(result: dict[str, Any]) -> str:
    """Return a result as a few lines for a terminal."""
    teacher, student, calls = result.get("teacher") or {}, result.get("student") or {}, result.get("network_calls") or {}
    seed, count = result.get("noise_seed") or 0, result.get("num_noises") or 0
    lines = [
        f"PFD            {_number(result.get('value'))}  (95 % interval {_interval(result)}, stderr {_number(result.get('stderr'))})",
        f"constant image {_number(result.get('spread'))}  (no constant image lies closer to the teacher)",
        f"shuffled       {_number(result.get('shuffled'))}  (both models' end points paired at random)",
        f"per coordinate {_number(result.get('rms_per_coordinate'))}  (root mean square)",
        f"solver error   {_solver_error(result)}",
    ]
    if memorization := result.get("memorization"):
        ratio = memorization.get("memorization_ratio")
        lines.append(f"E_mem          {_number(memorization.get('e_mem'))}  (95 % interval {_interval(memorization)})")
        if ratio is not None:
            lines.append(
                f"memorized      {ratio:.1%}  (of the student's images, against {memorization.get('num_samples')} training samples)"
            )
    if result.get("outside_range") == "teacher":
        lines.append("verdict        none: a diagnostic map, with the teacher outside the noise levels that the student's training covered")
    elif verdict := result.get("verdict"):
        lines.append(f"verdict        {verdict}: {result.get('verdict_reason')}")
    elif (below := result.get("below_spread")) is not None:
        than = "closer to the teacher than a constant image" if below else "not clearly closer to the teacher than a constant image"
        lines.append(f"verdict        none without a training set; the student is {than}")
    if floor := result.get("retrained_floor"):
        lines.insert(2, f"retrained      {_number(floor.get('value'))}  (a second teacher of another training seed)")
    if count >= 2:
        unseen = f"what these noises never showed happens for fewer than {100 * not_ruled_out(count):.2g} % of all noises"
        lines.append(f"not ruled out  {unseen} (95 % confidence)")
    student_steps = result.get("student_steps")
    lines += [
        f"teacher        {_model(teacher)}",
        f"student        {_model(student)}" + (f", {student_steps} steps of its own" if student_steps else ""),
        f"measured       {count:,} noises (seeds {seed} to {seed + count - 1}), {result.get('descriptor')} descriptor",
        f"solver         {result.get('solver')} with {result.get('steps')} steps, sigma {_number(result.get('sigma_max'))} "
        f"to {_number(result.get('sigma_min'))}",
        f"cost           {calls.get('teacher')} + {calls.get('student')} network calls per noise, {_number(result.get('seconds'))} s",
        f"run            {result.get('run_id')}",
    ]
    if result.get("coupling_note"):
        lines.append(f"note           {result['coupling_note']}")
    return "\n".join(lines)


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print measurements as a table of the columns that say most; the other forms have all columns."""
    if not rows:
        print("no measurements yet: run `python -m pfd_engine evaluate`, or relax the filters")
        return
    header = ("run", "metric", "value", "95 % interval", "noises", "teacher", "student", "source")
    lines = [header]
    for row in rows:
        metric = row["metric"] + (f" [{row['band']}]" if row["band"] else "")
        metric += " (diagnostic map)" if row.get("outside_range") == "teacher" else ""
        numbers = (_number(row["value"]), _interval(row), f"{row['num_noises'] or 0:,}")
        lines.append((row["run_id"], metric, *numbers, row["teacher"], row["student"], row["source"]))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as CSV with a header, NULL as nothing."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _solver_error(result: dict[str, Any]) -> str:
    """Write the solver's part of the distance, and how it was found."""
    error = result.get("solver_error")
    if error is None:
        return "-"
    if result.get("solver_error_extrapolated"):
        return f"{_number(error)}  (the distance minus its limit for many steps)"
    return f"at most about {_number(error)}  (the largest change with two and four times the steps)"


def _interval(row: dict[str, Any]) -> str:
    if row.get("ci_low") is None or row.get("ci_high") is None:
        return "-"
    return f"{_number(row['ci_low'])} to {_number(row['ci_high'])}"


def _model(model: dict[str, Any]) -> str:
    parameters = model.get("parameters")
    size = f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    return f"{model.get('reference')} at {str(model.get('revision'))[:19]} ({model.get('family')}{size})"
