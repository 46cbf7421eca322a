"""What the documents say of the bundled pair of students, and of the second teacher."""

from __future__ import annotations

from typing import Any

from benchmarks.docs_numbers.results import MissingData, Results
from pfd_engine.analysis.intervals import not_ruled_out
from pfd_engine.analysis.sentences.wording import join
from pfd_engine.analysis.verdicts import VERDICT_RULE
from pfd_engine.findings.tables import percent
from pfd_engine.models.bundled import FLOOR, GENERALIZES, MEMORIZES
from pfd_engine.store.queries.floor import retrained_floor
from pfd_engine.wording import numbers as words

PAIR = (MEMORIZES, GENERALIZES)
ORDINALS = ("first", "second")


def noises(results: Results) -> str:
    (count,) = {results.row(student, "PFD", "num_noises")["num_noises"] for student in PAIR}
    return f"{count:,}"


def _interval(row: dict[str, Any]) -> str:
    return words.with_interval(row["value"], row["ci_low"], row["ci_high"])


def table(results: Results) -> str:
    headings = [
        "student",
        "trained on",
        "E_gen: PFD to its teacher",
        "E_mem: PFD to a copier of its training set",
        "images that are copies",
    ]
    rows = [headings, ["---"] * len(headings)]
    for student in PAIR:
        copies = results.row(student, "memorization_ratio")
        errors = [_interval(results.row(student, metric)) for metric in ("PFD", "E_mem")]
        samples = f"{results.row(student, 'E_mem', 'num_samples')['num_samples']:,} images"
        rows.append([f"`{student}`", samples, *errors, percent(copies["value"], copies["ci_low"], copies["ci_high"])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdicts(results: Results) -> str:
    said = []
    for place, student in zip(ORDINALS, PAIR, strict=True):
        result = results.evaluation(student)["result"]
        if result.get("verdict_rule") != VERDICT_RULE:
            raise MissingData(f"the verdict on {student} by today's rule ({VERDICT_RULE}): `make results` measures it anew")
        verdict = result["verdict"]
        said.append(f"The {place} student {'is undetermined' if verdict == 'undetermined' else f'{verdict}'}: {_reason(result)}")
    return "\n".join(said)


def _reason(result: dict[str, Any]) -> str:
    """Return the reason of a verdict as the second half of a sentence."""
    reason = str(result["verdict_reason"])
    return reason.replace("The student is", "it is", 1) if reason.startswith("The student is") else reason[:1].lower() + reason[1:]


def constant_image(results: Results) -> str:
    spread = _shared(results, "spread", ".2f")
    return f"The best constant image, the same for every noise, lies about {spread} from what the teacher makes of these noises."


def unrelated(results: Results) -> str:
    return f"The same images paired at random lie about {_shared(results, 'shuffled', '.1f')} apart."


def _shared(results: Results, column: str, digits: str) -> str:
    """Write what both students have in common, or both numbers where they differ."""
    return join(list(dict.fromkeys(f"{results.row(student, 'PFD', column)[column]:{digits}}" for student in PAIR)))


def floor(results: Results) -> str:
    row = results.row(FLOOR, "PFD")
    named = (row["teacher_revision"], row["descriptor"], row["solver"], row["solver_steps"])
    found = retrained_floor(results.store, *named, noise_seed=results.row(GENERALIZES, "PFD")["noise_seed"])
    if found is None:
        raise MissingData(f"the checkpoint {FLOOR} with its metadata: `make results` measures it anew")
    value = words.with_interval(found.value, found.ci_low, found.ci_high)
    return f"A second teacher that differs from the first in its training seed only lies {value} from it."


def solver_error(results: Results) -> str:
    """Say how far the solver moves the PFD of each student."""
    said = []
    for place, student in zip(ORDINALS, PAIR, strict=True):
        row, result = results.row(student, "PFD", "solver_error"), results.evaluation(student)["result"]
        size, written = row["solver_error"], words.number(abs(row["solver_error"]), abs(row["solver_error"]))
        extrapolated = result.get("solver_error_extrapolated")
        amount = (
            f"is about {written} too {'large' if size > 0 else 'small'}" if extrapolated else f"moves by up to {written} with more steps"
        )
        said.append(f"the PFD of the {place} student {amount}")
    (solver,) = {(row["solver"], row["solver_steps"]) for row in (results.row(student, "PFD") for student in PAIR)}
    return f"With {solver[0].capitalize()} and {solver[1]} steps, {join(said)}."


def unseen(results: Results) -> str:
    count = noises(results)
    share = words.upper_bound(100 * not_ruled_out(int(count.replace(",", ""))))
    return f"With 95 % confidence, what {count} noises never showed happens for fewer than {share} % of all noises."
