"""Sweep: choose an experiment, or change one, see which students it means and what they cost, and launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import page

if TYPE_CHECKING:
    from pages.forms.form import Cell, Slot
    from pfd_engine.configs.sweep import SweepConfig


def sweep() -> None:
    """Draw the page."""
    from pages.forms.launch import show_form
    from pages.forms.sweep_fields import SWEEP_FORM

    st.title("Sweep")
    st.caption("Train and measure every size with every number of samples and every seed: the students of one experiment, as one run.")
    presets()
    incomplete = "Students, memory and time appear here once teacher, sizes and numbers are in order."
    show_form(SWEEP_FORM, fields, read, cost, incomplete, as_file)


def presets() -> None:
    """Draw a button for each bundled spec, with the question that it asks; the experiments themselves first, then larger and other ones."""
    from pfd_engine.configs.sweep_files import bundled_specs

    st.header("Start from")
    experiments = [name for name in bundled_specs() if name in options()["experiment"]]
    with st.container(gap="xsmall"):
        for name in experiments:
            preset(name)
    with st.expander("Larger and other sweeps", type="compact"):
        for name in bundled_specs():
            if name not in experiments:
                preset(name)


def preset(name: str) -> None:
    """Draw the button of one bundled spec and what it asks."""
    from pages.widgets import html as words
    from pfd_engine.configs.sweep_files import question_of

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(name, key=f"preset-{name}", on_click=fill, args=(name,))
        st.caption(words.markdown(question_of(name)))


def fill(name: str) -> None:
    """Fill the form with a bundled spec."""
    from pages.forms.sweep_fields import SWEEP_FORM, flat_values
    from pfd_engine.configs.sweep_files import load_spec

    values = flat_values(load_spec(name).model_dump(mode="json"))
    for field, value in values.items():
        st.session_state[SWEEP_FORM.key(field)] = value
    st.session_state["teacher_revision"] = ""


def fields() -> dict[str, Slot]:
    """Draw the fields; returns the container of each, in which an error can be put below it."""
    from pages.forms.form import draw_rows
    from pages.forms.launch import reference_field
    from pages.forms.models import bundled_teacher_choice
    from pages.forms.sweep_fields import SWEEP_FORM as FORM
    from pfd_engine.models.networks.sizes import size_names

    choices = options()
    FORM.refuse_link_values(choices | {"sizes": size_names()})
    open_advanced = FORM.folded_is_used()
    bundled_teacher_choice()
    slots = reference_field(FORM, "teacher")
    left, right = st.columns(2)
    with left:
        slots["experiment"] = FORM.choice("experiment", "Experiment", choices["experiment"])
    with right:
        slots["name"] = FORM.text("name", "Name", value=FORM.default("name"))
    slots["sizes"] = FORM.several("sizes", "Sizes of students", size_names(), placeholder="choose some")
    left, right = st.columns(2)
    with left:
        slots["num_samples"] = FORM.text("num_samples", "Training samples N", placeholder="16, 64, 256", help="A student for each.")
    with right:
        slots["seeds"] = FORM.text(
            "seeds", "Seeds", value=FORM.default("seeds"), help="A student for each, as 0-7: initial weights, order and training set."
        )
    columns = st.columns(4)
    for column, (name, label) in zip(columns, MAIN_NUMBERS.items(), strict=True):
        with column:
            slots[name] = FORM.number(name, label)
    with st.expander("Advanced", expanded=open_advanced):
        slots |= draw_rows(advanced(choices))
    return slots


AUTO_STEPS = "A whole number, or auto: the smallest of 18, 36 and 72 whose own error stays below half the interval."
DIAGNOSTIC = "The teacher acts at noise levels that training hardly drew, which shows whether a rise or a fall arises there."
MAIN_NUMBERS = {"steps": "Training steps", "checkpoints": "Checkpoints", "num_noises": "Noises", "learning_rate": "Learning rate"}


def options() -> dict[str, list[str]]:
    """Return what the choices of the form offer."""
    from pages.forms.launch import DEVICES
    from pfd_engine.configs.training import EMA_KINDS, PRECISIONS, SCHEDULES
    from pfd_engine.flow.solvers import SOLVERS
    from pfd_engine.measure.descriptors import descriptor_names

    return {
        "experiment": ["scaling", "training-dynamics", "bias-variance"],
        "objective": ["samples", "denoiser"],
        "sets": ["nested", "disjoint"],
        "schedule": list(SCHEDULES),
        "ema": list(EMA_KINDS),
        "precision": list(PRECISIONS),
        "solver": list(SOLVERS),
        "descriptor": [name for name in descriptor_names() if name != "sscd"],
        "device": list(DEVICES),
    }


def advanced(choices: dict[str, list[str]]) -> dict[str, list[list[Cell]]]:
    """Return the rows of the fields that are seldom needed, below their headings."""
    from pages.forms.sweep_fields import SWEEP_FORM as FORM

    def choice(name: str, label: str, **options: object) -> Slot:
        return FORM.choice(name, label, choices[name], **options)

    def tick(name: str, label: str, **options: object) -> Slot:
        return FORM.tick(name, label, **({"value": FORM.default(name)} | options))

    def text(name: str, label: str, **options: object) -> Slot:
        return FORM.text(name, label, **({"value": FORM.default(name)} | options))

    number = FORM.number
    one_by_one = "Off: one after the other, which U-Nets, transformers and other objectives than samples need."
    return {
        "Students": [
            [
                (choice, "objective", "Objective", {"help": "What each student learns from its teacher."}),
                (choice, "sets", "Training sets", {"help": "nested: smaller N are the first samples of larger ones."}),
                (number, "first_checkpoint", "First checkpoint", {"help": "Checkpoints are log-spaced from this step to the last."}),
            ],
            [
                (number, "group_size", "Students a group", {"help": "A group is one process."}),
                (tick, "together", "Train a group in one pass", {"help": one_by_one}),
                (tick, "keep_students", "Keep the students", {}),
            ],
        ],
        "Training": [
            [(number, "batch_size", "Batch size", {}), (choice, "schedule", "Schedule", {}), (number, "warmup_steps", "Warm-up steps", {})],
            [(choice, "ema", "Weight average", {}), (number, "ema_decay", "Decay", {"step": 0.001}), (number, "ema_width", "Width", {})],
            [
                (number, "p_mean", "Mean of ln sigma", {"placeholder": "the family's"}),
                (number, "p_std", "Spread of ln sigma", {"placeholder": "the family's"}),
                (number, "sigma_data", "Sigma of the data", {"placeholder": "the teacher's"}),
            ],
            [
                (number, "clip_norm", "Gradient clipping", {"placeholder": "off"}),
                (number, "dropout", "Dropout", {}),
                (tick, "flips", "Mirror half of the images", {}),
            ],
        ],
        "Measuring": [
            [
                (choice, "solver", "Solver", {}),
                (text, "solver_steps", "Solver steps", {"help": AUTO_STEPS}),
            ],
            [(choice, "descriptor", "Descriptor", {}), (number, "noise_seed", "First noise seed", {})],
            [(tick, "diagnostic_map", "Also measure with the teacher outside the trained range", {"help": DIAGNOSTIC})],
        ],
        "Machine": [
            [(choice, "device", "Device", {}), (choice, "precision", "Precision", {}), (tick, "compile", "Compile", {"help": "For GPUs."})]
        ],
    }


def read(drawn: dict[str, Slot]) -> SweepConfig:
    """Return the sweep that the form describes; raises InputError with the field at fault."""
    from pages.forms.sweep_fields import SWEEP_FORM, sweep_of

    return sweep_of(SWEEP_FORM.read(drawn))


def cost(config: SweepConfig) -> None:
    """Show what the sweep costs; raises InputError for what cannot start."""
    from pages.frame.sign_in import may_use
    from pages.widgets import html as words

    counted = f"{words.count(len(config.sizes), 'size')} × {len(config.num_samples)} N × {words.count(len(config.seeds), 'seed')}"
    rows = [("Students", f"{config.num_students:,}: {counted}"), ("Training", f"{config.num_students * config.steps:,} steps in all")]
    try:
        if may_use():
            rows += priced(config)
    finally:
        st.html(words.facts(rows))
    if may_use():
        st.caption(
            "A rough guess for this machine with nothing else to do. One that was stopped goes on where it was: Try again on the Runs page."
        )


def priced(config: SweepConfig) -> list[tuple[str, str]]:
    """Look the teacher up and return what the sweep costs on this machine; raises InputError for what cannot start."""
    from pages.forms.checks import check_device, shows_cuda
    from pages.forms.models import inspect_role
    from pages.frame.sign_in import check_request
    from pages.widgets import html as words
    from pfd_engine.planning.sweep import of_teacher

    check_request(config)
    check_device(config.device)
    with st.spinner("Looking the teacher up…"):
        info = inspect_role("teacher", config.teacher)
    found = of_teacher(config, info, has_gpu=shows_cuda())
    smallest, largest = (words.parameters(pick(found.parameters.values())) for pick in (min, max))
    return [
        ("Parameters", smallest if smallest == largest else f"{smallest} to {largest}"),
        ("Training sets", words.count(found.training_set_calls, "teacher call")),
        ("Processes", f"{found.processes} at once, {words.count(found.groups, 'group')}"),
        ("Memory", f"about {words.size(found.memory_bytes)}"),
        ("Time", f"about {words.duration(found.seconds)}"),
    ]


def as_file(config: SweepConfig) -> None:
    """Draw the sweep as TOML, to copy or to download."""
    from pfd_engine.configs.sweep_files import name_of, spec_text

    text = spec_text(config)
    if name_of(config) is None:
        st.caption("The command reads this file:")
    with st.expander("The same as a file", type="compact"):
        st.code(text, language="toml", wrap_lines=True)
    st.download_button(f"Download {config.name}.toml", text.encode(), f"{config.name}.toml", "application/toml", on_click="ignore")


with page("Sweep"):
    sweep()
