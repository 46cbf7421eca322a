"""What the compare wall shows: students with their kept images, columns of noises, and the orders of the columns. No widgets."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import streamlit as st

from pages.reads.store import the_store
from pages.widgets import html as words
from pfd_engine.errors import InputError
from pfd_engine.store.pulled import PULLED
from pfd_engine.store.queries import images as wall_queries
from pfd_engine.store.queries import runs as store_queries
from pfd_engine.walls.picture import Pixels, decode, distance

MOST_COLUMNS, LONGEST_NAME = 64, 200
SORTS = {
    "distance": "Distance, smallest first",
    "farthest": "Distance, largest first",
    "memorization": "Memorization, most first",
    "disagreement": "Disagreement, most first",
    "seed": "Noise seed",
}
OF_SEVERAL = "the mean of the students' distances to the teacher"
ORDERS = {
    "distance": OF_SEVERAL,
    "farthest": OF_SEVERAL,
    "memorization": "the distance of a student's image to its nearest training image over that to the teacher's image, the smallest of the "
    "students, from the 8-bit images",
    "disagreement": "the largest distance between two students' images, from the 8-bit images",
}


@dataclass(frozen=True, eq=False)
class Kept:
    """The images that were kept of one noise, decoded; `nearest` is the training image nearest to the student's."""

    teacher: Pixels
    student: Pixels
    nearest: Pixels | None = None
    empirical: Pixels | None = None

    @cached_property
    def to_nearest(self) -> float | None:
        """The student's distance to its nearest training image, from the 8-bit images."""
        return None if self.nearest is None else distance(self.student, self.nearest)

    @property
    def memorization(self) -> float | None:
        """The student's distance to its nearest training image over that to the teacher's image: the smaller, the more of a copy."""
        to_teacher = distance(self.student, self.teacher)
        return None if self.to_nearest is None or not to_teacher else self.to_nearest / to_teacher


@dataclass(frozen=True, eq=False)
class Subject:
    """One student on the wall: what names it, and its noises; distances by seed are measured ones, in the descriptor's units."""

    item: str
    run_id: str
    label: str
    facts: Mapping[str, Any]
    kept: Mapping[int, Kept]
    to_teacher: Mapping[int, float] = field(default_factory=dict)
    to_empirical: Mapping[int, float] = field(default_factory=dict)

    @property
    def teacher(self) -> tuple[str, str]:
        """The teacher and its revision: students of one teacher share columns."""
        return str(self.facts.get("teacher") or "?"), str(self.facts.get("teacher_revision") or "")


@dataclass(frozen=True, eq=False)
class Column:
    """One noise: the teacher's image, and what each student kept of it (None: nothing)."""

    seed: int
    teacher: Pixels
    kept: tuple[Kept | None, ...]
    distances: tuple[float | None, ...]

    def has(self, extras: Collection[str]) -> bool:
        """Whether all students kept their images of this noise, and those of the further rows (`empirical`, `nearest`)."""
        return all(kept is not None and all(getattr(kept, name) is not None for name in extras) for kept in self.kept)

    @property
    def mean_distance(self) -> float | None:
        """The mean of the students' distances to the teacher."""
        known = [value for value in self.distances if value is not None]
        return sum(known) / len(known) if known else None

    @property
    def disagreement(self) -> float | None:
        """The largest distance between two students' images; None where fewer than two were kept."""
        images = [kept.student for kept in self.kept if kept is not None]
        apart = [distance(a, b) for i, a in enumerate(images) for b in images[:i]]
        return max((value for value in apart if value is not None), default=None)

    @property
    def memorization(self) -> float | None:
        """The smallest of the students' ratios of `Kept.memorization`."""
        ratios = [kept.memorization for kept in self.kept if kept is not None]
        return min((ratio for ratio in ratios if ratio is not None), default=None)


@dataclass(frozen=True, eq=False)
class Grid:
    """Students of one teacher over shared columns."""

    subjects: tuple[Subject, ...]
    columns: tuple[Column, ...]

    @property
    def gaps(self) -> int:
        """How many images of students are missing."""
        return sum(kept is None for column in self.columns for kept in column.kept)


def label_of(row: Mapping[str, Any]) -> str:
    """Return what a row of `wall_queries.students_with_images` is called in the list of students."""
    name = f"{short_label(row)} · {row['name'] or 'sweep'}" if row["student"] is not None else short_label(row)
    parts = (name, row["run_id"].rsplit("-", 1)[-1], words.source(row["source"]) if is_pulled(row) else "")
    return " · ".join(part for part in parts if part)


def is_pulled(row: Mapping[str, Any]) -> bool:
    """Whether a row came from others."""
    return str(row["source"]).startswith(PULLED)


def short_label(row: Mapping[str, Any]) -> str:
    """Return what a student is called beside its row of images."""
    made = " ".join(str(part) for part in (row["size"], row["objective"]) if part)
    name = row["student"] or (words.short(row["reference"]) if row["reference"] else made)
    kind = " (diagnostic map)" if row.get("outside_range") == "teacher" else ""
    return f"{str(name or row['run_id'])[:LONGEST_NAME]}{kind}"


def item_of(row: Mapping[str, Any]) -> str:
    """Return the word of the address for a student."""
    return row["run_id"] if row["student"] is None else f"{row['run_id']}|{row['student']}"


def listed(text: str, limit: int = 300) -> dict[str, dict[str, Any]]:
    """Return the students that kept images and have all words of `text` in their names, by item."""
    return {item_of(row): row for row in _listed(the_store().version, text, limit)}


