"""Evaluate: name a teacher and a student, see what measuring them will cost, and launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.page import page

if TYPE_CHECKING:
    from pages.forms.form import Slot
    from pfd_engine.configs.evaluate import EvaluateConfig

STEPS_HELP = (
    "Steps of the solver from pure noise to the image: a whole number, or auto. Auto takes the smallest of 18, 36 and 72 whose own error "
    "stays below half the interval, and keeps it for all students of this teacher, so that they can be compared."
)
OUTSIDE_RANGE = ("student", "teacher")
OUTSIDE_HELP = (
    "student: the student acts everywhere. teacher: a diagnostic map, which shows whether an effect arises where the student was hardly "
    "trained. It has no E_mem and no verdict, and needs a student whose training recipe is known."
)


def evaluate() -> None:
    """Draw the page."""
    from pages.forms.launch import EVALUATE_FORM, show_form
    from pages.frame.sign_in import may_use

    st.title("Evaluate")
    st.caption("Measure the probability flow distance between a teacher and a student, from the same noises through both.")
    shown = "Network calls and time appear" if may_use() else "Network calls appear"
    show_form(EVALUATE_FORM, fields, read, cost, f"{shown} here once teacher, student and numbers are in order.")


def fields() -> dict[str, Slot]:
    """Draw the fields; returns the container of each, in which an error can be put below it."""
    from pages.forms.checks import NEEDS_FILE
    from pages.forms.launch import DEVICES, reference_field
    from pages.forms.launch import EVALUATE_FORM as FORM
    from pages.forms.models import bundled_pair_choices
    from pfd_engine.flow.solvers import SOLVERS
    from pfd_engine.measure.descriptors import descriptor_names

    choices = {"solver": list(SOLVERS), "descriptor": descriptor_names(), "device": DEVICES, "outside_range": list(OUTSIDE_RANGE)}
    FORM.refuse_link_values(choices)
    open_advanced = FORM.folded_is_used()
    bundled_pair_choices()
    slots = reference_field(FORM, "teacher") | reference_field(FORM, "student")
    slots["training_set"] = FORM.text(
        "training_set",
        "Training set of the student",
        placeholder="the one that the student's folder names, if it names one",
        help="A Hub data set or a folder: adds E_mem and the memorization ratio, which answer whether the student memorizes.",
    )
    first, second, third = st.columns(3)
    with first:
        slots["num_noises"] = FORM.number(
            "num_noises", "Noises", step=256, help="More noises, narrower interval: its width falls with the square root."
        )
    with second:
        slots["solver"] = FORM.choice("solver", "Solver", choices["solver"])
    with third:
        slots["steps"] = FORM.text("steps", "Steps", value=str(FORM.default("steps")), help=STEPS_HELP)
    first, second = st.columns(2)
    with first:
        slots["descriptor"] = FORM.choice(
            "descriptor", "Descriptor", choices["descriptor"], help="What two images are compared by. Only with pixel is PFD a metric."
        )
    with second:
        slots["device"] = FORM.choice("device", "Device", choices["device"], help="auto: the first GPU, else the CPU.")
    if FORM.value("descriptor") in NEEDS_FILE:
        slots |= descriptor_file()
    with st.expander("Advanced", expanded=open_advanced):
        slots |= advanced()
    return slots


def advanced() -> dict[str, Slot]:
    """Draw the fields that are seldom needed."""
    from pages.forms.launch import EVALUATE_FORM as FORM

    slots: dict[str, Slot] = {}
    first, second = st.columns(2)
    with first:
        slots["seed"] = FORM.number("seed", "First noise seed", help="Noises are the seeds from here on.")
        slots["sigma_min"] = FORM.number("sigma_min", "Smallest sigma", placeholder="the models' own")
        slots["target_relative_error"] = FORM.number(
            "target_relative_error", "Stop at relative error", placeholder="off",
            help="Stop early once half the interval is below this share of PFD, for example 0.05.",
        )  # fmt: skip
    with second:
        slots["student_steps"] = FORM.number(
            "student_steps", "Student steps", placeholder="what its config says", help="Only for few-step students."
        )
        slots["sigma_max"] = FORM.number("sigma_max", "Largest sigma", placeholder="the models' own")
        slots["batch_size"] = FORM.text(
            "batch_size", "Batch size", value="auto", help="auto, or a whole number. It never changes the result."
        )
    slots["outside_range"] = FORM.choice(
        "outside_range", "Who acts outside the noise levels that the student's training covered", OUTSIDE_RANGE, help=OUTSIDE_HELP
    )
    return slots


def descriptor_file() -> dict[str, Slot]:
    """Draw the fields of a descriptor whose weights are a file of the visitor's own."""
    from pages.forms.checks import ALLOW_LABEL
    from pages.forms.launch import EVALUATE_FORM as FORM

    slots: dict[str, Slot] = {}
    first, second = st.columns(2)
    with first:
        slots["descriptor_file"] = FORM.text("descriptor_file", "Descriptor file", help="The TorchScript file with its weights.")
    with second:
        slots["descriptor_sha256"] = FORM.text("descriptor_sha256", "Its sha256", help="As stated where the file was published.")
    slots["allow_torchscript"] = st.container(gap="xsmall")  # not bound to the URL: a link cannot consent
    slots["allow_torchscript"].checkbox(ALLOW_LABEL, key="allow_torchscript", persist_state="session")
    return slots


