"""Distill: choose what a student learns from a teacher, and its size, see what that will cost, and launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import page

if TYPE_CHECKING:
    from pages.forms.form import Slot
    from pfd_engine.configs.distill import DistillConfig

FIRST_SIZE = "mlp-128"


def distill() -> None:
    """Draw the page."""
    from pages.forms.launch import DISTILL_FORM, show_form

    st.title("Distill")
    st.caption("Train a student of a teacher on the teacher's own samples, then measure how far it ends from the teacher.")
    incomplete = "Parameters, memory, teacher calls and time appear here once teacher and numbers are in order."
    show_form(DISTILL_FORM, fields, read, cost, incomplete)


def fields() -> dict[str, Slot]:
    """Draw the fields, presets first; returns the container of each, in which an error can be put below it."""
    from pages.forms.distill_fields import CHOICES, advanced, ladder_html, teacher_shape
    from pages.forms.launch import DISTILL_FORM as FORM
    from pages.forms.launch import reference_field
    from pages.forms.models import bundled_teacher_choice
    from pfd_engine.distill.objectives import OBJECTIVES

    FORM.refuse_link_values(CHOICES)
    open_advanced = FORM.folded_is_used()
    bundled_teacher_choice()
    slots = reference_field(FORM, "teacher")
    slots["objective"] = FORM.choice("objective", "Objective", CHOICES["objective"], help="What the student learns from its teacher.")
    preset = OBJECTIVES[FORM.value("objective") or FORM.default("objective")]
    note = "; every number of it then measures coupling and distribution together" if preset.name == "distribution-matching" else ""
    slots["objective"].caption(f"{preset.what[:1].upper()}{preset.what[1:]}{note}.")
    slots["size"], table = size_field()
    columns = st.columns(3 if preset.few_step else 2)
    with columns[0]:
        slots["num_samples"] = FORM.number(
            "num_samples", "Training samples N", placeholder=f"{preset.num_samples:,}", help="How many of the teacher's samples it sees."
        )
    with columns[1]:
        slots["steps"] = FORM.number("steps", "Training steps", placeholder=f"{preset.steps:,}")
    if preset.few_step:
        with columns[2]:
            slots["student_steps"] = FORM.number(
                "student_steps", "Student steps", placeholder=str(preset.student_steps),
                help="Network calls of the student from noise to image. It is measured at 1, 2 and 4 where it can take them.",
            )  # fmt: skip
    st.caption("An empty field takes the value in gray, which suits the objective.")
    with st.expander("Advanced", expanded=open_advanced):
        slots |= advanced(preset)
    given = FORM.value("batch_size")
    table.html(ladder_html(FORM.value("size") or FIRST_SIZE, teacher_shape(), given if given and given > 0 else preset.batch_size))
    return slots


def size_field() -> tuple[Slot, Slot]:
    """Draw the choice of the size; returns its container, and one beside it for the table of sizes."""
    from pages.forms.distill_fields import CHOICES
    from pages.forms.launch import DISTILL_FORM as FORM

    choice, table = st.columns([2, 3])
    with choice:
        index = CHOICES["size"].index(FIRST_SIZE)
        slot = FORM.choice(
            "size", "Size", CHOICES["size"], index=index, help="Fully connected (mlp), convolutional (unet) or transformer (dit)."
        )
    return slot, table


def read(drawn: dict[str, Slot]) -> DistillConfig:
    """Return the configuration that the form describes; raises InputError with the field at fault."""
    from pages.forms.launch import DISTILL_FORM
    from pfd_engine.configs.distill import DistillConfig

    return DistillConfig.parse(DISTILL_FORM.read(drawn))


def cost(config: DistillConfig) -> None:
    """Look the teacher up and show what the distillation costs; raises InputError for what cannot start."""
    from pages.forms.checks import check_distillation
    from pages.forms.models import inspect_role, model_of
    from pages.frame.sign_in import check_request, may_use
    from pages.widgets import html as words
    from pfd_engine.models.networks.sizes import find_rung
    from pfd_engine.planning.distillation import estimate

    if not may_use():
        rung = find_rung(config.size)
        st.html(words.facts([("Student", f"{words.parameters(rung.parameters)} parameters"), ("Images seen", f"{images_seen(config):,}")]))
        return
    check_request(config)
    with st.spinner("Looking the teacher up…"):
        info = inspect_role("teacher", config.teacher)
    check_distillation(config, info)
    teacher = model_of(info)
    if teacher is None or info.shape is None:
        st.caption("How large the teacher is, and so what this will cost, shows only once it is loaded.")
        return
    found = estimate(config, info.shape, teacher)
    rows = [
        ("Student", f"{words.parameters(found.parameters)} parameters"),
        ("Memory", f"about {words.size(found.memory_bytes)} to train"),
        ("Training set", words.count(found.training_set_calls, "teacher call")),
        ("Images seen", f"{found.images_seen:,}"),
        ("Training", f"about {words.duration(found.training_seconds)}"),
        ("Time", f"about {words.duration(found.seconds)} with sampling and measuring"),
    ]
    st.html(words.facts(rows))
    where = "a GPU" if config.device.startswith("cuda") else "a CPU; a GPU is faster for large students"
    st.caption(f"A rough guess for {where}. Teacher samples that were drawn before are reused.")
    check_distillation_memory(config, info.shape)


def images_seen(config: DistillConfig) -> int:
    """Return how many images training goes through."""
    return (config.steps or config.preset.steps) * (config.batch_size or config.preset.batch_size)


def check_distillation_memory(config: DistillConfig, shape: tuple[int, ...]) -> None:
    """Raise InputError where training does not fit into this machine's memory; that of a GPU is known only to the run."""
    import psutil

    from pages.forms.checks import shows_cuda
    from pfd_engine.models.networks.sizes import find_rung
    from pfd_engine.planning.distillation_checks import check_memory

    if config.device == "cpu" or (config.device == "auto" and not shows_cuda()):
        check_memory(config, find_rung(config.size), shape, psutil.virtual_memory().available, "this machine")


with page("Distill"):
    distill()
