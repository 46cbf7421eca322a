"""What a page says about a result: its summary, its verdict and its numbers, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.widgets import html as words
from pages.widgets.wall import Pair
from pfd_engine.figures import COLORS
from pfd_engine.findings.context import baselines, marks
from pfd_engine.findings.verdicts import judge_stored, said

if TYPE_CHECKING:
    from pfd_engine.analysis import Verdict
    from pfd_engine.configs.base import RunConfig

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
    """One line of the list of results: `numbers` maps a metric to its number; `distillation` is what was distilled, if anything was.

    `verdict` is the word of the verdict with its color (None: there is none). `is_twin`: the student is the teacher retrained with another
    seed. `is_diagnostic`: the map with the teacher's denoiser outside the student's trained range.
    """

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
    verdict: tuple[str, str] | None = None
    is_twin: bool = False
    is_diagnostic: bool = False

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
        """The verdict by today's rule; None for a diagnostic map, and without distances."""
        return judge_stored(self.details, self.distances)

    @property
    def baselines(self) -> dict[str, float]:
        """What the PFD is set beside: `constant_image`, `shuffled_ceiling`, `retrained_floor`, as far as they are known."""
        return baselines(self.details, self.distances)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning, those of the run first, without full stops."""
        told = self.summary.warnings
        return (*told, *marks(self.details, self.distances, told))


def warnings_of(details: object, others: Iterable[object] = ()) -> tuple[str, ...]:
    """Return every warning of a result once: that of its coupling, those in the object that `--json` prints, and `others`."""
    found = mapping(details)
    listed = found.get("warnings")
    sentences = [found.get("coupling_note"), *(listed if isinstance(listed, list) else []), *others]
    return tuple(dict.fromkeys(str(sentence).rstrip(".") for sentence in sentences if sentence))


def warnings_html(warnings: Iterable[str]) -> str:
    """Return warnings in HTML, one a line; empty where there is none."""
    items = "".join(f"<p>{escape(sentence[:1].upper() + sentence[1:])}.</p>" for sentence in warnings)
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
    st.markdown(f"**{title(summary)}**{badges(summary)}{warned}  \n" + " · ".join(parts))
    notes = [
        f"N = {summary.num_samples:,} training samples" if summary.num_samples else "",
        f"{summary.num_noises:,} noises" if summary.num_noises else "",
        summary.apart,
        words.ago(summary.finished),
        words.source(summary.source),
    ]
    st.caption(words.markdown(" · ".join(note for note in notes if note)))


def kinds(summary: Summary) -> str:
    """Return what kind of result it is as Markdown badges; empty for an ordinary evaluation."""
    marked = {
        ("distilled", "blue"): bool(summary.distillation),
        ("retrained teacher", "violet"): summary.is_twin,
        ("diagnostic map", "violet"): summary.is_diagnostic,
    }
    return "".join(f" :{color}-badge[{name}]" for (name, color), applies in marked.items() if applies)


def badges(summary: Summary) -> str:
    """Return what kind of result it is, and its verdict, as Markdown badges; empty where there is nothing to mark."""
    if summary.verdict is None:
        return kinds(summary)
    word, color = summary.verdict
    return f"{kinds(summary)} :{color}-badge[{word}]"


def verdict_html(result: Result) -> str:
    """Return the sentence that answers *does it memorize?*, computed from the paired distances, as HTML; empty where none can be said."""
    found = said(result.verdict, result.details, is_twin=result.summary.is_twin)
    if found is None:
        return ""
    ratio, note = result.summary.numbers.get("memorization_ratio", Number()), result.summary.note
    share = ""
    if ratio.value is not None:
        share = f" For {percent(ratio)} of the noises the nearest training image is closer than a third of the second nearest."
    coupled = f" For this student every distance {note}." if note else ""
    return (
        f'<p class="verdict" style="--mark:{COLORS[found.color]}"><strong>{escape(found.lead)}</strong>: {escape(found.reason)}.'
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
    """Return the headline numbers as HTML, what they are set beside among them."""
    numbers, details, known = result.summary.numbers, result.details, result.baselines
    pfd, rms = numbers.get("PFD", Number()), as_float(details.get("rms_per_coordinate"))
    per_coordinate = f"\nRMS per coordinate {pfd.times(rms / pfd.value).alone}" if rms is not None and pfd.value else ""
    note = f"\n{result.summary.note}" if result.summary.note else ""
    items = [("PFD to the teacher", pfd.alone, _spread(pfd) + per_coordinate + note)]
    constant = "Constant image" if result.summary.descriptor == "pixel" else "Constant feature"
    beside = {
        "constant_image": (constant, "the best one, to the teacher"),
        "shuffled_ceiling": ("Shuffled ceiling", "noises paired at random"),
        "retrained_floor": ("Retrained floor", "a teacher of another seed"),
    }
    for name, (label, meaning) in beside.items():
        if baseline := known.get(name):
            share = "" if pfd.value is None else f"\nPFD is {100 * pfd.value / baseline:.0f} % of it"
            items.append((label, words.number(baseline), meaning + share))
    if "E_mem" in numbers:
        items.append(("E_mem to the training set", numbers["E_mem"].alone, _spread(numbers["E_mem"]) + note))
    if "memorization_ratio" in numbers:
        items.append(("Memorization ratio", *_share(numbers["memorization_ratio"])))
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
