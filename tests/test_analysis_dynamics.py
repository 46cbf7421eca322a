"""The dynamics analysis tells curves apart that are known, and seldom calls chance a double descent."""

import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pfd_engine.analysis import analyze_dynamics, dynamics_sentence, judge
from pfd_engine.analysis.dynamics import BETTER, DOUBLE_DESCENT, FALLS, HUMP, OVERFITTING, RISES, TURNS, UNDETERMINED, WORSE
from pfd_engine.analysis.moves import comparisons
from pfd_engine.wording import numbers as words
from tests.sweep_samples import dynamics_sweep, trained_students

STEPS = np.geomspace(100, 60_000, 20).round().astype(int)
X = np.linspace(0, 1, 20)
FALLING = 1 + 3 * np.exp(-4 * X)
TURNING = np.where(X < 0.4, 1 + 5 * (0.4 - X), 1 + 1.5 * (X - 0.4))
TURNING_THEN_FLAT = np.where(X < 0.4, 1 + 5 * (0.4 - X), 1 + np.minimum(X - 0.4, 0.2) * 3)
PLATEAUS = np.select([X < 0.25, X < 0.5], [2.0, 1.0], 1.5)
BUMP = 1 + 2 * np.exp(-12 * X) + 0.8 * np.exp(-0.5 * ((X - 0.6) / 0.12) ** 2)
RISING_FIRST = 3 + 0.8 * np.exp(-0.5 * ((X - 0.3) / 0.12) ** 2) - 0.8 * X


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
    [
        (FALLING, FALLS),
        (FALLING[::-1], RISES),
        (RISING_FIRST, HUMP),
        (TURNING, OVERFITTING),
        (TURNING_THEN_FLAT, OVERFITTING),
        (BUMP, DOUBLE_DESCENT),
    ],
    ids=["falling", "rising", "hump", "turning", "turning, then flat", "bump"],
)
def test_clear_cases_are_found(curve, verdict):
    assert verdicts(curve, 20, scatter=0.05)[verdict] >= 19


def test_a_flat_curve_and_a_single_student_are_undetermined():
    assert verdicts(np.ones(20), 20)[UNDETERMINED] == 20
    assert verdicts(BUMP, 2, seeds=1)[UNDETERMINED] == 2
    assert judge(np.ones((8, 2, 16))).verdict == UNDETERMINED


def test_a_double_descent_is_described_where_it_is():
    judgement = judge(trained_students(np.random.default_rng(1), BUMP, scatter=0.02, noises=256))
    dip, peak, second = judgement.turns
    assert judgement.fall.start == 0
    assert second >= 17
    assert abs(dip - int(BUMP[:9].argmin())) <= 1
    assert abs(peak - (5 + int(BUMP[5:].argmax()))) <= 1
    for move, truth in zip(
        (judgement.fall, judgement.rise, judgement.second_fall),
        (BUMP[0] - BUMP[dip], BUMP[peak] - BUMP[dip], BUMP[peak] - BUMP[second]),
        strict=True,
    ):
        assert move.ci_low < truth < move.ci_high
        assert move.value == pytest.approx(truth, abs=0.1)


def test_steps_and_moves_are_those_of_the_curve_that_is_drawn():
    sweep = dynamics_sweep(np.random.default_rng(3), {16: TURNING, 64: BUMP, 256: FALLING}, STEPS, scatter=0.05)
    analysis = analyze_dynamics(*sweep)
    drawn = analysis.curves.set_index(["num_samples", "step"])["E_gen"]
    moved = 0
    for row in analysis.verdicts.to_dict("records"):
        for move, sign in (("fall", -1), ("rise", 1), ("second_fall", -1)):
            if row[move] == row[move]:
                n, start, end = row["num_samples"], row[f"{move}_from"], row[f"{move}_to"]
                assert row[move] == pytest.approx(sign * (drawn[n, end] - drawn[n, start]))
                moved += 1
    assert moved == 6


