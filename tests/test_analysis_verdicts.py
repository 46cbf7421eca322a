"""The verdict on a student: every comparison is clear, a constant image gets none, and what was not measured is not judged."""

import numpy as np
import pytest

from benchmarks.verdicts import CONSTANT, Pool, judge_draw
from pfd_engine.analysis import judge_student, squared_deviations
from pfd_engine.analysis.intervals import pfd_interval
from pfd_engine.analysis.verdicts import EMP_FLOOR, GEN_EMP, GEN_SPREAD, MEM_GEN, MEM_SPREAD
from pfd_engine.flow.noise import noise_of
from pfd_engine.models.bundled import bundled_references
from pfd_engine.training_sets.load import load_training_set


@pytest.fixture(scope="module")
def pool():
    """The bundled teacher's end points as they were stored to train a student, with the noises they came from."""
    stored = load_training_set(bundled_references().student_generalizes)
    return Pool(noise_of(stored.seeds, stored.samples.shape[1:]), stored.samples.flatten(1).double().numpy())


def squares(mean, num_noises=400, seed=1):
    drawn = np.random.default_rng(seed).gamma(8, 1 / 8, num_noises)
    return mean * drawn / drawn.mean()


def verdict(gen, mem, emp=9.0, teacher=20.0, empirical=20.0, num_noises=400, **given):
    """The verdict on squared distances and squared spreads of these means."""
    measured = {"spread_teacher": teacher, "spread_empirical": empirical}
    means = {name: mean if mean is None else squares(mean, num_noises, seed) for seed, (name, mean) in enumerate(measured.items(), 5)}
    distances = [mean if mean is None else squares(mean, num_noises, seed) for seed, mean in enumerate((gen, mem, emp), 1)]
    return judge_student(*distances, **({"distinct_samples": 64} | means | given))


@pytest.mark.parametrize(
    ("means", "word", "reason"),
    [
        ({"gen": 9, "mem": 1}, "memorizes", "told apart"),
        ({"gen": 30, "mem": 1}, "memorizes", "told apart"),  # copies lie far from the teacher, too
        ({"gen": 1, "mem": 9}, "generalizes", "told apart"),
        ({"gen": 4, "mem": 4}, "undetermined", "close"),
        ({"gen": 30, "mem": 40, "emp": 60}, "neither", "told apart"),  # no better than a constant image
        ({"gen": 12, "mem": 18}, "neither", "told apart"),  # no better than showing the training set
        ({"gen": 30, "mem": 25}, "neither", "told apart"),  # closer to the training set, but no closer than a constant image
        ({"gen": 9, "mem": 18}, "undetermined", "close"),  # as close to the teacher as the training set is
        ({"gen": 19.9, "mem": 30, "emp": 40}, "undetermined", "close"),  # as close to the teacher as a constant image is
        ({"gen": 30, "mem": 19.9}, "undetermined", "close"),  # may memorize: that must not be called neither
    ],
)
def test_a_verdict_needs_every_comparison_to_be_clear(means, word, reason):
    found = verdict(**means)
    assert (found.word, found.reason) == (word, reason)
    assert found.sentence.endswith(".")
    assert set(found.comparisons) == {MEM_GEN, MEM_SPREAD, GEN_SPREAD, GEN_EMP}
    for comparison in found.comparisons.values():
        assert comparison.ci_low <= comparison.value <= comparison.ci_high


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"keeps_coupling": False}, "coupling"),
        ({"guidance": 2.0}, "guidance"),
        ({"distinct_samples": None}, "no training set"),
        ({"distinct_samples": 1}, "one sample"),
        ({"floor": 3.0}, "floor"),
        ({"floor": pfd_interval(squares(9.0, 40))}, "floor"),
    ],
)
@pytest.mark.parametrize("means", [{"gen": 9, "mem": 1}, {"gen": 1, "mem": 9}, {"gen": 30, "mem": 40}])
def test_where_the_rule_does_not_hold_there_is_no_verdict_and_the_reason_is_said(means, given, reason):
    found = verdict(**means, **given)
    assert (found.word, found.reason) == ("undetermined", reason)


def test_a_floor_well_below_the_training_sets_map_changes_nothing():
    found = verdict(gen=1, mem=9, floor=1.0)
    assert found.word == "generalizes"
    assert found.comparisons[EMP_FLOOR].above


@pytest.mark.parametrize(
    "means",
    [
        {"gen": 9, "mem": 1, "empirical": None},
        {"gen": 1, "mem": 9, "teacher": None},
        {"gen": 1, "mem": 9, "emp": None},
        {"gen": 1, "mem": 9, "emp": None, "teacher": None, "empirical": None},
    ],
)
def test_without_its_baselines_a_result_counts_as_judged_by_an_older_rule(means):
    found = verdict(**means)
    assert (found.word, found.reason) == ("undetermined", "baseline not measured")
    assert "older rule" in found.sentence