def newest_own(searches: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return for each search the newest student that was not pulled from others, by item."""
    found = (next(((item, row) for item, row in listed(text).items() if not is_pulled(row)), None) for text in searches)
    return dict(pair for pair in found if pair is not None)


def found_items(items: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the row of each item that kept images; the run of a sweep without a student stands for all its students."""
    named = [item for item in items if len(item) < 500]
    rows = _students_of(the_store().version, tuple(dict.fromkeys(item.partition("|")[0] for item in named)))
    runs = {item for item in named if "|" not in item}
    return {item_of(row): row for row in rows if item_of(row) in named or row["run_id"] in runs}


def read_subjects(rows: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """Return students with their images; labels that several share get the end of the run's id."""
    labels = [short_label(row) for row in rows]
    subjects = []
    for row, label in zip(rows, labels, strict=True):
        run_id, student = row["run_id"], row["student"]
        kept: dict[int, Kept] = {}
        for pair in sorted(store_queries.pairs(the_store(), run_id, student, first=True), key=lambda pair: pair["group"] != "first"):
            if pair["seed"] not in kept and (images := _kept(pair)) is not None:
                kept[pair["seed"]] = images
        if labels.count(label) > 1:
            label = f"{label} ({run_id.rsplit('-', 1)[-1]})"
        facts = {"teacher": row["teacher"]} | _facts(the_store().version, run_id, student)
        subjects.append(Subject(item_of(row), run_id, label, facts, kept))
    return subjects


def grids(subjects: Sequence[Subject], *, together: bool) -> list[Grid]:
    """Return a grid for the students of each teacher and image shape (`together`), or one for each student; columns by seed."""
    groups: dict[Any, list[Subject]] = {}
    for subject in subjects:
        shape = next((kept.teacher.shape for kept in subject.kept.values()), ())
        groups.setdefault((subject.teacher, shape) if together else subject.item, []).append(subject)
    return [Grid(tuple(group), ()) for group in groups.values()]


def with_columns(grid: Grid) -> Grid:
    """Return a grid with a column for every noise that one of its students kept, and the measured distances of all."""
    seeds = sorted({seed for subject in grid.subjects for seed in subject.kept})
    subjects = []
    for subject in grid.subjects:
        student = subject.item.partition("|")[2] or None
        found = _distances(the_store().version, subject.run_id, student, tuple(seeds))
        subjects.append(replace(subject, to_teacher=found["teacher"], to_empirical=found["empirical"]))
    columns = []
    for seed in seeds:
        kept = tuple(subject.kept.get(seed) for subject in subjects)
        teacher = next(images.teacher for images in kept if images is not None)
        columns.append(Column(seed, teacher, kept, tuple(subject.to_teacher.get(seed) for subject in subjects)))
    return Grid(tuple(subjects), tuple(columns))


def ordered(columns: Iterable[Column], how: str) -> list[Column]:
    """Return columns in an order of `SORTS`; what is not known comes last, equal ones by seed."""
    values: dict[str, Any] = {
        "seed": lambda column: float(column.seed),
        "distance": lambda column: column.mean_distance,
        "farthest": lambda column: _negative(column.mean_distance),
        "memorization": lambda column: column.memorization,
        "disagreement": lambda column: _negative(column.disagreement),
    }
    keyed = [(values[how](column), column) for column in columns]
    return [column for _, column in sorted(keyed, key=lambda pair: (pair[0] is None, pair[0] or 0.0, pair[1].seed))]


def parse_noises(text: str) -> list[int]:
    """Return the noise seeds of a text such as `0-15, 20`; raises InputError for anything else, or more than 64 of them."""
    seeds: dict[int, None] = {}
    for part in filter(None, re.split(r"[,\s]+", re.sub(r"\s*[-–]\s*", "-", text.strip()))):
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if low > high:
            raise InputError(f"noises are {text[:40]!r}: give seeds and ranges such as 0-15, 20")
        if high - low >= MOST_COLUMNS or len(seeds) > MOST_COLUMNS:
            raise InputError(f"noises are {text[:40]!r}: choose at most {MOST_COLUMNS}")
        seeds |= dict.fromkeys(range(low, high + 1))
    if len(seeds) > MOST_COLUMNS:
        raise InputError(f"noises are {text[:40]!r}: choose at most {MOST_COLUMNS}")
    return list(seeds)


@st.cache_data(max_entries=100, show_spinner=False)
def _listed(version: str, text: str, limit: int) -> list[dict[str, Any]]:
    return wall_queries.students_with_images(the_store(), text, limit)


@st.cache_data(max_entries=100, show_spinner=False)
def _students_of(version: str, run_ids: tuple[str, ...]) -> list[dict[str, Any]]:
    return wall_queries.students_of(the_store(), run_ids)


@st.cache_data(max_entries=200, show_spinner=False)
def _facts(version: str, run_id: str, student: str | None) -> dict[str, Any]:
    return wall_queries.facts_of_student(the_store(), run_id, student)


@st.cache_data(max_entries=200, show_spinner=False)
def _distances(version: str, run_id: str, student: str | None, seeds: tuple[int, ...]) -> dict[str, dict[int, float]]:
    return wall_queries.distances_of_seeds(the_store(), run_id, student, seeds)


def _kept(pair: Mapping[str, Any]) -> Kept | None:
    """Return the images of a pair; None where that of the teacher or the student is missing or damaged."""
    images: list[Pixels | None] = []
    for name in ("teacher_png", "student_png", "nearest_png", "empirical_png"):
        try:
            images.append(decode(pair[name]) if pair[name] else None)
        except InputError:
            images.append(None)
    teacher, student, nearest, empirical = images
    return None if teacher is None or student is None else Kept(teacher, student, nearest, empirical)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value
