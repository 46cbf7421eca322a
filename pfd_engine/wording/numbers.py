"""Numbers, names and times as a reader wants them: sensible digits, the uncertainty always beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pfd_engine.models.networks.sizes import NOISE_LEVELS


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


def upper_bound(value: float) -> str:
    """Write an upper bound above 0 to two digits, rounded up so that it stays one."""
    digits = 1 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:,.{max(digits, 0)}f}"


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


def unit(descriptor: object) -> str:
    """Return the unit of distances: that of the data for pixels, else the descriptor's."""
    return "data units" if descriptor in (None, "pixel") else f"{descriptor} units"


def student(name: str) -> str:
    """Write a sweep's name of a student, `mlp-32 N=4096 seed 0`, as N is written everywhere: `mlp-32 N = 4,096 seed 0`."""
    return re.sub(r"\bN=(\d{1,12})\b", lambda found: f"N = {int(found[1]):,}", name)


def short(reference: str, limit: int = 44) -> str:
    """Shorten a reference for a heading: the last two parts of a path, a commit sha to seven digits."""
    name, at, revision = reference.partition("@")
    if name.startswith((".", "/", "~")):
        name = "/".join([part for part in name.split("/") if part not in ("", ".", "..", "~")][-2:]) or name
    if at:
        name += "@" + (revision[:7] if len(revision) == 40 else revision)
    return name if len(name) <= limit else name[: limit - 1] + "…"


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


def short_revision(revision: str | None) -> str:
    """Shorten a commit sha or a content hash to seven digits."""
    return (revision or "").removeprefix("sha256:")[:7]


def source(name: str) -> str:
    """Say where a row is from: nothing for one's own, `published` for the shipped results, else what it was pulled from."""
    return {"workspace": "", "published": "published"}.get(name, f"from {name}")
