"""The fields of the Sweep form: one flat configuration of texts and numbers, and its way to a sweep's nested one and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_origin

from pydantic import create_model

from pages.forms.form import Form
from pfd_engine.configs.base import RunConfig
from pfd_engine.configs.sweep import EvaluationOptions, SweepConfig, TrainingOptions
from pfd_engine.errors import InputError

LISTS = {"num_samples": "number of samples", "seeds": "seeds"}
MOST = 4096
TOP = [name for name in SweepConfig.model_fields if name not in ("kind", "training", "evaluation")]
TRAINING = {name: name for name in TrainingOptions.model_fields}
EVALUATION = {name: {"seed": "noise_seed", "steps": "solver_steps"}.get(name, name) for name in EvaluationOptions.model_fields}
SHOWN = ("teacher", "experiment", "name", "sizes", "num_samples", "seeds", "steps", "checkpoints", "num_noises", "learning_rate")


def _plain(annotation: Any) -> Any:
    """Return the type of a field as a form has it: str for a choice, and without its limits, which the configuration checks."""
    if get_origin(annotation) is Literal:
        return str
    text = str(annotation)
    kind = next((kind for kind in (bool, int, float) if kind.__name__ in text), str)
    return kind | None if "None" in text else kind


def _fields() -> dict[str, Any]:
    """Return name, type and default of each field."""
    known = SweepConfig.model_fields
    fields: dict[str, Any] = {name: (_plain(known[name].annotation), known[name].get_default()) for name in TOP}
    for names, options in ((TRAINING, TrainingOptions), (EVALUATION, EvaluationOptions)):
        for name, flat in names.items():
            fields[flat] = (_plain(options.model_fields[name].annotation), options.model_fields[name].default)
    fields["solver_steps"] = (str, str(fields["solver_steps"][1]))
    return fields | {
        "kind": (Literal["sweep"], "sweep"), "experiment": (str, "scaling"), "name": (str, "my-sweep"), "teacher": (str, ...),
        "sizes": (list[str], []), "num_samples": (str, ""), "seeds": (str, "0, 1, 2"),
    }  # fmt: skip


SweepFields: type[RunConfig] = create_model("SweepFields", __base__=RunConfig, **_fields())
SWEEP_FORM = Form(
    SweepFields,
    folded=tuple(name for name in SweepFields.model_fields if name != "kind" and name not in SHOWN),
    references=("teacher",),
    renamed={name: f"sweep_{name}" for name in SweepFields.model_fields if name != "teacher"},
)


def sweep_of(values: Mapping[str, Any]) -> SweepConfig:
    """Return the sweep that the form's values describe; raises InputError with the form's field at fault."""
    missing = {"sizes": "a size is missing: choose at least one", "num_samples": "N is missing: give some, as 16, 64, 256"}
    for name, sentence in missing.items():
        if not values.get(name):
            raise InputError(sentence, name)
    nested: dict[str, Any] = {name: values[name] for name in TOP if name in values}
    nested |= {name: whole_numbers(str(values[name]), name) for name in LISTS if name in values}
    for group, names in (("training", TRAINING), ("evaluation", EVALUATION)):
        nested[group] = {name: values[flat] for name, flat in names.items() if flat in values}
    if (steps := str(nested["evaluation"].get("steps", ""))).isdecimal():
        nested["evaluation"]["steps"] = int(steps[:24])
    try:
        return SweepConfig.parse(nested)
    except InputError as error:
        group, _, name = (error.field or "").rpartition(".")
        raise InputError(str(error), EVALUATION[name] if group == "evaluation" else name or None) from None


def whole_numbers(text: str, field: str) -> list[int]:
    """Read `0, 1, 4-7` as whole numbers; raises InputError."""
    numbers: list[int] = []
    for part in text.replace(",", " ").split():
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)) or len(part) > 24:
            raise InputError(f"{LISTS[field]} is {text[:60]!r}: give whole numbers, as 16, 64, 256 or 0-7", field)
        low, high = int(first), int(last or first)
        if high - low + len(numbers) >= MOST:
            raise InputError(f"{LISTS[field]} is {text[:60]!r}, which are too many: give fewer", field)
        numbers += range(low, high + 1)
    return numbers


def flat_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form's values for a sweep's configuration, as it is dumped; what is left out has its default."""
    flat: dict[str, Any] = {name: values[name] for name in TOP if name in values}
    for group, names in (("training", TRAINING), ("evaluation", EVALUATION)):
        given = values.get(group)
        flat |= {names[name]: value for name, value in given.items() if name in names} if isinstance(given, Mapping) else {}
    for name in LISTS:
        flat[name] = ", ".join(map(str, values.get(name) or ()))
    if "solver_steps" in flat:
        flat["solver_steps"] = str(flat["solver_steps"])
    return flat | {"sizes": list(values.get("sizes") or ())}


def sweep_link(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query parameters that fill the form with a sweep's configuration; defaults are left out."""
    flat = flat_values(values)
    return {**SWEEP_FORM.link(flat), SWEEP_FORM.key("sizes"): flat["sizes"]}
