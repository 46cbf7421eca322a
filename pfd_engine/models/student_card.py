"""The model card of a student: its teacher, samples, objective and budget, and its errors with their intervals. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pfd_engine.flow.trained_range import FEWEST_DRAWS, trained_range_of, why_no_trained_range

NOT_MEASURED = "Its errors have not been measured yet."


@dataclass(frozen=True)
class CardFacts:
    """What a card says besides the measured errors. `license` is the teacher's."""

    title: str
    teacher: str
    teacher_revision: str
    license: str | None
    objective: str
    what: str
    training_set: str
    num_samples: int
    parameters: int
    initialized: str
    seed: int
    steps: int
    training: Mapping[str, Any]


def write_card(facts: CardFacts, evaluations: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the card as Markdown; `evaluations` are results as `evaluate --json` prints them."""
    settings = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in facts.training.items())
    images = facts.steps * int(facts.training["batch_size"])
    license_line = f"license: {facts.license}\n" if facts.license else ""
    return f"""---
{license_line}tags: [diffusion, distillation, probability-flow-distance]
---
# {facts.title}

A student with {facts.parameters:,} parameters, distilled from `{facts.teacher}` at revision `{facts.teacher_revision}` by the objective
**{facts.objective}** ({facts.what}) on {facts.num_samples:,} of the teacher's samples ({facts.training_set}).

{_errors(evaluations)}
| training | |
| --- | --- |
| budget | {facts.steps:,} steps, {images:,} images seen |
| initial weights | {facts.initialized} |
| seed | {facts.seed} |
{settings}
| noise levels trained on | {_trained_on(facts)} |

`training_set.json` says how its samples are drawn from the teacher again.
"""


def _trained_on(facts: CardFacts) -> str:
    """Return the trained range in words, or why there is none."""
    metadata = {"objective": facts.objective, "step": facts.steps, "training": facts.training}
    found = trained_range_of(metadata)
    if found is None:
        return f"no range is known: {why_no_trained_range(metadata)}"
    return f"sigma {found[0]:.3g} to {found[1]:.3g}; training drew fewer than {FEWEST_DRAWS} samples on either side of it"


def _errors(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a row an evaluation, and the note on coupling where it belongs."""
    if not evaluations:
        return f"{NOT_MEASURED}\n"
    first = evaluations[0]
    lines = [
        f"Measured over {first['num_noises']:,} noises ({first['descriptor']}, against the teacher with {first['solver']}); "
        "intervals are 95 %, over noises alone.",
        "",
        "| network calls | E_gen, distance to the teacher | E_mem, distance to the training samples' own map | memorization ratio |",
        "| --- | --- | --- | --- |",
    ]
    for result in evaluations:
        memorization = result.get("memorization") or {}
        e_mem = _interval(memorization, "e_mem") if memorization else "not measured"
        ratio = memorization.get("memorization_ratio")
        share = "-" if ratio is None else f"{ratio:.3f}"
        lines.append(f"| {result['network_calls']['student']} | {_interval(result, 'value')} | {e_mem} | {share} |")
    notes = {str(result["coupling_note"]) for result in evaluations if result.get("coupling_note")}
    if notes:
        calls = ", ".join(str(result["network_calls"]["student"]) for result in evaluations if result.get("coupling_note"))
        lines += ["", *(f"With {calls} network calls: {note}." for note in notes)]
    return "\n".join(lines) + "\n"


def _interval(numbers: Mapping[str, Any], name: str) -> str:
    return f"{numbers[name]:.3f} ({numbers['ci_low']:.3f} to {numbers['ci_high']:.3f})"
