"""Does a student memorize, generalize, or neither: one rule on paired per-noise distances (MATH.md, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.intervals import CONFIDENCE, Interval, mean_interval, paired_interval

Array = NDArray[np.float64]
Word = Literal["memorizes", "generalizes", "neither", "undetermined"]
Reason = Literal["told apart", "coupling", "guidance", "no training set", "one sample", "floor", "baseline not measured", "close"]
VERDICT_RULE = 2  # of results; rule 1 compared E_mem with E_gen and E_emp alone
# Squared distances that agree to a millionth are equal: what is left of their difference is rounding, however narrow its interval. So are
# those that differ by less than a trillionth of the largest, as float32 end points do that should be the same image.
ROUNDING, SMALLEST = 1e-6, 1e-12
MEM_GEN, MEM_SPREAD = "E_mem - E_gen", "E_mem - spread of the empirical map"
GEN_SPREAD, GEN_EMP, EMP_FLOOR = "E_gen - spread of the teacher", "E_gen - E_emp", "E_emp - retrained floor"

SENTENCES: dict[str, str] = {
    "coupling": "The student draws fresh noise on its way, so its distances also measure that it starts from other noise than its teacher.",
    "guidance": "Verdicts hold at guidance 1 only.",
    "no training set": "The student's training set is not known.",
    "one sample": "The training set holds fewer than 2 distinct samples, so copying it and making a constant image are the same.",
    "floor": (
        "The training set is so large that showing it comes as close to the teacher as a retrained teacher does: copying and generalizing "
        "look alike."
    ),
    "baseline not measured": (
        "The result was judged by an older rule: its baselines (a constant image, and the map of the training set) were not measured."
    ),
}
TOLD_APART: dict[str, str] = {
    "memorizes": "The student is closer to the map of its training set than to its teacher, and closer to it than a constant image is.",
    "generalizes": (
        "The student is closer to its teacher than to the map of its training set, and closer to the teacher than that map and a constant "
        "image are."
    ),
    "neither": "The student is no closer to its teacher than a constant image, or than the map of its training set, and does not memorize.",
}
OPEN: dict[str, str] = {
    MEM_GEN: "With these noises the student's distances to its teacher and to the map of its training set cannot be told apart.",
    MEM_SPREAD: "With these noises the student cannot be told to be closer to the map of its training set than a constant image is.",
    GEN_SPREAD: "With these noises the student cannot be told to be closer to its teacher than a constant image is.",
    GEN_EMP: "With these noises the student cannot be told to be closer to its teacher than the map of its training set is.",
}


@dataclass(frozen=True)
class Comparison:
    """A mean difference of squared distances with its interval, in squared data units; `paired` says whether noises were paired."""

    value: float
    ci_low: float
    ci_high: float
    paired: bool = True

    @property
    def below(self) -> bool:
        """Whether the first is clearly smaller than the second."""
        return self.ci_high < 0

    @property
    def above(self) -> bool:
        """Whether the first is clearly larger than the second."""
        return self.ci_low > 0


@dataclass(frozen=True)
class Verdict:
    """What a student does, a machine-readable reason, one plain sentence, and every comparison that could be made, by its name."""

    word: Word
    reason: Reason
    sentence: str
    comparisons: Mapping[str, Comparison] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def below_spread(self) -> bool | None:
        """Whether E_gen lies clearly below the teacher's spread, which is said without a training set, too; None where not measured."""
        found = self.comparisons.get(GEN_SPREAD)
        return found.below if found else None


