"""Numbers and times as a reader wants them: sensible digits, the uncertainty always beside them. Pure text, no widgets."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pfd_engine.config import EvaluateConfig
from pfd_engine.distill.ladders import NOISE_LEVELS
from pfd_engine.distill.objectives import OBJECTIVES


def digits_for(uncertainty: float | None, value: float) -> int:
    """Return the decimals that show two digits of the uncertainty (three of the value where there is none)."""
    scale = uncertainty if uncertainty and math.isfinite(uncertainty) else abs(value) / 100
    if not scale or not math.isfinite(scale):
        return 3
    return int(min(8, max(0, 1 - math.floor(math.log10(scale)))))


def number(value: float | None, uncertainty: float | None = None) -> str:
    """Write a number with the digits that its uncertainty leaves meaningful; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits_for(uncertainty, value)}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Write a 95 % interval, or nothing where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return "[{}, {}]".format(*_ends(low, high))


def spelled_interval(low: float | None, high: float | None) -> str:
    """Write a 95 % interval in two lines for below a number: `95 % interval`, `3.51 to 3.73`; nothing where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return "95 % interval\n{} to {}".format(*_ends(low, high))


def _ends(low: float, high: float) -> tuple[str, str]:
    digits = digits_for((high - low) / 4, high)
    return f"{low:,.{digits}f}".replace("-", "−"), f"{high:,.{digits}f}".replace("-", "−")


def count(number: int | str, noun: str) -> str:
    """Write a number of things: `1 step`, `2,048 steps`."""
    written = f"{number:,}" if isinstance(number, int) else number
    return f"{written} {noun}" if number == 1 else f"{written} {noun}s"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a value with its 95 % interval behind it: `3.62 [3.51, 3.73]`."""
    if value is None or low is None or high is None:
        return number(value)
    return f"{number(value, (high - low) / 4)} {interval(low, high)}".strip()


def duration(seconds: float | None) -> str:
    """Write seconds as a person would say them."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def ago(moment: float | None) -> str:
    """Write how long ago a unix time was."""
    if moment is None:
        return ""
    seconds = time.time() - moment
    return "just now" if seconds < 60 else f"{duration(seconds)} ago"


def size(count: int | None) -> str:
    """Write a number of bytes."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def parameters(count: int | None) -> str:
    """Write a number of parameters: `1.66 M`."""
    if count is None:
        return "–"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return str(count)


def short(reference: str, limit: int = 44) -> str:
    """Shorten a reference for a heading: the last two parts of a path, a commit sha to seven digits."""
    name, at, revision = reference.partition("@")
    if name.startswith((".", "/", "~")):
        name = "/".join([part for part in name.split("/") if part not in ("", ".", "..", "~")][-2:]) or name
    if at:
        name += "@" + (revision[:7] if len(revision) == 40 else revision)
    return name if len(name) <= limit else name[: limit - 1] + "…"


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
        parts.append(f"{solver}, {count(steps, 'step')}")
    if seed := values.get("seed"):
        parts.append(f"seeds from {seed}")
    if (descriptor := values.get("descriptor") or default["descriptor"]) != default["descriptor"]:
        parts.append(f"compared by {descriptor}")
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
    spread = f"N = {samples[0]} to {samples[-1]}" if len(samples) > 1 else f"N = {samples[0]}" if samples else ""
    parts = [
        count(len(sizes) * len(samples) * len(seeds), "student"),
        count(len(sizes), "size"),
        spread,
        count(steps, "training step") if isinstance(steps, int) else "",
    ]
    return " · ".join(part for part in parts if part)


def training(config: Mapping[str, Any]) -> str:
    """Say how the students of a sweep were trained: batches, learning rate and noise levels."""
    options = config.get("training") or {}
    family = str((config.get("sizes") or [""])[0]).partition("-")[0]
    mean, deviation = (
        usual if (given := options.get(name)) is None else given
        for name, usual in zip(("p_mean", "p_std"), NOISE_LEVELS.get(family, (None, None)), strict=True)
    )
    levels = f"ln σ ~ N({mean:g}, {deviation:g}²)" if isinstance(mean, (int, float)) and isinstance(deviation, (int, float)) else ""
    batch, rate = options.get("batch_size"), options.get("learning_rate")
    parts = [f"batches of {batch}" if batch else "", f"learning rate {rate:g}" if isinstance(rate, (int, float)) else "", levels]
    return ", ".join(part for part in parts if part)


def source(name: str) -> str:
    """Say where a row is from: nothing for one's own, `published` for the shipped results, else what it was pulled from."""
    return {"workspace": "", "published": "published"}.get(name, f"from {name}")


def short_revision(revision: str | None) -> str:
    """Shorten a commit sha or a content hash to seven digits."""
    return (revision or "").removeprefix("sha256:")[:7]


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


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in HTML that scrolls sideways where it is too wide; all escaped."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scrolled"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
