"""The compare wall as rows of images over columns of noises: as HTML for the page, and as one PNG with a caption."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from pages.reads.images import LONGEST_NAME, Column, Grid, Kept, Subject
from pages.widgets import html as words
from pfd_engine.figures import COLORS
from pfd_engine.walls.picture import Pixels, Row, difference, encode, picture, scaled

PAGE_BYTES = 8 * 2**20
SIZES = (64, 96, 128, 192, 256, 512)
GAINS = (1, 2, 4, 8)
EXTRAS = {"empirical": "Empirical map", "nearest": "Nearest training image"}


@dataclass(frozen=True)
class View:
    """How a wall is drawn: the rows beside teacher and student, a cell's side in pixels, and the difference view with its gain."""

    extras: tuple[str, ...] = tuple(EXTRAS)
    side: int = 96
    differences: bool = False
    gain: int = 1

    @property
    def meaning(self) -> str:
        """What the difference view shows, in words; empty for the plain one."""
        if not self.differences:
            return ""
        reach = f"{2 / self.gain:g}" + (" or more" if self.gain > 1 else "")
        return f"|student − teacher| of each pixel: black is 0, white {reach} (pixels lie in [−1, 1])"


def rows_of(grid: Grid, view: View) -> list[Row]:
    """Return the rows of a wall: the teacher, and of each student its images and those that explain them, with distances below."""
    digits = _decimals([d for column in grid.columns for d in column.distances if d is not None])
    teacher = words.short(grid.subjects[0].teacher[0])[:LONGEST_NAME]
    rows = [Row(f"Teacher: {teacher}", COLORS["teacher"], [c.teacher for c in grid.columns], [""] * len(grid.columns))]
    for index, subject in enumerate(grid.subjects):
        kept = [column.kept[index] for column in grid.columns]
        images = [_of_student(images, view) for images in kept]
        below = [_number(column.distances[index], digits) for column in grid.columns]
        name = f"|{subject.label} − teacher|" if view.differences else f"Student: {subject.label}"
        rows.append(Row(name, COLORS["student"], images, below))
        if "empirical" in view.extras and any(k is not None and k.empirical is not None for k in kept):
            found = [_number(subject.to_empirical.get(column.seed), digits) for column in grid.columns]
            images = [None if k is None else k.empirical for k in kept]
            rows.append(Row("Its empirical map", COLORS["empirical map"], images, found))
        if "nearest" in view.extras and any(k is not None and k.nearest is not None for k in kept):
            found = [_number(None if k is None else k.to_nearest, digits) for k in kept]
            images = [None if k is None else k.nearest for k in kept]
            rows.append(Row("Its nearest training image", COLORS["empirical map"], images, found))
    return rows


def fitting(grid: Grid, columns: Sequence[Column], view: View) -> Grid:
    """Return a grid with as many of the columns as a page can carry."""
    for count in (len(columns), 48, 32, 24, 16, 12, 8, 4, 2, 1):
        smaller = Grid(grid.subjects, tuple(columns[:count]))
        if count <= len(columns) and _weight(smaller, view) <= PAGE_BYTES:
            break
    return smaller