def test_what_the_training_set_alone_tells_needs_no_spread():
    assert verdict(gen=12, mem=18, teacher=None, empirical=None).word == "neither"


def test_a_spread_that_is_only_a_number_is_compared_without_pairing():
    gen, mem, emp = squares(1.0), squares(9.0, seed=2), squares(9.0, seed=3)
    found = judge_student(gen, mem, emp, spread_teacher=4.25, spread_empirical=4.1, distinct_samples=64)
    assert found.word == "generalizes"
    assert not found.comparisons[GEN_SPREAD].paired
    assert found.comparisons[GEN_SPREAD].value == pytest.approx(gen.mean() - 4.25**2)


def test_without_a_training_set_it_is_still_said_whether_a_constant_image_is_as_close():
    deviations = squares(20.0, seed=5)
    assert judge_student(squares(1.0), spread_teacher=deviations).below_spread is True
    assert judge_student(squares(20.0), spread_teacher=deviations).below_spread is False
    assert judge_student(squares(1.0)).below_spread is None


def test_exact_copies_memorize_and_the_teacher_itself_generalizes():
    rng = np.random.default_rng(3)
    teacher, empirical = rng.normal(size=(64, 16)), rng.normal(size=(64, 16))
    spreads = {"spread_teacher": squared_deviations(teacher), "spread_empirical": squared_deviations(empirical), "distinct_samples": 2}
    apart = np.square(teacher - empirical).sum(1)
    assert judge_student(apart, np.zeros(64), apart, **spreads).word == "memorizes"
    assert judge_student(np.zeros(64), apart, apart, **spreads).word == "generalizes"


@pytest.mark.parametrize(("value", "num_noises"), [(3.0, 8), (3.1, 7)])
def test_copies_that_all_show_one_sample_are_not_called_memorizing_or_neither(value, num_noises):
    """They are a constant image, too. The mean of seven times 3.1 is not 3.1, which leaves a spread of the size of rounding."""
    teacher = np.random.default_rng(5).normal(size=(num_noises, 16))
    shown = np.full((num_noises, 16), value)
    apart = np.square(teacher - shown).sum(1)
    spreads = {"spread_teacher": squared_deviations(teacher), "spread_empirical": squared_deviations(shown)}
    found = judge_student(apart, np.zeros(num_noises), apart, **spreads, distinct_samples=2)
    assert found.comparisons[GEN_SPREAD].above
    assert (found.word, found.reason) == ("undetermined", "close")


@pytest.mark.parametrize(("num_samples", "draws"), [(1, 5), (2, 30), (8, 30), (16, 30), (64, 30), (256, 15), (512, 10)])
def test_a_constant_image_never_memorizes_or_generalizes(pool, num_samples, draws):
    rng = np.random.default_rng(num_samples)
    for _ in range(draws):
        for (student, _), found in judge_draw(pool, num_samples, (8, 64), rng, others=128).items():
            if student in CONSTANT:
                assert found.word in ("neither", "undetermined"), student
            if student == "re-noising":
                assert found.reason == "coupling"
            if num_samples == 1:
                assert found.reason in ("one sample", "coupling")


def test_copies_and_the_teacher_itself_are_told_apart_from_sixty_four_noises(pool):
    found = judge_draw(pool, 16, (64,), np.random.default_rng(0), others=128)
    assert found["empirical map", 64].word == "memorizes"
    assert found["teacher", 64].word == "generalizes"


def test_no_constant_is_below_the_spread_whatever_the_end_points():
    """`mean |x - c|^2 = spread^2 + |c - mean x|^2`, and the interval of paired differences holds their mean, so it reaches 0."""
    rng = np.random.default_rng(4)
    for num_noises in (2, 3, 8, 100):
        for heavy in (1.1, 3.0):
            x = rng.pareto(heavy, (num_noises, 5)).astype(np.float32).astype(np.float64)
            for constant in (x.mean(0), x.mean(0).astype(np.float32), np.median(x, 0), x[0], np.zeros(5)):
                found = judge_student(np.square(x - constant).sum(1), spread_teacher=squared_deviations(x))
                assert found.below_spread is False


def test_differences_of_rounding_are_no_differences():
    d = squares(4.0)
    comparisons = judge_student(d, d * (1 - 1e-9), d, spread_teacher=d, spread_empirical=d, distinct_samples=8).comparisons
    assert not any(found.below or found.above for found in comparisons.values())


def test_distances_that_are_not_paired_are_refused():
    with pytest.raises(ValueError, match="paired by noise"):
        judge_student(np.ones(4), np.ones(5))
    with pytest.raises(ValueError, match="paired by noise"):
        judge_student(np.ones(4), np.ones(4), spread_teacher=np.ones(3))
    with pytest.raises(ValueError, match="M >= 2"):
        judge_student(np.ones(1))
