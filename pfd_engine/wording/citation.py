"""How to report a number: a paragraph of methods from its provenance, and BibTeX for the paper and for this software."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfd_engine import __version__
from pfd_engine.findings.verdicts import said
from pfd_engine.wording import numbers as words
from pfd_engine.wording.methods import BIBTEX

if TYPE_CHECKING:
    from pfd_engine.analysis import Verdict

COMMIT = re.compile(r"[0-9a-f]{7,64}(-dirty)?")
VERSION = re.compile(r"\d[\w.+-]{0,40}")
FINDINGS = {
    "scaling": "Students of several sizes and numbers N of training samples were trained, and N* is where E_gen and E_mem cross.",
    "training-dynamics": "Students were measured along their training.",
    "bias-variance": "Students of one size and N on independent training sets were measured, and E_gen squared was split into bias and "
    "variance over them.",
    "trade-offs": "Each student's distance is set against what it costs.",
}


def bibtex(run: Mapping[str, Any] | None = None) -> str:
    """Return BibTeX entries for the paper that introduced PFD and for this software; `run` may name the `git_commit` and the `versions`
    that measured, which are believed only where they look like one."""
    found = run or {}
    commit, versions = str(found.get("git_commit") or ""), found.get("versions")
    named = str(versions.get("pfd_engine") or "") if isinstance(versions, Mapping) else ""
    version = named if VERSION.fullmatch(named) else __version__
    lines = [
        "@software{pfd_dashboard,",
        "  title   = {pfd-dashboard: Probability flow distance for distilled diffusion models},",
        "  author  = {{The pfd-dashboard developers}},",
        f"  version = {{{version}}}" + ("," if COMMIT.fullmatch(commit) else ""),
    ]
    if COMMIT.fullmatch(commit):
        lines.append(f"  note    = {{commit {commit}}}")
    return f"{BIBTEX}\n\n" + "\n".join([*lines, "}"])


def methods_of_result(details: Mapping[str, Any], verdict: Verdict | None = None) -> str:
    """Return a paragraph of methods for one evaluation or distillation, from the object that `--json` prints, with the verdict on it
    (`stored_verdict`); entries that are missing are left out."""
    teacher, student = _mapping(details.get("teacher")), _mapping(details.get("student"))
    made = _mapping(details.get("distillation"))
    facts = {
        **{name: details.get(name) for name in ("num_noises", "noise_seed", "solver", "sigma_min", "sigma_max", "descriptor")},
        "solver_steps": details.get("steps"),
        "student_steps": details.get("student_steps"),
        "teacher": teacher.get("reference"),
        "teacher_revision": teacher.get("revision"),
    }
    memorization = _mapping(details.get("memorization"))
    value = words.with_interval(_number(details.get("value")), _number(details.get("ci_low")), _number(details.get("ci_high")))
    method = {"normal": "normal approximation"}.get(str(details.get("interval_method")), str(details.get("interval_method") or ""))
    trained = _text(made.get("objective"))
    sentences = [
        f"We measured the probability flow distance (PFD; Zhang et al., 2025) of the student {_model(student)} "
        + (f"(distilled by {trained}) " if trained else "")
        + f"to its teacher {_model(teacher)}.",
        *_procedure(facts),
        f"PFD, the root mean square of these distances, is {value}" + (f" (95 % interval over noises, {method})." if method else ".")
        if details.get("value") is not None
        else "",
        *_beside(details),
        _memorization(memorization),
        _verdict(verdict, details),
        f"Note that {_text(details['coupling_note']).rstrip('.')}." if details.get("coupling_note") else "",
        _software(details),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def methods_of_finding(experiment: str, facts: Mapping[str, Any], run: Mapping[str, Any] | None = None) -> str:
    """Return a paragraph of methods for a finding, from what all of its numbers share (`sweep_queries.sweep_facts`) and its run."""
    seeds = len(facts.get("student_seeds") or ())
    students = f" There are {words.count(seeds, 'training seed')} of each kind of student." if seeds > 1 else ""
    trained = [
        f"objective {facts['objective']}" if facts.get("objective") else "",
        words.count(facts["step"], "training step") if isinstance(facts.get("step"), int) else "",
        _text(facts.get("training")),
    ]
    training = ", ".join(part for part in trained if part)
    teacher = _model({"reference": facts.get("teacher"), "revision": facts.get("teacher_revision")}) if facts.get("teacher") else ""
    sentences = [
        "We measured probability flow distances (PFD; Zhang et al., 2025) of students to their teacher"
        + (f", {teacher}." if teacher else "."),
        f"{FINDINGS[experiment]}{students}",
        f"Training: {training}." if training else "",
        *_procedure(facts),
        "E_gen is the root mean square of the distances to the teacher, E_mem of those to the exact flow of the student's training set.",
        "Intervals are 95 %.",
        _software(run or {}),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _procedure(facts: Mapping[str, Any]) -> list[str]:
    """Return the sentences about noises, solver and descriptor."""
    count, start = facts.get("num_noises"), facts.get("noise_seed")
    noises = f"From each of {count:,} noises" if isinstance(count, int) else "From each noise"
    if isinstance(count, int) and isinstance(start, int):
        noises += f" (seeds {start} to {start + count - 1})"
    solver, steps = _text(facts.get("solver")), facts.get("solver_steps")
    how = f" with {solver}" if solver else ""
    how += f" in {words.count(steps, 'step')}" if isinstance(steps, int) else ""
    high, low = _number(facts.get("sigma_max")), _number(facts.get("sigma_min"))
    how += f" from sigma = {high:g} to {low:g}" if high is not None and low is not None else ""
    own = facts.get("student_steps")
    descriptor = _text(facts.get("descriptor")) or "pixel"
    by = "pixel by pixel" if descriptor == "pixel" else f"by their {descriptor} features"
    return [
        f"{noises} the probability flow ODE of both models was solved{how}"
        + (f" (the student took {words.count(own, 'step')} of its own)" if isinstance(own, int) else "")
        + f", and the two end points were compared {by}."
    ]


def _beside(details: Mapping[str, Any]) -> list[str]:
    """Return the sentences about what a PFD is set beside, and about the solver's error."""
    spread, shuffled = _number(details.get("spread")), _number(details.get("shuffled"))
    floor, error = _number(_mapping(details.get("retrained_floor")).get("value")), _number(details.get("solver_error"))
    known = [
        f"the best constant image lies {words.number(spread)} from the teacher" if spread is not None else "",
        f"end points paired at random lie {words.number(shuffled)} apart" if shuffled is not None else "",
        f"a teacher retrained with another seed lies {words.number(floor)} from it" if floor is not None else "",
    ]
    parts = [part for part in known if part]
    how = "extrapolated from" if details.get("solver_error_extrapolated") else "bounded by the change with"
    solver = "" if error is None else f"The solver's own part of this PFD is about {error:.2g}, {how} two and four times the steps."
    return [f"For comparison, {', and '.join(parts)}." if parts else "", solver.replace(" -", " −")]


