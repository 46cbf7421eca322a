"""What pages say in words and HTML: those of the engine, and escaped tables, cards and titles. Pure text, no widgets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.wording.numbers import (
    count,
    digits_for,
    duration,
    interval,
    number,
    parameters,
    short,
    short_revision,
    size,
    source,
    spelled_interval,
    student,
    training,
    unit,
    with_interval,
)

__all__ = [
    "ago",
    "count",
    "digits_for",
    "duration",
    "facts",
    "interval",
    "markdown",
    "number",
    "numbers",
    "parameters",
    "run_title",
    "settings",
    "short",
    "short_revision",
    "size",
    "source",
    "spelled_interval",
    "student",
    "table",
    "training",
    "unit",
    "with_interval",
]


def ago(moment: float | None) -> str:
    """Write how long ago a unix time was."""
    if moment is None:
        return ""
    seconds = time.time() - moment
    return "just now" if seconds < 60 else f"{duration(seconds)} ago"


def markdown(text: str) -> str:
    """Escape text so that Markdown shows it as it stands: no links, images, emphasis, colors, formulas or emoji codes."""
    return "".join("\\" + character if character in r"\`*_{}[]()#+-.!|<>~:$&^=" else character for character in text)


def run_title(values: Mapping[str, Any]) -> str:
    """Name a run by its configuration as it lies on disk, as Markdown: what is compared, or what is distilled from what."""
    teacher = markdown(short(str(values.get("teacher", "?"))))
    if values.get("kind") == "distill":
        return f"**{markdown(str(values.get('size', '?')))}**, {markdown(str(values.get('objective', 'samples')))}, from **{teacher}**"
    if values.get("kind") == "sweep":
        return f"**{markdown(str(values.get('name', '?')))}**, {markdown(str(values.get('experiment', '?')))}, from **{teacher}**"
    return f"**{markdown(short(str(values.get('student', '?'))))}** against **{teacher}**"


def settings(values: Mapping[str, Any]) -> str:
    """Name what differs from the defaults among the settings that tell two runs of one kind and title apart; empty where nothing does."""
    if values.get("kind") == "distill":
        return _distill_settings(values)
    if values.get("kind") == "sweep":
        return _sweep_settings(values)
    default = {name: field.default for name, field in EvaluateConfig.model_fields.items()}
    solver, steps = values.get("solver") or default["solver"], values.get("steps") or default["steps"]
    parts = []
    if own := values.get("student_steps"):
        parts.append(f"student takes {count(own, 'step')}")
    if (solver, steps) != (default["solver"], default["steps"]):
        parts.append(f"{solver}, {'steps chosen automatically' if steps == 'auto' else count(steps, 'step')}")
    if seed := values.get("seed"):
        parts.append(f"seeds from {seed}")
    if (descriptor := values.get("descriptor") or default["descriptor"]) != default["descriptor"]:
        parts.append(f"compared by {descriptor}")
    if values.get("outside_range") == "teacher":
        parts.append("diagnostic map")
    return " · ".join(parts)


def _distill_settings(values: Mapping[str, Any]) -> str:
    preset = OBJECTIVES.get(str(values.get("objective", "samples")))
    samples, steps = (values.get(name) or (preset and getattr(preset, name)) for name in ("num_samples", "steps"))
    parts = [f"N = {samples:,}" if isinstance(samples, int) else "", count(steps, "training step") if isinstance(steps, int) else ""]
    if own := values.get("student_steps"):
        parts.append(f"student takes {count(own, 'step')}")
    if seed := values.get("seed"):
        parts.append(f"seed {seed}")
    return " · ".join(part for part in parts if part)


def _sweep_settings(values: Mapping[str, Any]) -> str:
    lists = [found if isinstance(found := values.get(name), (list, tuple)) else [] for name in ("sizes", "num_samples", "seeds")]
    sizes, samples, seeds = lists
    steps = values.get("steps")
    ends = [f"{end:,}" if isinstance(end, int) else str(end) for end in samples[:: max(1, len(samples) - 1)]]
    spread = f"N = {' to '.join(ends)}" if ends else ""
    parts = [
        count(len(sizes) * len(samples) * len(seeds), "student"),
        count(len(sizes), "size"),
        spread,
        count(steps, "training step") if isinstance(steps, int) else "",
    ]
    return " · ".join(part for part in parts if part)


def facts(pairs: list[tuple[str, str]]) -> str:
    """Return a definition list in HTML; names and values are escaped."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>'


def numbers(items: list[tuple[str, str, str]]) -> str:
    """Return cards in HTML, one a number: its name, the number, and what stands below it (lines); all escaped."""
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note).replace(chr(10), '<br>') or '&nbsp;'}</small></dd></div>"
        for name, value, note in items
    )
    return f'<dl class="numbers">{cards}</dl>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, prose: bool = False) -> str:
    """Return a table in HTML that scrolls sideways where it is too wide; all escaped. `prose`: its last column is text that wraps."""
    columns = list(zip(*rows, strict=True)) or [()] * len(headings)
    marks = [' class="text"' if _is_text(column) else "" for column in columns]
    head = "".join(
        f'<th scope="col"{mark}>{escape(heading)}</th>' if heading else "<td></td>" for heading, mark in zip(headings, marks, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>" for row in rows
    )
    kind = "plain prose" if prose else "plain"
    label = f"Table of {', '.join(filter(None, headings))}"
    return scrolled(f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>', label)


def _is_text(column: Sequence[str]) -> bool:
    """Whether a column of a table holds words alone, which stand on the left; numbers stand on the right."""
    return any(cell not in ("", "–") for cell in column) and not any(character.isdigit() for cell in column for character in cell)


def scrolled(table: str, label: str) -> str:
    """Return a table in HTML within a region that scrolls sideways, by keyboard too; `label` tells it from others on its page."""
    return f'<div class="scrolled" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'
