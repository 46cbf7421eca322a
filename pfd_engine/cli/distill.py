"""The options of `distill` on the command line, and how its result is shown there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pfd_engine.cli.output import describe_result
from pfd_engine.configs.distill import INITIALIZATIONS, DistillConfig
from pfd_engine.configs.training import EMA_KINDS, PRECISIONS, SCHEDULES
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.measure.descriptors import descriptor_names
from pfd_engine.models.networks.sizes import LADDERS


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


_SIZES = "; ".join(f"{next(iter(rungs))} to {next(reversed(rungs))}" for rungs in LADDERS.values())
OPTIONS: tuple[tuple[str, str, str], ...] = (
    ("teacher", "REF", "owner/name[@revision] on the Hub, or a path that starts with '.', '/' or '~'"),
    ("size", "SIZE", f"size of the student: {_SIZES}"),
    ("objective", "NAME", f"what it learns: {_names(list(OBJECTIVES))}"),
    ("num_samples", "N", "number of teacher samples in the training set; None: what suits the objective"),
    ("steps", "STEPS", "training steps; None: what suits the objective"),
    ("seed", "SEED", "decides initial weights, order of the data and noise"),
    ("first_seed", "SEED", "first noise of the training set, whose samples follow it"),
    ("student_steps", "K", "network calls of a few-step student; None: what suits the objective"),
    ("output", "DIR", "folder for the student; None: in the run's own folder"),
    ("init", "NAME", f"initial weights: {_names(INITIALIZATIONS)}; auto: the teacher's for few-step students of its size"),
    ("batch_size", "B", "samples a training step; None: what suits the objective"),
    ("learning_rate", "X", "learning rate of Adam; None: what suits the objective"),
    ("schedule", "NAME", f"learning rate along the steps: {_names(SCHEDULES)}; None: what suits the objective"),
    ("warmup_steps", "STEPS", "steps over which the learning rate rises; None: what suits the objective"),
    ("clip_norm", "X", "largest norm of the gradient; None: not clipped"),
    ("ema", "NAME", f"average of the weights: {_names(EMA_KINDS)}"),
    ("ema_decay", "X", "decay of the exponential average"),
    ("ema_width", "X", "relative width of the power-function average"),
    ("p_mean", "X", "mean of ln sigma in training; None: that of the family"),
    ("p_std", "X", "standard deviation of ln sigma in training; None: that of the family"),
    ("sigma_data", "X", "standard deviation of the data; None: the teacher's"),
    ("dropout", "X", "share of hidden values dropped in training"),
    ("flips", "", "mirror half of the training images from left to right"),
    ("checkpoints", "COUNT", "how many log-spaced training steps to keep beside the last"),
    ("precision", "NAME", f"precision of the network in training: {_names(PRECISIONS)} (a GPU)"),
    ("compile", "", "compile the network (a GPU)"),
    ("device", "DEVICE", "auto, cpu, cuda or cuda:N"),
    ("solver", "NAME", f"PF-ODE solver of the training set and the evaluation: {_names(list(SOLVERS))}"),
    ("solver_steps", "N", "its steps"),
    ("num_noises", "M", "number of noises of the evaluation"),
    ("descriptor", "NAME", f"what the evaluation compares: {_names(descriptor_names())}"),
)


def add_distill_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `DistillConfig`; values stay text: the configuration checks them, in the same words as the form."""
    for name, metavar, text in OPTIONS:
        field, flag = DistillConfig.model_fields[name], DistillConfig.flag(name)
        if field.default is False:
            parser.add_argument(flag, dest=name, action="store_true", help=text)
        elif field.is_required():
            parser.add_argument(flag, dest=name, metavar=metavar, required=True, default=argparse.SUPPRESS, help=text)
        else:
            parser.add_argument(flag, dest=name, metavar=metavar, default=field.default, help=text)
    parser.add_argument("--queue", action="store_true", help="leave the run to the worker instead of executing it now")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def distill_config(options: argparse.Namespace) -> DistillConfig:
    """Return the checked configuration; raises InputError with one sentence."""
    return DistillConfig.parse({name: getattr(options, name) for name in DistillConfig.model_fields if hasattr(options, name)})


def describe_distillation(result: dict[str, Any]) -> str:
    """Return the result of a distillation as a few lines for a terminal."""
    made = result.get("distillation") or {}
    lines = [
        f"student        {made.get('student')} ({made.get('size')}, initial weights {made.get('initialized')})",
        f"learned        {made.get('objective')} from {made.get('num_samples') or 0:,} samples in {made.get('steps') or 0:,} steps",
    ]
    for other in (made.get("evaluations") or [])[1:]:
        calls = (other.get("network_calls") or {}).get("student")
        low, high = other.get("ci_low") or 0, other.get("ci_high") or 0
        lines.append(f"{f'{calls} steps':<14} PFD {other.get('value') or 0:.4g}  (95 % interval {low:.4g} to {high:.4g})")
    return "\n".join([*lines, describe_result(result)])
