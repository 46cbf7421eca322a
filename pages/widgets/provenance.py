"""Where the numbers of a result come from: models, seeds, solver, versions, device, and the command that measures them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pages.widgets import html as words
from pages.widgets.result import Result, as_float, mapping
from pfd_engine.hub.references import HubReference, parse_reference

if TYPE_CHECKING:
    from pfd_engine.configs.base import RunConfig


def command(result: Result) -> str:
    """Return the command line that measures the same again: Hub references are pinned to the commits that were measured."""
    return again(result).command()


def again(result: Result, **changes: Any) -> RunConfig:
    """Return the configuration that measures the same again, with `changes`; Hub references are pinned to what was measured."""
    assert result.config is not None
    roles = [role for role in ("teacher", "student") if role in type(result.config).model_fields]
    return result.config.model_copy(update={role: pinned(result, role, getattr(result.config, role)) for role in roles} | changes)


def pinned(result: Result, role: str, reference: str) -> str:
    """Return a reference of the result's teacher or student, on the Hub with the commit that was measured."""
    parsed, revision = parse_reference(reference), str(mapping(result.details.get(role)).get("revision"))
    if isinstance(parsed, HubReference) and re.fullmatch(r"[0-9a-f]{40}", revision):
        return f"{parsed.repository}@{revision}"
    return reference


def provenance(result: Result) -> str:
    """Return where the numbers come from as HTML: models, seeds, solver, versions, device."""
    details, summary = result.details, result.summary
    rows = [("Source", words.source(summary.source))] if summary.source not in ("workspace", "published") else []
    for role in ("teacher", "student"):
        model = mapping(details.get(role))
        rows += [
            (role.capitalize(), str(model.get("reference") or getattr(summary, role))),
            (f"{role.capitalize()} revision", str(model.get("revision") or "–")),
            (f"{role.capitalize()} model", f"{model.get('family') or '–'}, {words.parameters(model.get('parameters'))} parameters"),
        ]
    seed, count = details.get("noise_seed"), details.get("num_noises")
    calls = mapping(details.get("network_calls"))
    memorization = mapping(details.get("memorization"))
    if memorization:
        samples = words.count(memorization.get("num_samples") or "–", "sample")
        rows.append(("Training set", f"{memorization.get('training_set') or '–'}, {samples}"))
    rows += [
        ("Noise seeds", f"{seed} to {seed + count - 1} ({count:,})" if isinstance(seed, int) and isinstance(count, int) else "–"),
        ("Solver", f"{details.get('solver')}, {words.count(details.get('steps') or 0, 'step')}" + _student_steps(details)),
        ("Sigma", f"{_number(details.get('sigma_max'))} down to {_number(details.get('sigma_min'))}"),
        ("Network calls per noise", f"teacher {calls.get('teacher', '–')}, student {calls.get('student', '–')}"),
        ("Change with twice the steps", _number(details.get("discretization_error"))),
        ("Descriptor", str(details.get("descriptor")) + (f", weights sha256 {sha}" if (sha := details.get("descriptor_sha256")) else "")),
        ("Interval", str(details.get("interval_method") or "–")),
        ("Device", " · ".join(str(details[key]) for key in ("device", "device_name") if details.get(key)) or "–"),
        ("Time taken", words.duration(as_float(details.get("seconds")))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in mapping(details.get("versions")).items()) or "–"),
        ("Git commit", str(details.get("git_commit") or "–")),
        ("Run", summary.run_id),
    ]
    return words.facts(rows)


def _student_steps(details: Mapping[str, Any]) -> str:
    steps = details.get("student_steps")
    return f"; student {words.count(steps, 'step')} of its own" if steps else ""


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "–"
