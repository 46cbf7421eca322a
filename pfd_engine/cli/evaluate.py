"""The words of `evaluate`, and the configuration that they make."""

from __future__ import annotations

import argparse

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.measure.descriptors import descriptor_names


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Add the words of `evaluate`."""
    default = {name: field.default for name, field in EvaluateConfig.model_fields.items()}

    def option(flag: str, name: str, text: str, metavar: str, *, required: bool = False) -> None:
        # Values stay text here: the configuration checks them, in the same words as the form.
        value = argparse.SUPPRESS if required else default[name]
        parser.add_argument(flag, dest=name, metavar=metavar, default=value, required=required, help=text)

    option("--teacher", "teacher", "owner/name[@revision] on the Hub, or a path that starts with '.', '/' or '~'", "REF", required=True)
    option("--student", "student", "the distilled model, named in the same way", "REF", required=True)
    option("--training-set", "training_set", "adds E_mem and the memorization ratio; None: what the student's folder names", "REF")
    option("--noises", "num_noises", "number of noises to compare both models at", "M")
    option("--seed", "seed", "first seed of the noises", "SEED")
    option("--solver", "solver", f"PF-ODE solver: {', '.join(SOLVERS)}", "NAME")
    option("--steps", "steps", "steps of the PF-ODE solver; auto: 18, 36 or 72, by the solver's own error", "N")
    option("--student-steps", "student_steps", "steps of a few-step student; None: what its configuration says", "K")
    option("--sigma-min", "sigma_min", "lowest noise level; None: the models' own range", "SIGMA")
    option("--sigma-max", "sigma_max", "highest noise level; None: the models' own range", "SIGMA")
    option("--descriptor", "descriptor", f"what is compared: {', '.join(descriptor_names())}", "NAME")
    option("--descriptor-file", "descriptor_file", "weights of a descriptor that is not on the Hub", "FILE")
    option("--descriptor-sha256", "descriptor_sha256", "sha256 of that file", "HEX")
    parser.add_argument("--allow-torchscript", action="store_true", help="allow a TorchScript file, which is code, as descriptor")
    option("--batch-size", "batch_size", "noises at a time", "B")
    option("--device", "device", "auto, cpu, cuda or cuda:N", "DEVICE")
    option("--target-relative-error", "target_relative_error", "stop once half the interval is below this share of PFD; None: off", "X")
    option(
        "--outside-range",
        "outside_range",
        "teacher: a diagnostic map, with the teacher where training drew few noises",
        "SIDE",
    )
    parser.add_argument("--queue", action="store_true", help="leave the run to the worker instead of executing it now")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def evaluate_config(options: argparse.Namespace) -> EvaluateConfig:
    """Return the configuration that the parsed words ask for; raises InputError."""
    return EvaluateConfig.parse({name: getattr(options, name) for name in EvaluateConfig.model_fields if hasattr(options, name)})
