"""The other pages of the snapshot: Home, the results of single pairs, and the text of the Methods page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pfd_engine import figures
from pfd_engine.analysis import convergence
from pfd_engine.findings.context import BASELINES, baselines, footnotes, how_big, marks
from pfd_engine.findings.tables import Table, percent
from pfd_engine.findings.verdicts import Judged, judge_runs, said
from pfd_engine.site.blocks import Code, Facts, Figure, Formula, Heading, Note, Page, Prose, Rows, Sentence, Wall
from pfd_engine.site.finding_pages import FILES, NAMES, OWN, Sweep, empty, provenance, read_pairs
from pfd_engine.store.database import Store
from pfd_engine.store.queries import runs as store_queries
from pfd_engine.wording import methods as methods_text
from pfd_engine.wording import numbers as words

LATEST = 12
SCORES = {"RP": "RP score (student and teacher make the same image)", "M": "M score (copies of training images)"}
LABELS = {"PFD": "PFD to the teacher", "E_mem": "E_mem to the training set", "memorization_ratio": "Memorization ratio", **SCORES}
PFD_MATHML = (
    "<mi>PFD</mi><mo>(</mo><mi>p</mi><mo>,</mo><mi>q</mi><mo>)</mo><mo>=</mo><msqrt><msub><mi>E</mi><msub><mi>x</mi><mi>T</mi></msub></msub>"
    "<msup><mrow><mo>‖</mo><mi>Ψ</mi><mo>(</mo><msub><mi>Φ</mi><mi>p</mi></msub><mo>(</mo><msub><mi>x</mi><mi>T</mi></msub><mo>)</mo><mo>)</mo>"
    "<mo>−</mo><mi>Ψ</mi><mo>(</mo><msub><mi>Φ</mi><mi>q</mi></msub><mo>(</mo><msub><mi>x</mi><mi>T</mi></msub><mo>)</mo><mo>)</mo><mo>‖</mo>"
    "</mrow><mn>2</mn></msup></msqrt>"
)
FLOW_MATHML = (
    "<mfrac><mrow><mi>d</mi><mi>x</mi></mrow><mrow><mi>d</mi><mi>σ</mi></mrow></mfrac><mo>=</mo><mfrac><mrow><mi>x</mi><mo>−</mo><mi>D</mi>"
    "<mo>(</mo><mi>x</mi><mo>;</mo><mi>σ</mi><mo>)</mo></mrow><mi>σ</mi></mfrac><mo>,</mo><mspace width='1em'></mspace><msub><mi>x</mi>"
    "<mi>T</mi></msub><mo>=</mo><mi>T</mi><mi>z</mi><mo>,</mo><mspace width='1em'></mspace><mi>z</mi><mo>∼</mo><mi>N</mi><mo>(</mo>"
    "<mn>0</mn>"
    "<mo>,</mo><mi>I</mi><mo>)</mo>"
)
DECOMPOSITION_MATHML = (
    "<msubsup><mi>E</mi><mi>gen</mi><mn>2</mn></msubsup><mo>=</mo><mfrac><mn>1</mn><mi>K</mi></mfrac><munder><mo>∑</mo><mi>k</mi></munder><msup>"
    "<mrow><mo>‖</mo><msub><mi>f</mi><mi>k</mi></msub><mo>−</mo><msup><mi>f</mi><mo>*</mo></msup><mo>‖</mo></mrow><mn>2</mn></msup><mo>=</mo>"
    "<msup><mi>bias</mi><mn>2</mn></msup><mo>+</mo><mi>variance</mi>"
)


def home_page(sweeps: dict[str, list[Sweep]]) -> Page:
    """Return the first page: what this is, and the sentence of each sweep."""
    blocks: list[Any] = [
        Prose(
            "Distilled diffusion models are judged here by **probability flow distance** (PFD): start teacher and student from the same "
            "noise and see how far apart they end. A small PFD to the teacher means that the student generalizes; a small distance to the "
            "student's own training set means that it memorizes. Every number was measured, with its interval and the images behind it."
        )
    ]
    if any(sweeps.values()):
        blocks.append(Heading("What sweeps of students show"))
    for experiment, found in sweeps.items():
        color = figures.COLORS["variance" if experiment == "bias-variance" else "E_gen"]
        for sweep in found:
            name = NAMES[experiment] + (f" ({sweep.name})" if sweep.name != experiment else "")
            blocks.append(Sentence(sweep.sentence, color, name, FILES[experiment], f"See {NAMES[experiment].lower()}"))
    return Page("index.html", "Home", "Does the student generalize or memorize?", blocks)


def results_page(store: Store, run_ids: list[str] | None) -> Page:
    """Return the page of single evaluations and distillations, newest first."""
    column, parameters = ("source", [list(OWN), LATEST]) if run_ids is None else ("run_id", [run_ids, len(run_ids)])
    runs = store.rows(
        f"select run_id, source, result from runs where result is not null and kind <> 'sweep' and list_contains(?::varchar[], {column}) "
        "qualify row_number() over (partition by run_id order by source desc) = 1 order by created desc nulls last, run_id limit ?",
        parameters,
    )
    judged = judge_runs(store, {run["run_id"]: json.loads(run["result"]) for run in runs})
    blocks = [block for run_id, found in judged.items() for block in _result(store, run_id, found)]
    return Page("results.html", "Results", "Results: one student, one teacher", empty(blocks))


def methods_page() -> Page:
    """Return what every number means and where it ends."""
    text = methods_text
    facts = [(name, f"{what[0].upper()}{what[1:]}. What it does not say: {limit}.") for name, what, limit in text.NUMBERS]
    blocks = [
        Prose(text.INTRODUCTION), Formula(PFD_MATHML, text.DISTANCE), Formula(FLOW_MATHML, text.FLOW), Prose(text.NOTATION),
        Heading("The numbers, and what they do not say"), Facts(facts), Heading("What the verdicts mean"),
        Prose(text.VERDICTS), Prose(text.VERDICT_LIST), Prose(text.NO_VERDICTS),
        Heading("The three findings"), Prose(text.FINDINGS),
        Formula(DECOMPOSITION_MATHML, text.DECOMPOSITION), Heading("Citation"),
        Code(text.BIBTEX, "If you use these numbers, cite the paper that introduced them:"),
    ]  # fmt: skip
    return Page("methods.html", "Methods", "Methods", blocks)


def _result(store: Store, run_id: str, judged: Judged) -> list[Any]:
    """Return the section of one run; empty where it has no numbers."""
    result = judged.details
    squared = {name: values for name, values in judged.distances.items() if name in ("PFD", "E_mem")}
    if not squared:
        return []
    names = [words.short(str(_model(result, role).get("reference") or "?")) for role in ("student", "teacher")]
    verdict, known = judged.verdict, baselines(result, judged.distances)
    blocks: list[Any] = [Heading(f"{names[0]} against {names[1]}")]
    if (told := said(verdict, result, is_twin=judged.is_twin)) is not None:
        paired = f"; {told.paired}" if told.paired else ""
        blocks.append(Sentence(f"{told.reason}{paired}.", figures.COLORS[told.color], told.lead))
    if sentence := how_big(verdict, known, str(result.get("descriptor") or "pixel")):
        blocks.append(Note(sentence))
    blocks.append(Rows(_numbers(store, run_id, result, known)))
    told_before = tuple(str(warning) for warning in result.get("warnings") or ())
    limits = (result.get("coupling_note"), *told_before, *marks(result, judged.distances, told_before), *footnotes(result))
    blocks += [Note(f"{str(note)[:1].upper()}{str(note)[1:].rstrip('.')}.") for note in limits if note]
    unit = words.unit(result.get("descriptor"))
    frame = convergence(squared)
    alt = f"The distances of {names[0]} from the first M noises, with 95 % bands"
    blocks.append(
        Figure(
            f"convergence-{run_id}",
            figures.convergence(frame, unit),
            alt,
            frame,
            "The estimate from the first M noises, with its 95 % band.",
        )
    )
    if pairs := read_pairs(store, run_id):
        blocks.append(Heading("Same noise, both models", 3))
        blocks.append(Wall(pairs, "Each column starts from one noise. Below it: the distance between teacher and student."))
    return [*blocks, Heading("Where this comes from", 3), *provenance(store, run_id, _models(result))]


def _numbers(store: Store, run_id: str, result: Mapping[str, Any], known: Mapping[str, float]) -> Table:
    """Return the numbers of a run, those of a distilled student as it was asked for."""
    found = store_queries.measurements_of(store, run_id)
    if result.get("distillation"):
        steps = result.get("student_steps")
        own = found["student_steps"].isna() if steps is None else found["student_steps"] == steps
        found = found[(found["student"] == _model(result, "student").get("reference")) & own]
    by_metric = {row["metric"]: row for row in found[found["band"].isna()].to_dict("records")}
    rows = []
    for metric, label in LABELS.items():
        if metric in by_metric:
            value, low, high = (float(by_metric[metric][name]) for name in ("value", "ci_low", "ci_high"))
            share = metric == "memorization_ratio" or metric in SCORES
            rows.append([label, percent(value, low, high) if share else words.with_interval(value, low, high)])
    rows += [[label, words.number(known[name])] for name, label in BASELINES.items() if name in known]
    return Table(["number", "value [95 % interval]"], rows)


def _model(result: Mapping[str, Any], role: str) -> dict[str, Any]:
    found = result.get(role)
    return found if isinstance(found, dict) else {}


def _models(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for role in ("teacher", "student"):
        model = _model(result, role)
        revision = words.short_revision(str(model.get("revision") or "")) or "–"
        size = f"{words.parameters(model.get('parameters'))} parameters"
        rows.append((role.capitalize(), f"{model.get('reference') or '–'} ({revision}), {model.get('family') or '–'}, {size}"))
    start, count = result.get("noise_seed"), result.get("num_noises")
    seeds = f"{start} to {start + count - 1} ({count:,})" if isinstance(start, int) and isinstance(count, int) else "–"
    return [*rows, ("Noise seeds", seeds), ("Solver", f"{result.get('solver')}, {words.count(result.get('steps') or 0, 'step')}")]