def html(grid: Grid, view: View) -> str:
    """Return the wall as a table in HTML, which scrolls sideways; all names are escaped."""
    head = "".join(f'<th scope="col">{column.seed}</th>' for column in grid.columns)
    body, student = [], ""
    for row in rows_of(grid, view):
        student = row.label if row.color == COLORS["student"] else student
        label = f"{row.label} ({student})" if row.label.startswith("Its ") else row.label
        cells = "".join(
            f"<td>{_image(pixels, f'{label}, noise {column.seed}', row.color, view.side)}{escape(below) or '&nbsp;'}</td>"
            for column, pixels, below in zip(grid.columns, row.images, row.below, strict=True)
        )
        body.append(f'<tr><th scope="row" style="--mark:{row.color}">{escape(row.label)}</th>{cells}</tr>')
    return (
        f'<div class="scrolled" tabindex="0" role="region" aria-label="Images"><table class="compare" style="--side:{view.side}px">'
        f'<thead><tr><th scope="col">Noise seed</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def png(grid: Grid, view: View, sorted_by: str) -> bytes:
    """Return the wall as PNG with its caption."""
    return picture(rows_of(grid, view), [str(column.seed) for column in grid.columns], caption(grid, view, sorted_by), view.side)


def caption(grid: Grid, view: View, sorted_by: str) -> str:
    """Name what the wall shows: models with revisions, noises, metric, order."""
    facts = grid.subjects[0].facts
    descriptor = str(facts.get("descriptor") or "pixel")
    unit = words.unit(descriptor)
    solver, steps = facts.get("solver"), facts.get("solver_steps")
    numbers = "Below a student: its distance to the teacher from the same noise"
    rows = rows_of(grid, view)
    if any(row.label.startswith("Its empirical") for row in rows):
        numbers += "; below the empirical map: the student's distance to it"
    nearest = any(row.label.startswith("Its nearest") for row in rows)
    parts = [
        f"Teacher {_named(grid.subjects[0].teacher)}.",
        *(f"Student {_subject(subject)}." for subject in grid.subjects),
        f"Noise seeds {', '.join(str(column.seed) for column in grid.columns)}; order: {sorted_by[:1].lower()}{sorted_by[1:]}.",
        f"{numbers} ({descriptor} descriptor, {unit}"
        + (f"; {solver}, {words.count(int(steps), 'step')}" if solver and steps else "")
        + ").",
        "Below the nearest training image: its distance to the student's image, in data units, from the 8-bit images." if nearest else "",
        f"{view.meaning}." if view.meaning else "",
        "Gray: no image was kept." if any(image is None for row in rows for image in row.images) else "",
    ]
    return " ".join(part for part in parts if part)


def _of_student(kept: Kept | None, view: View) -> Pixels | None:
    if kept is None:
        return None
    return difference(kept.student, kept.teacher, view.gain) if view.differences else kept.student


def _subject(subject: Subject) -> str:
    samples = subject.facts.get("num_samples")
    name = str(subject.facts.get("student") or subject.label)
    revision = str(subject.facts.get("student_revision") or "")
    trained = f", N = {int(samples):,} training samples" if samples else ""
    return f"{_named((words.short(name), revision))}{trained}, run {subject.run_id}"


def _named(model: tuple[str, str]) -> str:
    revision = words.short_revision(model[1])
    return words.short(model[0])[:LONGEST_NAME] + (f" (revision {revision})" if revision else "")


def _weight(grid: Grid, view: View) -> int:
    """Return about how many bytes of PNG a wall takes: a byte a value drawn, as noise would."""
    side = view.side

    def size(pixels: Pixels) -> int:
        shrunken = min(1.0, side / max(pixels.shape[:2])) ** 2
        return 160 + int(pixels.size * shrunken)

    return sum(size(pixels) for row in rows_of(grid, view) for pixels in row.images if pixels is not None)


def _image(pixels: Pixels | None, alt: str, color: str, side: int) -> str:
    if pixels is None:
        return f'<div class="none" style="--mark:{color}" role="img" aria-label="{escape(alt)}: no image was kept"></div>'
    large = max(pixels.shape[:2]) > side
    shown = np.asarray(scaled(pixels, side)) if large else pixels
    data = base64.b64encode(encode(shown)).decode()
    return f'<img alt="{escape(alt)}" style="--mark:{color}" src="data:image/png;base64,{data}">'


def _decimals(distances: Sequence[float]) -> int:
    """Return the decimals that show three digits of the largest distance, which all of the wall then share."""
    largest = max(distances, default=0.0)
    return min(8, max(0, 2 - math.floor(math.log10(largest)))) if 0 < largest < math.inf else 2


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
