"""The Evaluate form's fields, their checks and their values in the URL."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pfd_engine.bundled import bundled_references
from pfd_engine.config import EvaluateConfig
from pfd_engine.errors import InputError

if TYPE_CHECKING:
    from pfd_engine.checkpoint_info import CheckpointInfo
    from pfd_engine.cost import Model

REFERENCE_HELP = "A repository on the Hub, owner/name, or a folder on this machine: a path that starts with . / or ~"
REVISION_HELP = "A branch, a tag or a commit. Empty: the newest commit of the default branch, which is pinned and recorded."
NUMBERS = {"num_noises", "seed", "steps", "student_steps", "sigma_min", "sigma_max", "target_relative_error"}


def form_fields(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the query parameters that fill the form with a configuration; defaults are left out."""
    fields = {}
    for name, field in EvaluateConfig.model_fields.items():
        value = values.get(name, field.default)
        if name != "kind" and value is not None and value != field.default and isinstance(value, (str, int, float)):
            fields[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return fields


def text_field(name: str, label: str, **options: Any) -> st.delta_generator.DeltaGenerator:
    """Draw a text field whose value lives in the URL; returns its container, in which an error can be put below it."""
    slot = st.container(gap="xsmall")
    slot.text_input(label, key=name, bind="query-params", persist_state="session", **options)
    return slot


def number_field(name: str, label: str, value: float | None, **options: Any) -> st.delta_generator.DeltaGenerator:
    """Draw a number field whose value lives in the URL; limits are checked by the configuration, which says what is allowed."""
    slot = st.container(gap="xsmall")
    slot.number_input(label, key=name, value=value, bind="query-params", persist_state="session", **options)
    return slot


def choice_field(name: str, label: str, options: list[str], **more: Any) -> st.delta_generator.DeltaGenerator:
    """Draw a choice whose value lives in the URL."""
    slot = st.container(gap="xsmall")
    slot.selectbox(label, options, key=name, bind="query-params", persist_state="session", **more)
    return slot


def read_form() -> dict[str, Any]:
    """Return the form's values as `EvaluateConfig.parse` takes them, revisions joined to their references; raises InputError."""
    state = st.session_state
    values: dict[str, Any] = {}
    for name, field in EvaluateConfig.model_fields.items():
        if name == "kind" or name not in state:
            continue
        value = state[name]
        if isinstance(value, str):
            value = value.strip()
        if value not in (None, ""):
            values[name] = value
        elif field.is_required():
            values[name] = ""
        elif name in NUMBERS and field.default is not None:
            raise InputError(f"{name.replace('_', ' ')} is empty: give a number, {field.default} if unsure", name)
    if (batch := str(values.get("batch_size", "auto"))) != "auto":
        if not batch.isdecimal():
            raise InputError(f"batch size is {batch[:40]!r}: give auto or a whole number", "batch_size")
        values["batch_size"] = int(batch)
    for role in ("teacher", "student"):
        values[role] = _with_revision(role, values.get(role, ""), str(state.get(f"{role}_revision") or "").strip())
    return values


def _with_revision(role: str, reference: str, revision: str) -> str:
    if not reference:
        raise InputError(f"the {role} is missing: name a repository on the Hub or a folder", role)
    if not revision:
        return reference
    field = f"{role}_revision"
    if reference.startswith((".", "/", "~")):
        raise InputError("a folder has no revision: leave this empty", field)
    if "@" in reference:
        raise InputError(f"the {role} already names the revision {reference.partition('@')[2][:60]!r}: leave this empty", field)
    return f"{reference}@{revision}"


@st.cache_data(ttl=300, max_entries=200, show_spinner=False)
def inspect_checkpoint(reference: str) -> CheckpointInfo:
    """Look a checkpoint up, remembered for five minutes; raises InputError."""
    from pfd_engine import checkpoint_info

    return checkpoint_info.inspect(reference)


def check_models(config: EvaluateConfig, teacher: CheckpointInfo, student: CheckpointInfo) -> None:
    """Raise InputError, with the field at fault, for what the two checkpoints already tell to be impossible."""
    for role, info in (("teacher", teacher), ("student", student)):
        if not info.loadable:
            raise InputError(info.reason or f"the {role}'s format is not known: inspect it on the Checkpoints page", role)
    if teacher.few_step:
        raise InputError(
            "the teacher is a few-step model: exchange teacher and student, or choose a teacher with a probability flow", "teacher"
        )
    if teacher.shape and student.shape and tuple(teacher.shape) != tuple(student.shape):
        sizes = ["x".join(map(str, shape)) for shape in (teacher.shape, student.shape)]
        raise InputError(f"teacher is {sizes[0]} but student is {sizes[1]}: choose a pair of one size", "student")
    if config.student_steps is not None and not student.few_step:
        raise InputError("the student follows its probability flow ODE and has no steps of its own: leave this empty", "student_steps")
    lows = [info.sigma_min for info in (teacher, student) if info.sigma_min is not None]
    highs = [info.sigma_max for info in (teacher, student) if info.sigma_max is not None]
    low, high = max(lows, default=0.0), min(highs, default=float("inf"))
    for name, value in (("sigma_min", config.sigma_min), ("sigma_max", config.sigma_max)):
        if value is not None and not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):
            raise InputError(
                f"{name} is {value:g} but both models cover {low:g} to {high:g}: choose a value inside, or leave it empty", name
            )


def shows_cuda() -> bool:
    """Whether this machine shows an NVIDIA device; asked without torch, which this process does not load."""
    return bool(Path("/proc/driver/nvidia").exists() or Path("/dev/dxg").exists() or shutil.which("nvidia-smi"))


def check_device(device: str) -> None:
    """Raise InputError where CUDA is asked for on a machine that shows none."""
    if device.startswith("cuda") and not shows_cuda():
        raise InputError(f"device is {device} but this machine shows no NVIDIA GPU: choose auto or cpu", "device")


def model_of(info: CheckpointInfo) -> Model | None:
    """Return what the cost of a checkpoint depends on; None where its size is not known."""
    from pfd_engine.cost import Model

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
