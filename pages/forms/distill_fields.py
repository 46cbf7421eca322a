"""The fields of the Distill form: what there is to choose, the table of sizes, and what is folded away."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from pages.forms.checks import NEEDS_FILE
from pages.forms.form import Cell, Slot, draw_rows
from pages.forms.launch import DEVICES
from pages.forms.launch import DISTILL_FORM as FORM
from pages.forms.models import inspect_checkpoint
from pages.frame.sign_in import may_look_at
from pages.widgets import html as words
from pfd_engine.configs.distill import INITIALIZATIONS
from pfd_engine.configs.training import EMA_KINDS, PRECISIONS, SCHEDULES
from pfd_engine.distill.objectives import OBJECTIVES, ObjectivePreset
from pfd_engine.errors import InputError
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.measure.descriptors import descriptor_names
from pfd_engine.models.networks.sizes import LADDER_BATCH, LADDERS, MIB, find_rung, size_names

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
    if not reference or not may_look_at(reference):
        return None
    try:
        return inspect_checkpoint(f"{reference}@{revision}" if revision else reference).shape
    except InputError:
        return None  # the sentence stands beside the teacher's field


def ladder_html(chosen: str, shape: Sequence[int] | None, batch_size: int) -> str:
    """Return a table of the sizes of one family as HTML, with parameters and memory for samples of `shape` where that is known."""
    rows, batch = [], batch_size if shape is not None else LADDER_BATCH
    for name, rung in LADDERS[find_rung(chosen).family].items():
        parameters, memory = rung.parameters, rung.memory_mib * MIB
        if shape is not None:
            try:
                rung.check_shape(shape)
            except InputError:
                shape, batch = None, LADDER_BATCH  # the sentence stands beside the size
            else:
                parameters, memory = rung.count_parameters(shape), rung.training_bytes(shape, batch)
        mark = ' aria-current="true"' if name == chosen else ""
        rows.append(f"<tr{mark}><td>{escape(name)}</td><td>{words.parameters(parameters)}</td><td>{words.size(memory)}</td></tr>")
    head = f"<tr><th>Size</th><th>Parameters</th><th>Memory, batch of {batch}</th></tr>"
    return f'<table class="plain"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def advanced(preset: ObjectivePreset) -> dict[str, Slot]:
    """Draw the fields that are seldom needed, by what they are for."""
    return draw_rows(_rows(preset))


def _rows(preset: ObjectivePreset) -> dict[str, list[list[Cell]]]:
    """Return the rows below each heading; a cell is how it is drawn, the field, its label and its options."""
    number, tick, text = FORM.number, FORM.tick, FORM.text

    def choice(name: str, label: str, **options: Any) -> Slot:
        return FORM.choice(name, label, CHOICES[name], **options)

    auto = "auto: the teacher's for a few-step student of its size, random for any other."
    return {
        "Training": [
            [
                (number, "batch_size", "Batch size", {"placeholder": str(preset.batch_size)}),
                (number, "learning_rate", "Learning rate", {"placeholder": f"{preset.learning_rate:g}"}),
                (choice, "schedule", "Schedule", {"placeholder": preset.schedule, "help": "Learning rate along the steps."}),
            ],
            [
                (number, "warmup_steps", "Warm-up steps", {"placeholder": str(preset.warmup_steps)}),
                (number, "clip_norm", "Gradient clipping", {"placeholder": "off", "help": "Largest norm of the gradient."}),
                (number, "checkpoints", "Kept steps", {"help": "How many log-spaced training steps to keep, besides the last."}),
            ],
            [
                (choice, "ema", "Weight average", {"help": "What the student's weights are an average of."}),
                (number, "ema_decay", "Decay", {"step": 0.001, "help": "Of the exponential average."}),
                (number, "ema_width", "Width", {"help": "Relative width of the power-function average."}),
            ],
        ],
        "Noise and data": [
            [
                (number, "p_mean", "Mean of ln sigma", {"placeholder": "the family's"}),
                (number, "p_std", "Spread of ln sigma", {"placeholder": "the family's", "help": "Standard deviation."}),
                (number, "sigma_data", "Sigma of the data", {"placeholder": "the teacher's"}),
            ],
            [
                (number, "dropout", "Dropout", {"help": "Share of hidden values dropped in training. It moves memorization."}),
                (tick, "flips", "Mirror half of the images", {"help": "Left to right. It moves memorization."}),
            ],
        ],
        "Seeds and weights": [
            [
                (number, "seed", "Seed", {"help": "Decides initial weights, order of the data and noise."}),
                (number, "first_seed", "First training noise", {"help": "The teacher's samples from it on are the training set."}),
                (choice, "init", "Initial weights", {"help": auto}),
            ],
            [(text, "output", "Folder for the student", {"placeholder": "in the run's own folder"})],
        ],
        "Machine": [
            [
                (choice, "device", "Device", {"help": "auto: the first GPU, else the CPU."}),
                (choice, "precision", "Precision", {"help": "bfloat16 is for GPUs."}),
                (tick, "compile", "Compile", {"help": "For GPUs."}),
            ],
        ],
        "Measuring it": [
            [
                (choice, "solver", "Solver", {"help": "It draws the training set, too."}),
                (number, "solver_steps", "Solver steps", {}),
            ],
            [(number, "num_noises", "Noises", {"step": 256}), (choice, "descriptor", "Descriptor", {})],
        ],
    }
