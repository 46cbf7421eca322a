"""The checkpoints that come with the code: a teacher of 8x8 digits, a student that memorizes and one that generalizes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pfd_engine.workspace import ASSETS, REPOSITORY

TEACHER, MEMORIZES, GENERALIZES = "digits-teacher", "digits-student-memorizes", "digits-student-generalizes"


class BundledReferences(NamedTuple):
    """References of the bundled checkpoints, as forms and the command line take them."""

    teacher: str
    student_memorizes: str
    student_generalizes: str


def bundled_references() -> BundledReferences:
    """Return the references: `./pfd_engine/assets/...` in the repository's own folder, absolute paths elsewhere. No torch is imported."""
    here = Path.cwd() == REPOSITORY
    return BundledReferences(
        *(f"./{(ASSETS / name).relative_to(REPOSITORY)}" if here else str(ASSETS / name) for name in (TEACHER, MEMORIZES, GENERALIZES))
    )
