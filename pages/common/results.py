"""What a page says about a result: its summary, its verdict and its numbers, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.common import words
from pages.common.wall import Pair
from pfd_engine.analysis import Verdict, judge_student
from pfd_engine.analysis.verdicts import MEM_GEN
from pfd_engine.figures import COLORS

if TYPE_CHECKING:
    from pfd_engine.run_config import RunConfig

# Beside every number, and in every plot, of a student that does not keep the teacher's noise-to-image coupling.
COUPLING = "measures coupling and distribution together"
SCORES = {
    "RP": "the share of noises at which student and teacher make the same image, told by SSCD",
    "M": "the share of the student's images that copy a training image, told by SSCD",
}


@dataclass(frozen=True)
class Number:
    """A measured number with its 95 % interval; what was not measured is None."""

    value: float | None = None
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None

    def __str__(self) -> str:
        return words.with_interval(self.value, self.ci_low, self.ci_high)

    @property
    def alone(self) -> str:
        """The value with the digits that its uncertainty leaves."""
        return words.number(self.value, self.stderr)

    def times(self, factor: float) -> Number:
        """The number in another unit: value, standard error and interval times a factor that is taken as exact."""
        return Number(*(None if x is None else factor * x for x in (self.value, self.stderr, self.ci_low, self.ci_high)))

    @property
    def spelled(self) -> str:
        """The interval in words."""
        return words.spelled_interval(self.ci_low, self.ci_high)


@dataclass(frozen=True)
class Summary:
    """One line of the list of results: `numbers` maps a metric to its number; `distillation` is what was distilled, if anything was."""

    run_id: str
    teacher: str
    student: str
    numbers: Mapping[str, Number]
    descriptor: str
    num_samples: int | None
    num_noises: int | None
    finished: float | None
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    revisions: Mapping[str, str | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    distillation: Mapping[str, Any] = field(default_factory=dict)
    loses_coupling: bool = False

    @property
    def note(self) -> str:
        """What stands beside every number of a student that does not keep the coupling; empty for any other."""
        return COUPLING if self.loses_coupling else ""

    @property
    def apart(self) -> str:
        """What tells this result from another of the same pair: settings that are not the default, and the revisions measured."""
        student, teacher = (words.short_revision(self.revisions.get(role)) for role in ("student", "teacher"))
        revisions = f"revisions {student} against {teacher}" if student and teacher else ""
        steps = self.distillation.get("steps")
        trained = words.count(steps, "training step") if isinstance(steps, int) else ""
        return " · ".join(part for part in (trained, words.settings(self.settings), revisions) if part)


@dataclass(frozen=True)
class Result:
    """One finished run with everything that its page shows; `details` is the object that `--json` prints."""

    summary: Summary
    details: Mapping[str, Any]
    config: RunConfig | None
    distances: dict[str, NDArray[np.float64]]
    seeds: NDArray[np.int64]
    pairs: list[Pair]

    @property
    def verdict(self) -> Verdict | None:
        """Whether the student memorizes; None without a training set, and undetermined for an older result, which has no baselines."""
        generalization, memorization = self.distances.get("PFD"), self.distances.get("E_mem")
        if generalization is None or memorization is None or len(generalization) != len(memorization) or len(generalization) < 2:
            return None
        return judge_student(
            generalization,
            memorization,
            self.distances.get("E_emp"),
            spread_teacher=self.distances.get("spread_teacher"),
            spread_empirical=self.distances.get("spread_empirical"),
            distinct_samples=self.summary.num_samples,
            keeps_coupling=not self.summary.loses_coupling,
        )


def warnings_of(details: object, others: Iterable[object] = ()) -> tuple[str, ...]:
    """Return every warning of a result once: that of its coupling, those in the object that `--json` prints, and `others`."""
    found = mapping(details)
    listed = found.get("warnings")
    sentences = [found.get("coupling_note"), *(listed if isinstance(listed, list) else []), *others]
    return tuple(dict.fromkeys(str(sentence).rstrip(".") for sentence in sentences if sentence))


def warnings_html(summary: Summary) -> str:
    """Return the warnings of a result in HTML, one a line; empty where there is none."""
    items = "".join(f"<p>{escape(sentence[:1].upper() + sentence[1:])}.</p>" for sentence in summary.warnings)
    return f'<div class="warnings">{items}</div>' if items else ""


def title(summary: Summary) -> str:
    """Return `student against teacher`, shortened, or what was distilled from what, as Markdown."""
    if made := summary.distillation:
        return words.markdown(f"{made.get('size')}, {made.get('objective')}, from {words.short(summary.teacher)}")
    return f"{words.markdown(words.short(summary.student))} against {words.markdown(words.short(summary.teacher))}"


def summary_card(summary: Summary) -> None:
    """Draw a result in two lines: what was compared, and the numbers with their intervals."""
    names = {"PFD": "PFD", "E_mem": "E\\_mem", "memorization_ratio": "memorization ratio"}
    shown = {name: summary.numbers[metric] for metric, name in names.items() if metric in summary.numbers}
    note = f" ({summary.note})" if summary.note else ""
    parts = [
        f"{name} **{words.markdown(percent(n))}**" if "ratio" in name else f"{name} **{words.markdown(str(n))}**{note}"
        for name, n in shown.items()
    ]
    warned = f" :orange-badge[{words.count(len(summary.warnings), 'warning')}]" if summary.warnings else ""
    kind = " :blue-badge[distilled]" if summary.distillation else ""
    st.markdown(f"**{title(summary)}**{kind} {badge(summary)}{warned}  \n" + " · ".join(parts))
    notes = [
        f"N = {summary.num_samples:,} training samples" if summary.num_samples else "",
        f"{summary.num_noises:,} noises" if summary.num_noises else "",
        summary.apart,
        words.ago(summary.finished),
        words.source(summary.source),
    ]
    st.caption(words.markdown(" · ".join(note for note in notes if note)))


def badge(summary: Summary) -> str:
    """Return the verdict as a Markdown badge where the intervals alone tell it; empty where they overlap or one is missing."""
    pfd, e_mem, e_emp = (summary.numbers.get(metric, Number()) for metric in ("PFD", "E_mem", "E_emp"))
    if None in (pfd.ci_low, pfd.ci_high, e_mem.ci_low, e_mem.ci_high):
        return ""
    if e_mem.ci_high < pfd.ci_low:  # type: ignore[operator]
        return ":red-badge[memorizes]"
    bounds = [bound for bound in (e_mem.ci_low, e_emp.ci_low) if bound is not None]
    return ":green-badge[generalizes]" if pfd.ci_high < min(bounds) else ""  # type: ignore[operator]


def verdict_html(result: Result) -> str:
    """Return the sentence that answers *does it memorize?*, computed from the paired distances, as HTML; empty without a training set."""
    verdict = result.verdict
    if verdict is None:
        return ""
    numbers, samples = result.summary.numbers, result.summary.num_samples
    e_mem, pfd, ratio = (numbers.get(metric, Number()) for metric in ("E_mem", "PFD", "memorization_ratio"))
    of_training = f"the empirical map of its {samples:,} training samples" if samples else "the empirical map of its training set"
    memorized, teacher = f"{of_training} ({e_mem})", f"its teacher ({pfd})"
    lead, reason, color = {
        "memorizes": ("The student memorizes", f"it ends closer to {memorized} than to {teacher}", COLORS["E_mem"]),
        "generalizes": ("The student generalizes", f"it ends closer to {teacher} than to {memorized}", COLORS["PFD"]),
    }.get(verdict.word, ("Undetermined", verdict.sentence.rstrip("."), COLORS["empirical map"]))
    paired = ""
    if difference := verdict.comparisons.get(MEM_GEN):
        paired = f"; E_mem² − PFD² = {words.with_interval(difference.value, difference.ci_low, difference.ci_high)}, paired by noise"
    share = ""
    if ratio.value is not None:
        share = f" For {percent(ratio)} of the noises the nearest training image is closer than a third of the second nearest."
    coupled = f" For this student every distance {result.summary.note}." if result.summary.note else ""
    return (
        f'<p class="verdict" style="--mark:{color}"><strong>{escape(lead)}</strong>: {escape(reason + paired)}.'
        f"{escape(share + coupled)}</p>"
    )


def percent(ratio: Number) -> str:
    """Write a share with its interval in percent."""
    scaled = [None if x is None else 100 * x for x in (ratio.value, ratio.ci_low, ratio.ci_high)]
    value, low, high = scaled
    if value is None:
        return "–"
    if low is None or high is None:
        return f"{value:.0f} %"
    digits = 0 if high - low >= 2 else 1
    return f"{value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"


def cards(result: Result) -> str:
    """Return the headline numbers as HTML."""
    numbers, details = result.summary.numbers, result.details
    pfd, shuffled, rms = numbers.get("PFD", Number()), as_float(details.get("shuffled")), as_float(details.get("rms_per_coordinate"))
    items = [("PFD to the teacher", pfd.alone, _spread(pfd))]
    if shuffled:
        share = pfd.times(1 / shuffled)
        items.append(("PFD / shuffled ceiling", share.alone, f"{share.spelled}\nceiling {words.number(shuffled)}: paired at random"))
    if rms is not None and pfd.value:
        per_coordinate = pfd.times(rms / pfd.value)
        in_range = "\ndata lie in [−1, 1]" if result.summary.descriptor == "pixel" and rms <= 1 else ""
        items.append(("RMS per coordinate", per_coordinate.alone, per_coordinate.spelled + in_range))
    if "E_mem" in numbers:
        items.append(("E_mem to the training set", numbers["E_mem"].alone, _spread(numbers["E_mem"])))
    if "memorization_ratio" in numbers:
        items.append(("Memorization ratio", *_share(numbers["memorization_ratio"])))
    if note := result.summary.note:
        items = [(name, value, spread if "ratio" in name else f"{spread}\n{note}") for name, value, spread in items]
    items += [(f"{metric} score", *_share(numbers[metric])) for metric in SCORES if metric in numbers]
    return words.numbers(items)


def _share(number: Number) -> tuple[str, str]:
    value, _, spread = percent(number).partition(" [")
    low, _, high = spread.rstrip("]").partition(", ")
    return value, f"95 % interval\n{low} to {high} %" if high else ""


def _spread(number: Number) -> str:
    return f"{number.spelled}\nstandard error {words.number(number.stderr, number.stderr)}"


def definitions(summary: Summary) -> str:
    """Say in one sentence each what the numbers about memorization mean, as Markdown; empty where there are none."""
    scores = [f"The {metric} score is {what}." for metric, what in SCORES.items() if metric in summary.numbers]
    if "E_mem" not in summary.numbers:
        return words.markdown(" ".join(scores))
    ratio = (
        " The memorization ratio is the share of noises whose nearest training image is closer than a third of the second nearest."
        if "memorization_ratio" in summary.numbers
        else ""
    )
    e_mem = (
        "E_mem is the distance from the student to the empirical map: the exact flow of the training set alone, which can only reproduce "
        f"its images.{ratio}"
    )
    return words.markdown(" ".join([e_mem, *scores]))


def as_float(value: object) -> float | None:
    """Return a number as a float, None for anything else."""
    return float(value) if isinstance(value, (int, float)) else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, anything else as an empty one: results from other versions may hold anything."""
    return value if isinstance(value, Mapping) else {}
