"""The same-noise wall: small images of teacher and student from one noise, one above the other, as one block of HTML."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from pfd_engine.figures import COLORS

HEADINGS = {
    "nearest": "Closest pairs",
    "median": "Pairs around the median",
    "farthest": "Pairs farthest apart",
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELATED_BELOW = 128


@dataclass(frozen=True)
class Pair:
    """The end points of one noise as PNG bytes; `nearest` is the closest training image to the student's, where it is known."""

    seed: int
    group: str
    distance: float
    teacher: bytes
    student: bytes
    nearest: bytes | None = None


def wall(pairs: Iterable[Pair], groups: Iterable[str] = tuple(HEADINGS), headings: bool = True) -> str:
    """Return the wall as HTML, sorted by distance within each group. Images that are not PNG are left out."""
    by_group: dict[str, list[Pair]] = {group: [] for group in groups}
    for pair in pairs:
        if pair.group in by_group:
            by_group[pair.group].append(pair)
    everything = [pair for group in by_group.values() for pair in group]
    if not everything:
        return ""
    marks = {"Teacher": COLORS["teacher"], "Student, same noise": COLORS["student"]}
    if any(pair.nearest for pair in everything):
        marks["Nearest training image"] = COLORS["empirical map"]
    legend = "".join(f'<span style="--mark:{color}">{name}</span>' for name, color in marks.items())
    parts = [f'<div class="wall-legend">{legend}</div>']
    kind = "wall-group" if headings else "wall-group wall-strip"
    for group, members in by_group.items():
        if not members:
            continue
        digits = _decimals(max(pair.distance for pair in members))
        cells = "".join(_cell(pair, digits) for pair in sorted(members, key=lambda pair: pair.distance))
        heading = f"<h4>{HEADINGS[group]}</h4>" if headings else ""
        parts.append(f'<div class="{kind}">{heading}<div class="wall-row">{cells}</div></div>')
    return "".join(parts)


def pixels(png: bytes) -> int:
    """Return the width of a PNG from its header, 0 where it is none."""
    if png[:8] != PNG_SIGNATURE or len(png) < 24:
        return 0
    width: int = struct.unpack(">I", png[16:20])[0]
    return width


def _decimals(largest: float) -> int:
    """Return the decimals that show three digits of the largest distance of a row, which all of the row then share."""
    return min(8, max(0, 2 - math.floor(math.log10(largest)))) if 0 < largest < math.inf else 2


def _cell(pair: Pair, digits: int) -> str:
    images: Mapping[str, tuple[bytes | None, str]] = {
        f"teacher, seed {pair.seed}": (pair.teacher, COLORS["teacher"]),
        f"student, seed {pair.seed}": (pair.student, COLORS["student"]),
        "nearest training image": (pair.nearest, COLORS["empirical map"]),
    }
    drawn = "".join(_image(png, alt, color) for alt, (png, color) in images.items() if png)
    return f'<figure class="wall-cell">{drawn}<figcaption>{pair.distance:.{digits}f}</figcaption></figure>'


def _image(png: bytes, alt: str, color: str) -> str:
    width = pixels(png)
    if not width:
        return ""
    data = base64.b64encode(png).decode()
    kind = "small" if width < PIXELATED_BELOW else "large"
    return f'<img class="{kind}" alt="{escape(alt)}" style="--mark:{color}" src="data:image/png;base64,{data}">'
