"""The fields of the Distill form: what there is to choose, the table of sizes, and what is folded away."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from pages.common import words
from pages.common.checks import NEEDS_FILE
from pages.common.fields import Slot
from pages.common.forms import DEVICES
from pages.common.forms import DISTILL_FORM as FORM
from pages.common.layout import is_demo
from pages.common.models import inspect_checkpoint
from pfd_engine.descriptors import descriptor_names
from pfd_engine.distill.ladders import LADDERS, MIB, find_rung, size_names
from pfd_engine.distill.objectives import OBJECTIVES, ObjectivePreset
from pfd_engine.distill.train_config import EMA_KINDS, PRECISIONS, SCHEDULES
from pfd_engine.distill_config import INITIALIZATIONS
from pfd_engine.errors import InputError
from pfd_engine.solvers import SOLVERS

CHOICES: dict[str, list[str]] = {
    "objective": list(OBJECTIVES),
    "size": size_names(),
    "schedule": list(SCHEDULES),
    "ema": list(EMA_KINDS),
    "precision": list(PRECISIONS),
    "init": list(INITIALIZATIONS),
    "device": list(DEVICES),
    "solver": list(SOLVERS),
    "descriptor": [name for name in descriptor_names() if name not in NEEDS_FILE],
}


def teacher_shape() -> tuple[int, ...] | None:
    """Return the shape of a sample of the teacher that the form names, None where it is not known (yet)."""
    reference, revision = (str(st.session_state.get(key) or "").strip() for key in ("teacher", "teacher_revision"))
    if is_demo() or not reference:
        return None
    try:
        return inspect_checkpoint(f"{reference}@{revision}" if revision else reference).shape
    except InputError:
        return None  # the sentence stands beside the teacher's field


def ladder_html(chosen: str, shape: Sequence[int] | None) -> str:
    """Return a table of the sizes of one family as HTML, with parameters and memory for samples of `shape` where that is known."""
    rows = []
    for name, rung in LADDERS[find_rung(chosen).family].items():
        parameters, memory = rung.parameters, rung.memory_mib * MIB
        if shape is not None:
            try:
                rung.check_shape(shape)
            except InputError:
                shape = None  # the sentence stands beside the size
            else:
                parameters, memory = rung.count_parameters(shape), rung.training_bytes(shape, 128)
        mark = ' aria-current="true"' if name == chosen else ""
        rows.append(f"<tr{mark}><td>{escape(name)}</td><td>{words.parameters(parameters)}</td><td>{words.size(memory)}</td></tr>")
    head = "<tr><th>Size</th><th>Parameters</th><th>Memory, batch of 128</th></tr>"
    return f'<table class="plain ladder"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def advanced(preset: ObjectivePreset) -> dict[str, Slot]:
    """Draw the fields that are seldom needed, by what they are for."""
    slots: dict[str, Slot] = {}
    for heading, draw in (("Training", training), ("Noise and data", noise), ("Seeds and weights", weights), ("Machine", machine)):
        st.markdown(f"**{heading}**")
        slots |= draw(preset)
    st.markdown("**Measuring it**")
    return slots | measuring()


def training(preset: ObjectivePreset) -> dict[str, Slot]:
    """Draw the optimizer's settings and those of the average of the weights."""
    slots: dict[str, Slot] = {}
    first, second, third = st.columns(3)
    with first:
        slots["batch_size"] = FORM.number("batch_size", "Batch size", placeholder=str(preset.batch_size))
        slots["warmup_steps"] = FORM.number(
            "warmup_steps", "Warm-up steps", placeholder=str(preset.warmup_steps), help="Steps over which the learning rate rises."
        )
        slots["ema"] = FORM.choice("ema", "Average of the weights", CHOICES["ema"])
    with second:
        slots["learning_rate"] = FORM.number("learning_rate", "Learning rate", placeholder=f"{preset.learning_rate:g}")
        slots["clip_norm"] = FORM.number("clip_norm", "Clip the gradient at", placeholder="off", help="Largest norm.")
        slots["ema_decay"] = FORM.number("ema_decay", "Its decay", step=0.001, help="Of the exponential average.")
    with third:
        slots["schedule"] = FORM.choice(
            "schedule", "Schedule", CHOICES["schedule"], placeholder=preset.schedule, help="Learning rate along the steps."
        )
        slots["checkpoints"] = FORM.number(
            "checkpoints", "Kept training steps", help="How many log-spaced training steps to keep as checkpoints, besides the last."
        )
        slots["ema_width"] = FORM.number("ema_width", "Its width", help="Relative width of the power-function average.")
    return slots


def noise(preset: ObjectivePreset) -> dict[str, Slot]:
    """Draw the settings of the noise in training and of the data."""
    slots: dict[str, Slot] = {}
    first, second, third = st.columns(3)
    with first:
        slots["p_mean"] = FORM.number("p_mean", "Mean of ln sigma", placeholder="the family's")
        slots["dropout"] = FORM.number("dropout", "Dropout", help="Share of hidden values dropped in training. It moves memorization.")
    with second:
        slots["p_std"] = FORM.number("p_std", "Deviation of ln sigma", placeholder="the family's")
        slots["flips"] = FORM.tick("flips", "Mirror half of the images", help="Left to right. It moves memorization.")
    with third:
        slots["sigma_data"] = FORM.number("sigma_data", "Sigma of the data", placeholder="the teacher's")
    return slots


def weights(preset: ObjectivePreset) -> dict[str, Slot]:
    """Draw seeds, initial weights and where the student goes."""
    slots: dict[str, Slot] = {}
    first, second, third = st.columns(3)
    with first:
        slots["seed"] = FORM.number("seed", "Seed", help="Decides initial weights, order of the data and noise.")
    with second:
        slots["first_seed"] = FORM.number(
            "first_seed", "First training noise", help="The training set is the teacher's samples from it on."
        )
    with third:
        slots["init"] = FORM.choice(
            "init", "Initial weights", CHOICES["init"], help="auto: the teacher's for a few-step student of its size, random for any other."
        )
    slots["output"] = FORM.text("output", "Folder for the student", placeholder="in the run's own folder")
    return slots


def machine(preset: ObjectivePreset) -> dict[str, Slot]:
    """Draw device and precision."""
    slots: dict[str, Slot] = {}
    first, second, third = st.columns(3, vertical_alignment="bottom")
    with first:
        slots["device"] = FORM.choice("device", "Device", CHOICES["device"], help="auto: the first GPU, else the CPU.")
    with second:
        slots["precision"] = FORM.choice("precision", "Precision", CHOICES["precision"], help="bfloat16 is for GPUs.")
    with third:
        slots["compile"] = FORM.tick("compile", "Compile the network", help="For GPUs.")
    return slots


def measuring() -> dict[str, Slot]:
    """Draw the settings of the training set's flow and of the evaluation."""
    slots: dict[str, Slot] = {}
    first, second = st.columns(2)
    with first:
        slots["solver"] = FORM.choice("solver", "Solver", CHOICES["solver"], help="Draws the training set, too.")
        slots["num_noises"] = FORM.number("num_noises", "Noises", step=256)
    with second:
        slots["solver_steps"] = FORM.number("solver_steps", "Solver steps")
        slots["descriptor"] = FORM.choice("descriptor", "Descriptor", CHOICES["descriptor"])
    return slots