def test_contrasts_are_paired_and_corrected_over_checkpoints_and_every_n():
    rng = np.random.default_rng(3)
    measurements, distances = dynamics_sweep(rng, {256: TURNING, 1024: FALLING}, STEPS, seeds=8, noises=64, scatter=0.05)
    analysis = analyze_dynamics(measurements, distances)
    errors = np.sqrt(np.stack(distances["squared"]).reshape(2, 8, 20, 64).mean(axis=3))
    np.testing.assert_allclose(analysis.curves["E_gen"], errors.mean(axis=1).ravel())
    differences = np.diff(errors, axis=2)
    contrasts = analysis.contrasts
    np.testing.assert_allclose(contrasts["difference"], differences.mean(axis=1).ravel())
    seeds_alone = stats.t.isf(0.025 / (2 * comparisons(20)), 7) * differences.std(axis=1, ddof=1).ravel() / np.sqrt(8)
    assert (contrasts["ci_high"] - contrasts["difference"] > seeds_alone).all()  # the noises come on top
    outside = (contrasts["ci_low"] > 0) | (contrasts["ci_high"] < 0)
    assert (outside == (contrasts["direction"] != "unclear")).all()
    one = analyze_dynamics(measurements, distances[distances["num_samples"] == 256]).contrasts
    widths = (contrasts["ci_high"] - contrasts["ci_low"])[:19] / (one["ci_high"] - one["ci_low"])
    np.testing.assert_allclose(widths, stats.t.isf(0.025 / 420, 7) / stats.t.isf(0.025 / 210, 7))


def test_a_common_offset_of_a_student_does_not_blur_its_contrasts():
    rng = np.random.default_rng(8)
    squared = (FALLING + np.linspace(-0.5, 0.5, 8)[:, None] + 0.001 * rng.standard_normal((8, 20)))[:, :, None] ** 2 * np.ones(16)
    rows = [
        {"size": "mlp-64", "num_samples": 64, "student_seed": s, "step": step, "metric": "E_gen", "squared": squared[s, k]}
        for s in range(8)
        for k, step in enumerate(STEPS)
    ]
    analysis = analyze_dynamics(pd.DataFrame(columns=["size", "parameters"]), pd.DataFrame(rows))
    assert (analysis.contrasts["direction"] == "fall").all()
    assert (analysis.contrasts["ci_high"] - analysis.contrasts["ci_low"] < 0.02).all()
    assert (analysis.curves["ci_high"] - analysis.curves["ci_low"] > 0.5).all()


def test_a_student_that_misses_a_checkpoint_is_left_out_and_counted():
    measurements, distances = dynamics_sweep(np.random.default_rng(4), {64: TURNING, 256: FALLING}, STEPS, scatter=0.03)
    lost = (distances["num_samples"] == 64) & (distances["student_seed"] == 3) & (distances["step"] > 1000)
    absent = (distances["num_samples"] == 64) & (distances["student_seed"] == 5)
    analysis = analyze_dynamics(measurements, distances[~lost & ~absent])
    rows = analysis.verdicts.set_index("num_samples")
    assert rows.loc[64, ["seeds", "left_out", "verdict"]].tolist() == [6, 1, OVERFITTING]
    assert rows.loc[256, ["seeds", "left_out", "verdict"]].tolist() == [8, 0, FALLS]
    assert rows.loc[64, "dip_step"] in STEPS
    assert pd.isna(rows.loc[256, "dip_step"])


def said_of(curves, spread=None, scatter=0.03, inside=None, **options):
    """The sentences, in a list, and the verdicts by N of a made sweep; `inside` are the curves of its diagnostic map."""
    measurements, distances = dynamics_sweep(np.random.default_rng(5), curves, STEPS, scatter=scatter, **options)
    as_stored = distances.astype({"num_samples": float, "student_seed": float, "step": float})
    diagnostic = None if inside is None else dynamics_sweep(np.random.default_rng(6), inside, STEPS, scatter=scatter, **options)[1]
    analysis = analyze_dynamics(measurements, as_stored, spread, diagnostic)
    sentence = dynamics_sentence(analysis)
    assert "nan" not in sentence
    assert "-0." not in sentence
    return sentence.removesuffix(".").split(". "), analysis.verdicts.set_index("num_samples")


