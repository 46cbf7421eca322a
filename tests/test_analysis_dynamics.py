"""The dynamics analysis tells curves apart that are known, and seldom calls chance a double descent."""

import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pfd_engine.analysis import analyze_dynamics, dynamics_sentence, judge
from pfd_engine.analysis.dynamics import DOUBLE_DESCENT, MONOTONE, OVERFITTING, UNDETERMINED
from pfd_engine.analysis.held_out import critical_value, double_descent, fall_then_rise, held_out_contrasts, largest_fall
from tests.sweep_samples import dynamics_sweep, trained_students

STEPS = np.geomspace(100, 60_000, 20).round().astype(int)
X = np.linspace(0, 1, 20)
FALLING = 1 + 3 * np.exp(-4 * X)
TURNING = np.where(X < 0.4, 1 + 5 * (0.4 - X), 1 + 1.5 * (X - 0.4))
TURNING_THEN_FLAT = np.where(X < 0.4, 1 + 5 * (0.4 - X), 1 + np.minimum(X - 0.4, 0.2) * 3)
PLATEAUS = np.select([X < 0.25, X < 0.5], [2.0, 1.0], 1.5)
BUMP = 1 + 2 * np.exp(-12 * X) + 0.8 * np.exp(-0.5 * ((X - 0.6) / 0.12) ** 2)


def verdicts(curve, repeats, memory=0.8, **options):
    rng = np.random.default_rng(0)
    return Counter(judge(trained_students(rng, curve, memory=memory, **options)).verdict for _ in range(repeats))


@pytest.mark.parametrize("memory", [0.0, 0.8])
@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize(
    "curve",
    [FALLING, np.ones(20), TURNING, TURNING_THEN_FLAT, PLATEAUS],
    ids=["falling", "flat", "turning", "turning, then flat", "plateaus"],
)
def test_chance_is_seldom_called_a_double_descent(curve, seeds, memory):
    assert verdicts(curve, 100, memory, seeds=seeds, noises=16)[DOUBLE_DESCENT] <= 5


def test_chance_is_seldom_called_overfitting():
    for curve in (FALLING, np.where(X < 0.3, 1 + 4 * (0.3 - X), 1.0)):
        counts = verdicts(curve, 100, noises=16)
        assert counts[OVERFITTING] + counts[DOUBLE_DESCENT] <= 5


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [(FALLING, MONOTONE), (FALLING[::-1], MONOTONE), (TURNING, OVERFITTING), (TURNING_THEN_FLAT, OVERFITTING), (BUMP, DOUBLE_DESCENT)],
    ids=["falling", "rising", "turning", "turning, then flat", "bump"],
)
def test_clear_cases_are_found(curve, verdict):
    assert verdicts(curve, 20, scatter=0.05)[verdict] >= 19


def test_a_flat_curve_and_a_single_student_are_undetermined():
    assert verdicts(np.ones(20), 20)[UNDETERMINED] == 20
    assert verdicts(BUMP, 2, seeds=1)[UNDETERMINED] == 2
    assert judge(np.ones((8, 2, 16))).verdict == UNDETERMINED


def test_a_double_descent_is_described_where_it_is():
    judgement = judge(trained_students(np.random.default_rng(1), BUMP, scatter=0.02, noises=256))
    start, dip, peak, second = judgement.steps
    assert start == 0
    assert second >= 17
    assert abs(dip - int(BUMP[:9].argmin())) <= 1
    assert abs(peak - (5 + int(BUMP[5:].argmax()))) <= 1
    for move, truth in zip(
        (judgement.fall, judgement.rise, judgement.second_fall),
        (BUMP[0] - BUMP[:9].min(), BUMP[5:].max() - BUMP[:9].min(), BUMP[5:].max() - BUMP[19]),
        strict=True,
    ):
        assert move.ci_low < truth < move.ci_high
        assert move.value == pytest.approx(truth, abs=0.1)


def test_held_out_moves_of_a_flat_curve_are_not_biased():
    rng = np.random.default_rng(2)
    flat = [trained_students(rng, np.ones(12), seeds=5, noises=8) for _ in range(150)]
    falls = [held_out_contrasts(squared, largest_fall).contrasts[0].value for squared in flat]
    assert abs(np.mean(falls)) < 3 * np.std(falls) / np.sqrt(150)


def test_the_critical_value_holds_its_level_and_exceeds_students_t():
    for students in (3, 8):
        assert critical_value(students, 20) > stats.t.isf(0.025, students - 1) * 1.4
    assert critical_value(8, 20) < stats.t.isf(0.025 / 190, 7)  # less than Bonferroni over all pairs of steps
    assert critical_value(1, 20) == np.inf


def test_locators_find_what_they_name():
    curve = np.array([[5.0, 2.0, 3.0, 1.0, 4.0, 0.5]])
    assert largest_fall(curve).tolist() == [[0, 5]]
    assert fall_then_rise(curve).tolist() == [[0, 3, 4]]
    assert double_descent(curve).tolist() == [[0, 3, 4, 5]]
    small_first_fall = np.array([[2.0, 1.9, 2.1, 2.5, 3.0, 2.4, 0.5]])  # many steps rise by more than the fall: the peak is the highest
    assert double_descent(small_first_fall).tolist() == [[0, 1, 4, 6]]