def read(drawn: dict[str, Slot]) -> EvaluateConfig:
    """Return the configuration that the form describes; raises InputError with the field at fault."""
    from pages.forms.launch import EVALUATE_FORM
    from pfd_engine.configs.evaluate import EvaluateConfig
    from pfd_engine.errors import InputError

    values = EVALUATE_FORM.read(drawn)
    for name in ("steps", "batch_size"):
        given = str(values.get(name, "" if name == "steps" else "auto"))
        spelled = name.replace("_", " ")
        if not given:
            raise InputError(f"{spelled} is empty: give auto or a whole number, {EVALUATE_FORM.default(name)} if unsure", name)
        if given != "auto" and not (given.isdecimal() and len(given) < 10):
            raise InputError(f"{spelled} is {given[:40]!r}: give auto or a whole number", name)
        values[name] = given if given == "auto" else int(given)
    return EvaluateConfig.parse(values)


def cost(config: EvaluateConfig) -> None:
    """Look everything up and show network calls and time; raises InputError for what cannot be measured."""
    from pages.forms.checks import check_descriptor
    from pages.forms.models import inspect_role, look_up_training_set
    from pages.frame.sign_in import check_request, may_use

    if not may_use():
        cost_rows(config)
        return
    check_request(config)
    check_descriptor(config)
    cost_rows(config)
    if config.training_set:
        shape = inspect_role("student", config.student).shape
        look_up_training_set(config.training_set, None if shape is None else tuple(shape))


def cost_rows(config: EvaluateConfig) -> None:
    """Look both checkpoints up and show network calls and time; raises InputError for a pair that cannot be measured."""
    from pages.forms.checks import check_device, check_models
    from pages.forms.models import inspect_role, model_of
    from pages.frame.sign_in import may_use
    from pages.widgets import html as words
    from pfd_engine.errors import InputError
    from pfd_engine.planning.evaluation import estimate

    problem: InputError | None = None
    teacher = student = None
    looked_up = may_use()
    if looked_up:
        with st.spinner("Looking the models up…"):
            try:
                infos = {role: inspect_role(role, getattr(config, role)) for role in ("teacher", "student")}
                teacher, student = (model_of(infos[role]) for role in ("teacher", "student"))
                check_models(config, infos["teacher"], infos["student"])
                check_device(config.device)
            except InputError as error:
                problem = error
    past: list[Any] = []
    if looked_up:
        from pages.reads.store import past_runs

        past = past_runs()
    cost = estimate(config, teacher, student, past)
    few_step = student is not None and student.few_step
    rows = [
        ("Teacher", f"{words.count(cost.teacher_calls, 'network call')} per noise" + (" or more" if few_step else "")),
        ("Student", f"{words.count(cost.student_calls, 'network call')} per noise"),
        ("Together", f"{words.count(cost.total_calls, 'network call')}" + (" or more" if config.steps == "auto" else "")),
    ]
    if looked_up:
        descriptor = "" if config.descriptor == "pixel" else ", plus the descriptor network"
        rows.append(("Time", "–" if cost.seconds is None else f"about {words.duration(cost.seconds)}{descriptor}"))
    st.html(words.facts(rows))
    again = "The calls together include those that find the solver's error, on some of the noises with two and four times the steps."
    st.caption(again + (" Auto may take two or four times the 18 steps that are counted here." if config.steps == "auto" else ""))
    if looked_up:
        basis = cost.basis[:1].upper() + cost.basis[1:].rstrip(".")
        st.caption(f"{basis}. What was measured before with the same model and noises is reused.")
    if problem is not None:
        raise problem


with page("Evaluate"):
    evaluate()