def test_each_turn_is_said_in_sentences_with_one_interval_each():
    said, rows = said_of({16: TURNING, 64: BUMP})
    rise = words.with_interval(*rows.loc[16, ["rise", "rise_low", "rise_high"]])
    assert said[0] == (
        "Over 60,000 training steps, a 120 k-parameter student trained on 16 images learns first and then overfits: its E_gen rises by "
        f"{rise} from step {rows.loc[16, 'dip_step']:,} to step {rows.loc[16, 'peak_step']:,}"
    )
    assert said[1].startswith(f"After step {rows.loc[16, 'dip_step']:,}, a fall above 0.")
    assert said[2] == "One trained on 64 images gets better, worse and better: its E_gen falls, rises and falls again"
    assert said[3].startswith(f"The rise, from step {rows.loc[64, 'dip_step']:,} to step {rows.loc[64, 'peak_step']:,}, is ")
    assert said[4:] == [
        "This was not checked against the noise levels that training drew, so it is not called a double descent",
        "Whether its dip is better than a constant image was not measured",
    ]
    assert all(part.count("[") <= 1 for part in said)


def test_what_only_rises_is_said_to_rise_and_never_in_one_clause_with_what_falls():
    said, rows = said_of({16: FALLING[::-1], 64: FALLING, 256: FALLING})
    assert rows["verdict"].tolist() == [RISES, FALLS, FALLS]
    assert len(said) == 2
    assert "trained on 16 images only gets worse: its E_gen rises, and a fall above 0." in said[0]
    assert said[1].startswith("One trained on 64 or 256 images only gets better: its E_gen falls, and a rise above 0.")
    assert float(said[1].split("above ")[1].split(" ")[0]) >= rows.loc[[64, 256], "no_rise_above"].max()  # the bound holds for both


def test_a_steep_curve_has_no_bound_below_0():
    measurements, distances = dynamics_sweep(np.random.default_rng(5), {16: np.array([9.0, 6.0, 3.0])}, [1, 2, 3], scatter=0.01)
    sentence = dynamics_sentence(analyze_dynamics(measurements, distances))
    assert sentence.endswith("only gets better: its E_gen falls, and it rises between no two checkpoints.")


def test_what_is_not_told_is_said_with_what_is_not_excluded():
    said, rows = said_of({16: np.ones(20), 64: np.ones(20)}, scatter=0.15)
    assert rows["verdict"].tolist() == [UNDETERMINED, UNDETERMINED]
    assert said[0].endswith("trained on 16 or 64 images shows neither a clear fall nor a clear rise of its E_gen")
    said, rows = said_of({64: FALLING, 1024: FALLING}, scatter=0.2)
    assert rows["verdict"].tolist() == [UNDETERMINED, UNDETERMINED]
    for sentence, n in zip(said, (64, 1024), strict=True):
        assert f"trained on {n:,} images gets better, but a rise of its E_gen by up to" in sentence
        assert words.upper_bound(rows.loc[n, "no_rise_above"]) in sentence


def test_a_hump_is_not_called_overfitting():
    said, rows = said_of({16: RISING_FIRST})
    assert rows.loc[16, "verdict"] == HUMP
    assert "gets worse before it gets better: its E_gen rises by" in said[0]


def test_turns_that_are_worse_than_a_constant_image_are_said_to_be():
    said, rows = said_of({64: BUMP + 2, 256: FALLING}, spread=2.5)
    assert rows.loc[64, ["dip_level", "peak_level"]].tolist() == [WORSE, WORSE]
    assert rows.loc[256, ["dip_level", "peak_level"]].tolist() == [None, None]
    assert said[3] == "Its dip and peak are worse than a constant image, whose E_gen would be 2.50"
    _, rows = said_of({64: BUMP}, spread=1.5)
    assert rows.loc[64, ["dip_level", "peak_level"]].tolist() == [BETTER, WORSE]


def test_the_spread_is_read_from_the_measurements():
    measurements, distances = dynamics_sweep(np.random.default_rng(5), {64: BUMP}, STEPS, scatter=0.03)
    assert analyze_dynamics(measurements, distances).spread is None
    assert analyze_dynamics(measurements.assign(spread=4.25), distances).spread == 4.25