def test_curves_and_consecutive_contrasts_are_paired_and_corrected():
    rng = np.random.default_rng(3)
    measurements, distances = dynamics_sweep(rng, {256: TURNING}, STEPS, seeds=8, noises=64, scatter=0.05)
    analysis = analyze_dynamics(measurements, distances)
    errors = np.sqrt(np.stack(distances["squared"]).reshape(8, 20, 64).mean(axis=2))
    np.testing.assert_allclose(analysis.curves["E_gen"], errors.mean(axis=0))
    differences = np.diff(errors, axis=1)
    contrasts = analysis.contrasts
    np.testing.assert_allclose(contrasts["difference"], differences.mean(axis=0))
    seeds_alone = stats.t.isf(0.025 / 19, 7) * differences.std(axis=0, ddof=1) / np.sqrt(8)
    assert (contrasts["ci_high"] - contrasts["difference"] > seeds_alone).all()  # the noises come on top
    ordered = contrasts["p_value"].sort_values()
    assert contrasts.loc[ordered.index[0], "p_holm"] == pytest.approx(min(1, 19 * ordered.iloc[0]))
    assert (contrasts["p_holm"] >= contrasts["p_value"]).all()
    assert set(contrasts.loc[contrasts["p_holm"] > 0.05, "direction"]) <= {"unclear"}
    assert (contrasts["direction"].iloc[:6] == "fall").any()


def test_a_common_offset_of_a_student_does_not_blur_its_contrasts():
    squared = (FALLING + np.linspace(-0.5, 0.5, 8)[:, None])[:, :, None] ** 2 * np.ones(16)
    rows = [
        {"size": "mlp-64", "num_samples": 64, "student_seed": s, "step": step, "metric": "E_gen", "squared": squared[s, k]}
        for s in range(8)
        for k, step in enumerate(STEPS)
    ]
    analysis = analyze_dynamics(pd.DataFrame(columns=["size", "parameters"]), pd.DataFrame(rows))
    assert (analysis.contrasts["direction"] == "fall").all()
    np.testing.assert_allclose(analysis.contrasts["ci_low"], analysis.contrasts["ci_high"], atol=1e-6)
    assert (analysis.curves["ci_high"] - analysis.curves["ci_low"] > 0.5).all()


def test_a_student_that_misses_a_checkpoint_is_left_out_and_counted():
    measurements, distances = dynamics_sweep(np.random.default_rng(4), {64: TURNING, 256: FALLING}, STEPS, scatter=0.03)
    lost = (distances["num_samples"] == 64) & (distances["student_seed"] == 3) & (distances["step"] > 1000)
    absent = (distances["num_samples"] == 64) & (distances["student_seed"] == 5)
    analysis = analyze_dynamics(measurements, distances[~lost & ~absent])
    rows = analysis.verdicts.set_index("num_samples")
    assert rows.loc[64, ["seeds", "left_out", "verdict"]].tolist() == [6, 1, OVERFITTING]
    assert rows.loc[256, ["seeds", "left_out", "verdict"]].tolist() == [8, 0, MONOTONE]
    assert rows.loc[64, "dip_step"] in STEPS
    assert pd.isna(rows.loc[256, "dip_step"])


def test_the_sentence_gives_each_verdict_with_its_n():
    curves = {16: TURNING, 64: BUMP, 256: np.ones(20), 1024: FALLING}
    measurements, distances = dynamics_sweep(np.random.default_rng(5), curves, STEPS, scatter=0.05)
    as_stored = distances.astype({"num_samples": float, "student_seed": float, "step": float})
    analysis = analyze_dynamics(measurements, as_stored)
    sentence = dynamics_sentence(analysis)
    rows = analysis.verdicts.set_index("num_samples")
    start = (
        "For N = 64 E_gen falls, rises and falls again (not checked against the noise levels that training drew; the second fall, from step"
    )
    assert sentence.startswith(f"{start} {rows.loc[64, 'peak_step']:,}")
    assert f"for N = 16 students learn first and then overfit (a rise of {rows.loc[16, 'rise']:.2g}" in sentence
    assert "for N = 1,024 E_gen moves one way only" in sentence
    assert sentence.endswith("for N = 256 the course of E_gen is undetermined.")
    assert "nan" not in sentence


def test_nothing_measured_is_said_to_be_so():
    empty = pd.DataFrame(columns=["size", "parameters", "num_samples", "student_seed", "step", "metric", "squared"])
    assert "nothing can be said" in dynamics_sentence(analyze_dynamics(empty, empty))


def test_a_whole_sweep_is_analyzed_in_seconds():
    curves = {2**k: TURNING for k in range(4, 9)}
    sweep = dynamics_sweep(np.random.default_rng(6), curves, STEPS, noises=1024)
    started = time.process_time()
    analyze_dynamics(*sweep)
    assert time.process_time() - started < 4  # half a second on an idle machine
