"""The checkpoints that come with the code: two teachers of 8x8 digits, a student that memorizes and one that generalizes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pfd_engine.workspace import ASSETS, REPOSITORY

TEACHER, MEMORIZES, GENERALIZES = "digits-teacher", "digits-student-memorizes", "digits-student-generalizes"
FLOOR = (
    "digits-teacher-2"  # the teacher trained again with another seed: its distance to the first is the retrained floor (MATH.md, section 3)
)


class BundledReferences(NamedTuple):
    """References of the bundled checkpoints, as forms and the command line take them."""

    teacher: str
    student_memorizes: str
    student_generalizes: str


def bundled_references() -> BundledReferences:
    """Return the references: `./pfd_engine/assets/...` in the repository's own folder, absolute paths elsewhere. No torch is imported."""
    return BundledReferences(*(_reference(name) for name in (TEACHER, MEMORIZES, GENERALIZES)))


def floor_reference() -> str:
    """Return the reference of the second teacher, which differs from the first in its training seed only; as `bundled_references` does."""
    return _reference(FLOOR)


def _reference(name: str) -> str:
    path = ASSETS / name
    return f"./{path.relative_to(REPOSITORY)}" if Path.cwd() == REPOSITORY else str(path)