def judge_student(
    d_gen: Array,
    d_mem: Array | None = None,
    d_emp: Array | None = None,
    *,
    spread_teacher: Array | float | None = None,
    spread_empirical: Array | float | None = None,
    floor: Interval | float | None = None,
    distinct_samples: int | None = None,
    keeps_coupling: bool = True,
    guidance: float = 1.0,
    confidence: float = CONFIDENCE,
) -> Verdict:
    """Return the verdict on a student from squared per-noise distances `(M,)`, M >= 2, all on the same noises in the same order.

    - `d_gen`: student to teacher. `d_mem`: student to the empirical map of its training set; None without one.
    - `d_emp`: empirical map to teacher; None where it was not measured.
    - `spread_teacher`, `spread_empirical`: how far a constant image lies from the end points of the teacher and of the empirical map. Best
      `(M,)`, the squared deviations of their end points from the mean over these same noises (`squared_deviations`). A number is the spread
      itself, a distance: nothing is paired with it, so it is compared as if it were exact. None where it was not measured.
    - `floor`: the PFD of two teachers that differ in their training seed only, or its interval, of which the upper end then counts.
    - `distinct_samples`: how many different samples the training set holds; None where that is not known.
    - `keeps_coupling`: False for a student that re-noises. `guidance`: of either side; verdicts hold at 1.

    Memorizes: E_mem < E_gen and E_mem < the empirical map's spread. Generalizes: E_gen < E_mem, E_gen < the teacher's spread and E_gen <
    E_emp. Neither: E_gen > the teacher's spread or E_gen > E_emp, and E_mem does not lie below both its rivals in these noises. Each `<`
    and `>` means that the paired interval of the difference of squares excludes 0. Undetermined otherwise, with the reason.

    A constant image c can get neither green nor red, whatever the noises: spreads are divided by M, so `mean |x - c|^2 = spread^2 +
    |c - mean x|^2` is never below spread^2, and `paired_interval` always holds the mean difference. Raises ValueError for arrays that are
    not `(M,)` of one M >= 2. Source: MATH.md, section 4, "Verdicts".
    """
    measured = {"d_mem": d_mem, "d_emp": d_emp, "spread_teacher": spread_teacher, "spread_empirical": spread_empirical}
    for name, values in measured.items():
        if isinstance(values, np.ndarray) and values.shape != d_gen.shape:
            raise ValueError(f"distances are paired by noise: got {d_gen.shape} for d_gen and {values.shape} for {name}")
    if d_gen.ndim != 1 or len(d_gen) < 2:
        raise ValueError(f"distances are paired by noise, (M,) with M >= 2: got {d_gen.shape}")
    if not keeps_coupling:
        return _undetermined("coupling", {})
    pairs = {GEN_SPREAD: (d_gen, spread_teacher), GEN_EMP: (d_gen, d_emp), MEM_GEN: (d_mem, d_gen), MEM_SPREAD: (d_mem, spread_empirical)}
    least = SMALLEST * max(float(d.mean()) for d in (d_gen, d_mem, d_emp) if d is not None)
    compared = {name: _compare(p, q, confidence, least) for name, (p, q) in pairs.items() if p is not None and q is not None}
    if d_emp is not None and floor is not None:
        compared[EMP_FLOOR] = _above_floor(d_emp, floor, confidence)
    if guidance != 1:
        return _undetermined("guidance", compared)
    if d_mem is None or distinct_samples is None:
        return _undetermined("no training set", compared)
    if distinct_samples < 2:
        return _undetermined("one sample", compared)
    if EMP_FLOOR in compared and not compared[EMP_FLOOR].above:
        return _undetermined("floor", compared)
    return _rule(compared)


def squared_deviations(end_points: Array) -> Array:
    """Return `|x_m - mean x|^2`, `(M,)`, of end points or features `(M, D)`: their mean is the squared spread, divided by M."""
    return np.asarray(np.square(end_points - end_points.mean(0)).sum(1), dtype=np.float64)


def _rule(compared: Mapping[str, Comparison]) -> Verdict:
    mem_gen = compared[MEM_GEN]
    mem_spread, gen_spread, gen_emp = (compared.get(name) for name in (MEM_SPREAD, GEN_SPREAD, GEN_EMP))
    if mem_gen.below and mem_spread and mem_spread.below:
        return _told_apart("memorizes", compared)
    if mem_gen.above and gen_spread and gen_spread.below and gen_emp and gen_emp.below:
        return _told_apart("generalizes", compared)
    # Where E_mem lies below or at both its rivals, but not clearly below, more noises may show that the student memorizes.
    may_memorize = mem_gen.value <= 0 and (mem_spread is None or mem_spread.value <= 0)
    if not may_memorize and ((gen_spread and gen_spread.above) or (gen_emp and gen_emp.above)):
        return _told_apart("neither", compared)
    needed = (MEM_SPREAD,) if mem_gen.value < 0 else (GEN_SPREAD, GEN_EMP)
    if any(name not in compared for name in needed):
        return _undetermined("baseline not measured", compared)
    clear = mem_gen.below if mem_gen.value < 0 else mem_gen.above
    unclear = MEM_GEN if not clear else next(name for name in needed if not compared[name].below)
    return Verdict("undetermined", "close", OPEN[unclear], MappingProxyType(dict(compared)))


def _told_apart(word: Word, compared: Mapping[str, Comparison]) -> Verdict:
    return Verdict(word, "told apart", TOLD_APART[word], MappingProxyType(dict(compared)))


def _undetermined(reason: Reason, compared: Mapping[str, Comparison]) -> Verdict:
    return Verdict("undetermined", reason, SENTENCES[reason], MappingProxyType(dict(compared)))


def _compare(first: Array, second: Array | float, confidence: float, least: float) -> Comparison:
    """Compare squared distances with others of the same noises, or with a spread that stands alone as a number; `least` is rounding."""
    paired = isinstance(second, np.ndarray)
    squares = second if isinstance(second, np.ndarray) else np.full_like(first, float(second) ** 2)
    value, low, high = paired_interval(first - squares, confidence)
    if abs(value) <= max(ROUNDING * max(float(first.mean()), float(squares.mean())), least):
        value, low, high = 0.0, min(low, 0.0), max(high, 0.0)
    return Comparison(value, low, high, paired)


def _above_floor(d_emp: Array, floor: Interval | float, confidence: float) -> Comparison:
    """Compare E_emp with the retrained floor, which other noises may have measured: its upper end counts, as if it were exact."""
    most = floor.ci_high if isinstance(floor, Interval) else float(floor)
    mean, _, low, high = (float(x) for x in mean_interval(d_emp, confidence, nonnegative=True))
    return Comparison(mean - most**2, low - most**2, high - most**2, paired=False)
