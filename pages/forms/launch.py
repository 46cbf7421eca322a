"""The forms that launch runs: what each asks for, and how any of them goes from its fields to cost, command line and launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from pages.forms.form import Form, Slot
from pages.forms.sweep_fields import sweep_link
from pages.frame.page import DISTILL, EVALUATE, RESULT, SWEEP, alert, repeated
from pages.frame.sign_in import may_use, why_not
from pages.widgets import html as words
from pfd_engine.configs.base import RunConfig
from pfd_engine.configs.distill import DistillConfig
from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.errors import InputError

REFERENCE_HELP = "A repository on the Hub, owner/name, or a folder on this machine: a path that starts with . / or ~"
REVISION_HELP = "A branch, a tag or a commit. Empty: the newest commit of the default branch, which is pinned and recorded."
DEVICES = ("auto", "cpu", "cuda")

EVALUATE_FORM = Form(
    EvaluateConfig,
    folded=("seed", "sigma_min", "sigma_max", "student_steps", "batch_size", "target_relative_error", "outside_range"),
    references=("teacher", "student"),
)
# Steps, seed and batch size of a training are not those of an evaluation, and a descriptor there may need a file.
DISTILL_FORM = Form(
    DistillConfig,
    folded=tuple(
        name
        for name in DistillConfig.model_fields
        if name not in ("kind", "teacher", "size", "objective", "num_samples", "steps", "student_steps")
    ),
    references=("teacher",),
    renamed={name: f"distill_{name}" for name in ("steps", "seed", "student_steps", "batch_size", "descriptor")},
)
WOULD_DO = {
    "evaluate": "Launching would download both models, follow the same noises through both, and keep the distance with its interval.",
    "distill": "Launching would draw the teacher's samples, train the student on them, and measure how far it ends from the teacher.",
    "sweep": "Launching would train every student on a server's own cores or GPUs, and measure each at its checkpoints.",
}
EXAMPLES = {
    "evaluate": "evaluate --teacher owner/teacher --student owner/student",
    "distill": "distill --teacher owner/teacher --size mlp-128",
    "sweep": "sweep scaling",
}
FORMS = {"evaluate": (EVALUATE, EVALUATE_FORM), "distill": (DISTILL, DISTILL_FORM)}


def form_link(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the page of the form that makes runs like this one, and the query parameters that fill it."""
    if values.get("kind") == "sweep":
        return SWEEP, sweep_link(values)
    page, form = FORMS.get(str(values.get("kind", "evaluate")), FORMS["evaluate"])
    return page, form.link(values)


def reference_field(form: Form, role: str, placeholder: str = "owner/name or ./folder") -> dict[str, Slot]:
    """Draw the field of a model and that of its revision beside it."""
    wide, narrow = st.columns([3, 1])
    with wide:
        slots = {role: form.text(role, role.capitalize(), placeholder=placeholder, help=REFERENCE_HELP)}
    with narrow:
        slots[f"{role}_revision"] = revision = st.container(gap="xsmall")
        revision.text_input(
            "Revision", key=f"{role}_revision", bind="query-params", persist_state="session", placeholder="newest", help=REVISION_HELP
        )
    return slots


def show_form(
    form: Form,
    draw_fields: Callable[[], dict[str, Slot]],
    read: Callable[[dict[str, Slot]], RunConfig],
    draw_cost: Callable[[Any], None],
    incomplete: str,
    draw_more: Callable[[Any], None] = lambda config: None,
) -> None:
    """Draw a form: its fields on the left; on the right what the run will cost, Launch, and the equal command line.

    `read` and `draw_cost` raise InputError, whose sentence then stands beside its field, once. `incomplete` is shown while there is no
    configuration yet; `draw_more` draws below the command line.
    """
    left, right = st.columns([5, 3], gap="large")
    with left:
        slots = draw_fields()
        for name, sentence in form.link_notes():
            slots.get(name, left).caption(words.markdown(sentence[:1].upper() + sentence[1:] + "."))
    config: RunConfig | None = None
    problem: InputError | None = None
    try:
        config = read(slots)
    except InputError as error:
        problem = error
    with right, st.container(border=True, key="cost"):
        st.markdown("**What it will cost**")
        if config is None:
            st.caption(incomplete)
        else:
            try:
                draw_cost(config)
            except InputError as error:
                problem = error
        again = st.container()
        allowed = may_use()
        started = allowed and st.button("Launch", type="primary", width="stretch", key="launch")
    if problem is not None and (started or not _only_missing(problem)):
        if problem.field in slots:
            slots[problem.field].html(alert(str(problem)))
            again.html(repeated(str(problem)))  # the field may be out of sight, and then Launch would seem to do nothing
        else:
            again.html(alert(str(problem)))
    if not allowed:
        with right:
            closed(form, config)
    if config is None:
        return
    with right:
        st.caption("The same from the command line")
        st.code(config.command(), language="bash", wrap_lines=True)
        draw_more(config)
    if started and problem is None:
        try:
            launch(config)
        except InputError as error:
            again.html(alert(str(error)))


def closed(form: Form, config: RunConfig | None) -> None:
    """Say why this visitor cannot launch, what launching would do, and how to do the same elsewhere while the form is not filled in."""
    kind = str(form.config.model_fields["kind"].default)
    st.info(f"{why_not()} {WOULD_DO[kind]} The command does the same on your own machine.")
    if config is None:
        st.caption("For example")
        st.code(f"python -m pfd_engine {EXAMPLES[kind]}", language="bash", wrap_lines=True)


def _only_missing(problem: Exception) -> bool:
    """Whether a problem is no more than a field that nobody has filled in yet."""
    return " is missing: " in str(problem)


def launch(config: RunConfig) -> None:
    """Queue the run, see that a worker lives, and go to the run's page; raises InputError where this visitor may not."""
    from pages.frame.sign_in import visitor
    from pfd_engine.jobs import launch as launching
    from pfd_engine.workspace import Workspace

    run = launching.launch(Workspace.from_environment(), config, visitor())
    st.switch_page(RESULT, query_params={"run": run.id})