def _verdict(verdict: Verdict | None, details: Mapping[str, Any]) -> str:
    if verdict is None or verdict.reason not in ("told apart", "close", "floor", "one sample"):
        return ""
    told = said(verdict, details)
    return "" if told is None else f"{told.lead}, by 95 % intervals paired by noise: {told.reason}."


def _memorization(found: Mapping[str, Any]) -> str:
    e_mem, samples = _number(found.get("e_mem")), found.get("num_samples")
    if e_mem is None:
        return ""
    value = words.with_interval(e_mem, _number(found.get("ci_low")), _number(found.get("ci_high")))
    of_set = f"its {samples:,} training samples" if isinstance(samples, int) else "its training set"
    return f"E_mem, the same distance of the student to the exact flow of {of_set}, is {value}."


def _software(run: Mapping[str, Any]) -> str:
    versions = _mapping(run.get("versions"))
    version = str(versions.get("pfd_engine") or __version__)
    commit = str(run.get("git_commit") or "")
    named = f"pfd-dashboard {version}" if VERSION.fullmatch(version) else "pfd-dashboard"
    named += f" (commit {commit[:12]}{'-dirty' if commit.endswith('-dirty') else ''})" if COMMIT.fullmatch(commit) else ""
    others = [f"{package} {versions[package]}" for package in ("torch", "numpy") if VERSION.fullmatch(str(versions.get(package)))]
    return f"Computed with {named}" + (f", {', '.join(others)}." if others else ".")


def _model(side: Mapping[str, Any]) -> str:
    name, revision = words.short(_text(side.get("reference")) or "?"), words.short_revision(_text(side.get("revision")))
    return f"{name} (revision {revision})" if revision else name


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value[:300] if isinstance(value, str) else ""