def test_a_double_descent_is_one_only_where_the_trained_range_shows_it_too():
    said, rows = said_of({64: BUMP}, spread=1.2, inside={64: BUMP - 0.4})
    assert rows.loc[64, "verdict"] == DOUBLE_DESCENT
    inside = words.with_interval(*rows.loc[64, ["inside_rise", "inside_rise_low", "inside_rise_high"]])
    assert said[0].endswith("shows a double descent: its E_gen falls, rises and falls again")
    assert said[2] == f"With the teacher's denoiser outside the trained range the rise is there, too: {inside}"
    assert rows.loc[64, "inside_rise"] == pytest.approx(rows.loc[64, "rise"], abs=0.1)

    said, rows = said_of({64: BUMP}, spread=1.2, inside={64: FALLING - 0.5})
    assert rows.loc[64, "verdict"] == TURNS
    assert rows.loc[64, "dip_step"] < rows.loc[64, "peak_step"] < rows.loc[64, "second_dip_step"]
    inside = words.with_interval(*rows.loc[64, ["inside_rise", "inside_rise_low", "inside_rise_high"]])
    assert said[2:4] == [
        f"With the teacher's denoiser outside the trained range the rise turns into a fall: {inside}",
        "So it is not called a double descent",
    ]
    said, rows = said_of({64: BUMP}, spread=1.2, inside={64: np.maximum(FALLING, FALLING[4])})
    assert rows.loc[64, "verdict"] == TURNS
    assert "outside the trained range the rise vanishes: " in said[2]
    assert rows.loc[64, "inside_rise_low"] < 0 < rows.loc[64, "inside_rise_high"] < rows.loc[64, "rise"]

    rising = np.where(X < 0.3, 3 - 4 * X, 1.8 + 2 * (X - 0.3))
    said, rows = said_of({64: BUMP}, spread=1.2, inside={64: rising})
    assert rows.loc[64, "verdict"] == TURNS
    assert "outside the trained range the second fall turns into a rise: " in said[2]


def test_rises_and_falls_of_other_curves_are_said_to_be_inside_the_trained_range_or_not():
    curves = {16: TURNING, 64: FALLING, 256: FALLING, 1024: RISING_FIRST}
    said, rows = said_of(curves, inside={16: FALLING, 64: FALLING, 256: FALLING, 1024: RISING_FIRST})
    assert rows["verdict"].tolist() == [OVERFITTING, FALLS, FALLS, HUMP]
    found = [sentence for sentence in said if sentence.startswith("With the teacher's denoiser outside the trained range")]
    assert "the rise turns into a fall: " in found[0]
    assert found[1].endswith("each fall is there, too")
    assert "the rise is there, too: " in found[2]
    said, rows = said_of({64: FALLING, 256: FALLING}, inside={64: np.ones(20), 256: FALLING})
    assert said[1] == "With the teacher's denoiser outside the trained range the fall is not clear for 64 images"


def test_a_diagnostic_map_that_misses_a_step_checks_nothing_and_changes_no_number_of_the_students():
    measurements, distances = dynamics_sweep(np.random.default_rng(5), {64: BUMP}, STEPS, scatter=0.03)
    own = analyze_dynamics(measurements, distances)
    short = distances[distances["step"] != STEPS[7]]
    for diagnostic in (short, distances.iloc[:0], distances.assign(num_samples=128)):
        found = analyze_dynamics(measurements, distances, diagnostic=diagnostic)
        pd.testing.assert_frame_equal(found.verdicts, own.verdicts)
        assert found.verdicts["verdict"].tolist() == [TURNS]
        assert "not checked against the noise levels" in dynamics_sentence(found)
    assert not own.trained_range_checked
    whole = analyze_dynamics(measurements, distances, diagnostic=distances)
    assert whole.trained_range_checked
    pd.testing.assert_frame_equal(whole.curves, own.curves)
    pd.testing.assert_frame_equal(whole.contrasts, own.contrasts)


def test_few_students_make_no_verdict_and_say_so():
    for seeds in (1, 2):
        said, rows = said_of({64: BUMP}, seeds=seeds)
        assert rows.loc[64, "verdict"] == UNDETERMINED
        assert "neither a clear fall nor a clear rise" in said[0]


def test_nothing_measured_is_said_to_be_so():
    empty = pd.DataFrame(columns=["size", "parameters", "num_samples", "student_seed", "step", "metric", "squared"])
    assert "nothing can be said" in dynamics_sentence(analyze_dynamics(empty, empty))


def test_a_whole_sweep_is_analyzed_in_half_a_second():
    curves = {2**k: TURNING for k in range(4, 10)}
    sweep = dynamics_sweep(np.random.default_rng(6), curves, STEPS, seeds=12, noises=1024)
    started = time.process_time()
    analyze_dynamics(*sweep)
    assert time.process_time() - started < 2  # a tenth of that on an idle machine
