"""The models that a page can name: looked up before they are used, and those that come with the product."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pfd_engine.errors import InputError
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.models.bundled import bundled_references
from pfd_engine.time_limit import look_up

if TYPE_CHECKING:
    from pfd_engine.models.inspect import CheckpointInfo
    from pfd_engine.planning.evaluation import Model


@st.cache_data(ttl=300, max_entries=200, show_spinner=False)
def inspect_checkpoint(reference: str) -> CheckpointInfo:
    """Look a checkpoint up, remembered for five minutes; raises InputError, also where that takes too long."""
    from pfd_engine.models import inspect as checkpoint_info

    return look_up(reference[:200], lambda: checkpoint_info.inspect(reference))


def inspect_role(role: str, reference: str) -> CheckpointInfo:
    """Look up the checkpoint of a form's field; raises InputError that names the field."""
    try:
        return inspect_checkpoint(reference)
    except InputError as error:
        raise InputError(str(error), role) from None


@st.cache_data(ttl=300, max_entries=200, show_spinner=False)
def look_up_training_set(reference: str, shape: tuple[int, ...] | None) -> None:
    """Raise InputError, beside its field, unless the training set is there and, where it is described, holds samples of `shape`."""
    from pfd_engine.training_sets.files import by

    try:
        found = look_up(reference[:200], lambda: _described_shape(reference))
        if found is not None and shape is not None and found != shape:
            raise InputError(
                f"the training set holds samples of {by(found)} but the models make {by(shape)}: name the set that the student was "
                "trained on"
            )
    except InputError as error:
        raise InputError(str(error), "training_set") from None


def _described_shape(reference: str) -> tuple[int, ...] | None:
    """Return the shape of the samples that a training set describes, None where it describes none; raises InputError."""
    from pfd_engine.hub.resolve import resolve
    from pfd_engine.training_sets.files import DESCRIPTION_FILE, read_description

    allow = (DESCRIPTION_FILE,)
    try:
        snapshot = resolve(reference, allow=allow, repo_type="model")
    except InputError:
        if isinstance(parse_reference(reference), FolderReference):
            raise
        snapshot = resolve(reference, allow=allow, repo_type="dataset")
    path = snapshot.path / DESCRIPTION_FILE
    return read_description(path).shape if path.is_file() else None


def model_of(info: CheckpointInfo) -> Model | None:
    """Return what the cost of a checkpoint depends on; None where its size is not known."""
    from pfd_engine.planning.evaluation import Model

    if info.parameters is None:
        return None
    return Model(info.parameters, tuple(info.shape or ()), info.family or "", info.few_step, info.steps)


def bundled_models() -> dict[str, str]:
    """Return the models that come with the product and are there, label to reference."""
    references = bundled_references()._asdict()
    return {name.replace("_", " "): path for name, path in references.items() if (Path(path) / "config.json").is_file()}


def bundled_choices(key: str) -> None:
    """Draw one button a bundled model that puts its reference into the text field `key`."""
    models = bundled_models()
    if not models:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Bundled:", width="content")
        for name, reference in models.items():
            st.button(name, key=f"pick-{name}", type="tertiary", on_click=_fill, args=({key: reference},))


def bundled_teacher_choice() -> None:
    """Draw a button that fills in the bundled teacher."""
    teacher = bundled_models().get("teacher")
    if teacher is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("Try the bundled digits:", width="content")
            fields = {"teacher": teacher, "teacher_revision": ""}
            st.button("their teacher", key="pick-teacher", type="tertiary", on_click=_fill, args=(fields,))


def bundled_pair_choices() -> None:
    """Draw one button a bundled student that fills teacher and student."""
    models = bundled_models()
    teacher = models.pop("teacher", None)
    if teacher is None or not models:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Try the bundled digits:", width="content")
        for name, student in models.items():
            fields = {"teacher": teacher, "student": student, "teacher_revision": "", "student_revision": ""}
            st.button(f"a {name.replace('student ', 'student that ')}", key=f"pair-{name}", type="tertiary", on_click=_fill, args=(fields,))


def _fill(values: dict[str, str]) -> None:
    for key, value in values.items():
        st.session_state[key] = value
