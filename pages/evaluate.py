"""Evaluate: name a teacher and a student, see what measuring them will cost, and launch."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.common.layout import RESULT, alert, is_demo, page, repeated


def evaluate() -> None:
    """Draw the page."""
    from pages.common import words
    from pages.common.forms import check_descriptor, link_notes, look_up_training_set, read_form
    from pfd_engine.config import EvaluateConfig
    from pfd_engine.errors import InputError
    from pfd_engine.hub import check_folders

    st.title("Evaluate")
    st.caption("Measure the probability flow distance between a teacher and a student, from the same noises through both.")
    left, right = st.columns([5, 3], gap="large")
    with left:
        slots = fields()
        for name, sentence in link_notes():
            slots.get(name, left).caption(words.markdown(sentence[:1].upper() + sentence[1:] + "."))
    config = None
    problem: InputError | None = None
    try:
        config = EvaluateConfig.parse(read_form())
    except InputError as error:
        problem = error
    with right, st.container(border=True, key="cost"):
        if config is not None:
            try:
                check_folders(config)
                check_descriptor(config)
                cost_panel(config)
                if config.training_set and not is_demo():
                    look_up_training_set(config.training_set)
            except InputError as error:
                problem = error
        else:
            st.markdown("**What it will cost**")
            shown = "Network calls appear" if is_demo() else "Network calls and time appear"
            st.caption(f"{shown} here once teacher, student and numbers are in order.")
        again = st.container()
        started = not is_demo() and st.button("Launch", type="primary", width="stretch", key="launch")
    if problem is not None and (started or not _only_missing(problem)):
        if problem.field in slots:
            slots[problem.field].html(alert(str(problem)))
            again.html(repeated(str(problem)))  # the field may be out of sight, and then Launch would seem to do nothing
        else:
            again.html(alert(str(problem)))
    if config is None:
        return
    if is_demo():
        with right:
            st.info("This is a read-only demo. The same evaluation runs on your own machine with the command below.")
    with right:
        st.caption("The same from the command line")
        st.code(config.command(), language="bash", wrap_lines=True)
    if started and problem is None:
        try:
            launch(config)
        except InputError as error:
            again.html(alert(str(error)))


def fields() -> dict[str, Any]:
    """Draw the fields; returns the container of each, in which an error can be put below it."""
    from pages.common.forms import (
        NEEDS_FILE,
        REFERENCE_HELP,
        REVISION_HELP,
        advanced_is_used,
        bundled_pair_choices,
        choice_field,
        number_field,
        refuse_link_values,
        text_field,
    )
    from pfd_engine.descriptors import descriptor_names
    from pfd_engine.solvers import SOLVERS

    slots: dict[str, Any] = {}
    choices = {"solver": list(SOLVERS), "descriptor": descriptor_names(), "device": ["auto", "cpu", "cuda"]}
    refuse_link_values(choices)
    open_advanced = advanced_is_used()
    bundled_pair_choices()
    for role in ("teacher", "student"):
        wide, narrow = st.columns([3, 1])
        with wide:
            slots[role] = text_field(role, role.capitalize(), placeholder="owner/name or ./folder", help=REFERENCE_HELP)
        with narrow:
            slots[f"{role}_revision"] = text_field(f"{role}_revision", "Revision", placeholder="newest", help=REVISION_HELP)
    slots["training_set"] = text_field(
        "training_set",
        "Training set of the student",
        placeholder="the one that the student's folder names, if it names one",
        help="A Hub data set or a folder: adds E_mem and the memorization ratio, which answer whether the student memorizes.",
    )
    first, second, third = st.columns(3)
    with first:
        slots["num_noises"] = number_field(
            "num_noises", "Noises", 1024, step=256, help="More noises, narrower interval: its width falls with the square root."
        )
    with second:
        slots["solver"] = choice_field("solver", "Solver", choices["solver"], index=choices["solver"].index("heun"))
    with third:
        slots["steps"] = number_field("steps", "Steps", 18, step=1, help="Steps of the solver from pure noise to the image.")
    first, second = st.columns(2)
    with first:
        slots["descriptor"] = choice_field(
            "descriptor", "Descriptor", choices["descriptor"], help="What two images are compared by. Only with pixel is PFD a metric."
        )
    with second:
        slots["device"] = choice_field("device", "Device", choices["device"], help="auto: the first GPU, else the CPU.")
    if st.session_state.get("descriptor") in NEEDS_FILE:
        slots |= descriptor_file()
    with st.expander("Advanced", expanded=open_advanced):
        slots |= advanced()
    return slots


def advanced() -> dict[str, Any]:
    """Draw the fields that are seldom needed."""
    from pages.common.forms import number_field, text_field

    slots: dict[str, Any] = {}
    first, second = st.columns(2)
    with first:
        slots["seed"] = number_field("seed", "First noise seed", 0, step=1, help="Noises are the seeds from here on.")
        slots["sigma_min"] = number_field("sigma_min", "Smallest sigma", None, format="%g", placeholder="the models' own")
        slots["target_relative_error"] = number_field(
            "target_relative_error", "Stop at relative error", None, format="%g", placeholder="off",
            help="Stop early once half the interval is below this share of PFD, for example 0.05.",
        )  # fmt: skip
    with second:
        slots["student_steps"] = number_field(
            "student_steps", "Student steps", None, step=1, placeholder="what its config says", help="Only for few-step students."
        )
        slots["sigma_max"] = number_field("sigma_max", "Largest sigma", None, format="%g", placeholder="the models' own")
        slots["batch_size"] = text_field(
            "batch_size", "Batch size", value="auto", help="auto, or a whole number. It never changes the result."
        )
    return slots


def descriptor_file() -> dict[str, Any]:
    """Draw the fields of a descriptor whose weights are a file of the visitor's own."""
    from pages.common.forms import ALLOW_LABEL, text_field

    slots: dict[str, Any] = {}
    first, second = st.columns(2)
    with first:
        slots["descriptor_file"] = text_field("descriptor_file", "Descriptor file", help="The TorchScript file with its weights.")
    with second:
        slots["descriptor_sha256"] = text_field("descriptor_sha256", "Its sha256", help="As stated where the file was published.")
    slots["allow_torchscript"] = st.container(gap="xsmall")
    slots["allow_torchscript"].checkbox(ALLOW_LABEL, key="allow_torchscript", persist_state="session")
    return slots


