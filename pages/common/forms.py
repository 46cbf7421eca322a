"""The Evaluate form's fields, their checks and their values in the URL."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pfd_engine.bundled import bundled_references
from pfd_engine.config import EvaluateConfig
from pfd_engine.errors import InputError
from pfd_engine.references import FolderReference, parse_reference

if TYPE_CHECKING:
    from pfd_engine.checkpoint_info import CheckpointInfo
    from pfd_engine.cost import Model

REFERENCE_HELP = "A repository on the Hub, owner/name, or a folder on this machine: a path that starts with . / or ~"
REVISION_HELP = "A branch, a tag or a commit. Empty: the newest commit of the default branch, which is pinned and recorded."
NEEDS_FILE = {"sscd"}
INTEGERS = {"num_noises", "seed", "steps", "student_steps"}
ADVANCED = ("seed", "sigma_min", "sigma_max", "student_steps", "batch_size", "target_relative_error")
LARGEST = 2**53 - 1
NUMBERS = {"num_noises", "seed", "steps", "student_steps", "sigma_min", "sigma_max", "target_relative_error"}


OF_FILE = ("descriptor_file", "descriptor_sha256", "allow_torchscript")
ALLOW_LABEL = "Allow TorchScript (it is code: only a file that you trust)"
UNKNOWN = "\0"


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


def refuse_link_values(options: Mapping[str, list[str]]) -> None:
    """Drop what a link asks for and no field accepts, before the fields are drawn; `link_notes` then tells what is used instead.

    `options` are those of the choices. Left alone, Streamlit replaces some of these values in silence and stumbles over others.
    """
    notes = st.session_state.setdefault("link_notes", {})
    dropped = False
    for name in {*NUMBERS, *options} & set(st.query_params):
        asked = st.query_params[name]
        reason = _refusal(name, asked, options.get(name))
        if not reason:
            continue
        notes[name] = (f"the link asked for {name.replace('num_', '').replace('_', ' ')} {asked[:40]}, {reason}", UNKNOWN)
        with suppress(StreamlitAPIException):  # a field that is drawn already keeps its value anyway
            del st.query_params[name]
            dropped = True
    if dropped:
        st.rerun()  # this run would still fill the fields from the address as it was


def link_notes() -> Iterator[tuple[str, str]]:
    """Yield field and sentence for each refused value of the link, until the visitor changes that field."""
    notes = st.session_state.get("link_notes", {})
    for name, (sentence, used) in list(notes.items()):
        value = st.session_state.get(name)
        if used is UNKNOWN:
            notes[name] = (sentence, value)
        elif used != value:
            del notes[name]
            continue
        yield name, f"{sentence}: {'the field is left empty' if value is None else f'{value} is used'}"


def _refusal(name: str, asked: str, options: list[str] | None) -> str:
    if options is not None:
        return "" if asked in options else "which does not exist here"
    try:
        value = float(asked)
    except ValueError:
        return "which is no number"
    if not math.isfinite(value):
        return "which is no finite number"
    if name not in INTEGERS:
        return ""
    return "" if value.is_integer() and abs(value) <= LARGEST else "which is no whole number in range"


def advanced_is_used() -> bool:
    """Whether any advanced setting has a value of its own, in the form or in the link; once it had, the answer stays yes."""
    state = st.session_state
    default = {name: EvaluateConfig.model_fields[name].default for name in ADVANCED}
    used = any(state.get(name, default[name]) != default[name] or name in st.query_params for name in ADVANCED)
    state["advanced_is_used"] = state.get("advanced_is_used", False) or used
    return bool(state["advanced_is_used"])


def read_form() -> dict[str, Any]:
    """Return the form's values as `EvaluateConfig.parse` takes them, revisions joined to their references; raises InputError."""
    state = st.session_state
    values: dict[str, Any] = {}
    for name, field in EvaluateConfig.model_fields.items():
        if name == "kind" or name not in state or (name in OF_FILE and state.get("descriptor") not in NEEDS_FILE):
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
        raise InputError(f"a folder has no revision: leave the {role}'s revision empty", field)
    if "@" in reference:
        raise InputError(
            f"the {role} already names the revision {reference.partition('@')[2][:60]!r}: leave the field beside it empty", field
        )
    return f"{reference}@{revision}"


@st.cache_data(ttl=300, max_entries=200, show_spinner=False)
def inspect_checkpoint(reference: str) -> CheckpointInfo:
    """Look a checkpoint up, remembered for five minutes; raises InputError."""
    from pfd_engine import checkpoint_info

    return checkpoint_info.inspect(reference)


@st.cache_data(ttl=300, max_entries=200, show_spinner=False)
def look_up_training_set(reference: str) -> None:
    """Raise InputError, beside its field, unless a model or data set of that name is on the Hub; folders are checked elsewhere."""
    from pfd_engine.hub import resolve
    from pfd_engine.training_set_files import DESCRIPTION_FILE

    try:
        if isinstance(parse_reference(reference), FolderReference):
            return
        try:
            resolve(reference, allow=(DESCRIPTION_FILE,), repo_type="model")
        except InputError:
            resolve(reference, allow=(DESCRIPTION_FILE,), repo_type="dataset")
    except InputError as error:
        raise InputError(str(error), "training_set") from None


def check_descriptor(config: EvaluateConfig) -> None:
    """Raise InputError, with the field at fault, where the file that a descriptor needs is missing, another one or not allowed."""
    from pfd_engine.snapshots import file_sha256

    if config.descriptor not in NEEDS_FILE:
        return
    name = config.descriptor
    if os.environ.get("PFD_MODE", "local") != "local":
        raise InputError(f"{name} runs a file that is code, which this server does not do: choose another descriptor", "descriptor")
    if not config.descriptor_file:
        raise InputError(f"{name}'s TorchScript file is missing: give its path", "descriptor_file")
    path = Path(config.descriptor_file).expanduser()
    if not path.is_file():
        raise InputError(f"{config.descriptor_file} is no file: give the path of {name}'s TorchScript file", "descriptor_file")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", config.descriptor_sha256 or ""):
        raise InputError(
            "the file's sha256 is missing: give its 64 hexadecimal digits, from where the file was published", "descriptor_sha256"
        )
    if (found := file_sha256(path)) != str(config.descriptor_sha256).lower():
        raise InputError(f"{path.name} has the sha256 {found}, not the one given: check where it came from", "descriptor_sha256")
    if not config.allow_torchscript:
        raise InputError(f"{name}'s file is code: tick “{ALLOW_LABEL}” if you trust it", "allow_torchscript")


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
        raise InputError(
            "the student follows its probability flow ODE and has no steps of its own: leave Student steps empty", "student_steps"
        )
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