def cost_panel(config: Any) -> None:
    """Look both checkpoints up and show network calls and time; raises InputError for a pair that cannot be measured."""
    from pages.common import words
    from pages.common.forms import check_device, check_models, inspect_checkpoint, model_of
    from pfd_engine.cost import estimate
    from pfd_engine.errors import InputError

    st.markdown("**What it will cost**")
    problem: InputError | None = None
    teacher = student = None
    if not is_demo():
        with st.spinner("Looking the models up…"):
            try:
                infos = {role: _inspect(role, getattr(config, role), inspect_checkpoint) for role in ("teacher", "student")}
                teacher, student = (model_of(infos[role]) for role in ("teacher", "student"))
                check_models(config, infos["teacher"], infos["student"])
                check_device(config.device)
            except InputError as error:
                problem = error
    past = []
    if not is_demo():
        from pages.common.data import past_runs

        past = past_runs()
    cost = estimate(config, teacher, student, past)
    few_step = student is not None and student.few_step
    rows = [
        ("Teacher", f"{words.count(cost.teacher_calls, 'network call')} a noise" + (" or more" if few_step else "")),
        ("Student", f"{words.count(cost.student_calls, 'network call')} a noise"),
        ("Together", words.count(cost.total_calls, "network call")),
    ]
    if not is_demo():
        descriptor = "" if config.descriptor == "pixel" else ", plus the descriptor network"
        rows.append(("Time", "–" if cost.seconds is None else f"about {words.duration(cost.seconds)}{descriptor}"))
    st.html(words.facts(rows))
    if not is_demo():
        basis = cost.basis[:1].upper() + cost.basis[1:].rstrip(".")
        st.caption(f"{basis}. What was measured before with the same model and noises is reused.")
    if problem is not None:
        raise problem


def _inspect(role: str, reference: str, inspect: Any) -> Any:
    from pfd_engine.errors import InputError

    try:
        return inspect(reference)
    except InputError as error:
        raise InputError(str(error), role) from None


def _only_missing(problem: Exception) -> bool:
    """Whether a problem is no more than a field that nobody has filled in yet."""
    return " is missing: " in str(problem)


def launch(config: Any) -> None:
    """Queue the run, see that a worker lives, and go to the run's page."""
    from pfd_engine.runs import create_run
    from pfd_engine.worker import ensure_worker
    from pfd_engine.workspace import Workspace

    workspace = Workspace.from_environment()
    run = create_run(workspace, config, queued=True)
    ensure_worker(workspace)
    st.switch_page(RESULT, query_params={"run": run.id})


with page("Evaluate"):
    evaluate()
