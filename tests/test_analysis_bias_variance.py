"""Shares, trends and Pareto fronts are those of the numbers put in, with intervals that cover, and the sentences say so."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pfd_engine.analysis import analyze_bias_variance, bias_variance_sentence, pareto_front, trade_off_sentence
from pfd_engine.measure.bias_variance import bias_variance
from tests.sweep_samples import SIZES

METRICS = ("bias2", "variance", "E_gen2")


def rows_of(size, num_samples, values, stderr, students=8, step=500, about=True):
    """The measurement rows of one decomposition, as a sweep writes them; without `about`, as older ones wrote them."""
    quantile = stats.t.isf(0.025, students - 1)
    shared = {"student": f"{size} N={num_samples} all", "size": size, "parameters": SIZES[size], "num_samples": num_samples, "step": step}
    shared |= {"student_seed": None, "band": None}
    rows = [
        {
            **shared,
            "metric": metric,
            "value": value,
            "stderr": error,
            "ci_low": value - quantile * error,
            "ci_high": value + quantile * error,
        }
        for metric, value, error in zip(METRICS, values, stderr, strict=True)
    ]
    told = {"students": students, "effective_students": students, "largest_student_share": 1.2 / students}
    return rows + [{**shared, "metric": metric, "value": value} for metric, value in told.items() if about]


def measured(parts, size="mlp-16", num_samples=64):
    """The rows of a decomposition with the intervals that it has."""
    rows = rows_of(size, num_samples, [parts.bias2.value, parts.variance.value, parts.error2.value], [0, 0, 0], parts.students)
    for row, number in zip(rows, (parts.bias2, parts.variance, parts.error2), strict=False):
        row |= {"stderr": number.stderr, "ci_low": number.ci_low, "ci_high": number.ci_high, "covers": number.covers}
    rows[-2]["value"], rows[-1]["value"] = parts.effective_students, parts.largest_share
    return rows


def decomposed(rng, bias, spread, students=8, noises=64, dimensions=6, **options):
    """Rows of students that scatter by `spread` in each coordinate around a mean that is `bias` away from the teacher in each."""
    maps = bias + spread * rng.standard_normal((students, noises, dimensions))
    return measured(bias_variance(np.zeros((noises, dimensions)), maps), **options)


def test_the_share_of_the_variance_is_covered_by_its_interval():
    rng = np.random.default_rng(0)
    truth, inside, widths = 0.09 / (0.09 + 0.04), [], []
    for _ in range(50):
        row = analyze_bias_variance(pd.DataFrame(decomposed(rng, bias=0.2, spread=0.3))).table.iloc[0]
        inside.append(row["share_low"] <= truth <= row["share_high"])
        widths.append(row["share_high"] - row["share_low"])
        assert row["residual"] < 1e-9
    assert np.mean(inside) > 0.9
    assert np.mean(widths) < 0.3


@pytest.mark.parametrize(("bias", "spread", "part"), [(0.1, 0.5, "variance"), (0.5, 0.1, "bias")])
def test_the_larger_part_is_named(bias, spread, part):
    rows = decomposed(np.random.default_rng(1), bias, spread)
    assert analyze_bias_variance(pd.DataFrame(rows)).table["dominates"].tolist() == [part]


def test_equal_parts_are_undetermined():
    table = analyze_bias_variance(pd.DataFrame(rows_of("mlp-16", 64, [1.0, 1.05, 2.05], [0.2, 0.2, 0.28]))).table
    assert table["dominates"].tolist() == ["undetermined"]


def sweep(step=500):
    """Bias falls and variance rises with the size; both fall with N."""
    rows = []
    for k, size in enumerate(SIZES):
        for j, n in enumerate((64, 256, 1024)):
            bias2, variance = 4.0 / 2**k / 2**j, (1.0 + 0.5 * k) / 3**j
            rows += rows_of(size, n, [bias2, variance, bias2 + variance], [0.02, 0.02, 0.03], step=step)
    return pd.DataFrame(rows)


def test_trends_run_from_end_to_end_along_size_and_n():
    trends = analyze_bias_variance(sweep()).trends.set_index(["quantity", "along", "at"])
    assert (trends.xs("size", level="along").loc["bias2", "direction"] == "falls").all()
    assert (trends.xs("size", level="along").loc["variance", "direction"] == "rises").all()
    assert (trends.xs("num_samples", level="along")["direction"] == "falls").all()
    row = trends.loc[("bias2", "size", "64")]
    assert (row["from"], row["to"], row["change"]) == ("mlp-16", "mlp-256", pytest.approx(0.5 - 4))
    half = stats.t.isf(0.025 / 9, 7) * 0.02 * np.sqrt(2)  # three parts at three N
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(-3.5 - half), pytest.approx(-3.5 + half))


def test_a_change_within_its_interval_is_undetermined():
    rows = rows_of("mlp-16", 64, [1.0, 1.0, 2.0], [0.1] * 3) + rows_of("mlp-64", 64, [1.1, 1.0, 2.1], [0.1] * 3)
    assert set(analyze_bias_variance(pd.DataFrame(rows)).trends["direction"]) == {"undetermined"}


def test_the_last_step_counts_and_other_rows_do_not():
    frame = sweep()
    earlier = sweep(step=10).assign(value=9.0)
    single = frame.assign(student_seed=1.0, value=7.0)
    band = frame.assign(band="pc 1-4", value=8.0)
    incomplete = sweep(step=900).query("metric != 'bias2'")
    mixed = pd.concat([earlier, single, frame, band, incomplete])
    pd.testing.assert_frame_equal(analyze_bias_variance(mixed).table, analyze_bias_variance(frame).table, check_dtype=False)


def test_a_slightly_negative_bias_is_kept():
    row = analyze_bias_variance(pd.DataFrame(rows_of("mlp-16", 64, [-0.01, 1.0, 0.99], [0.02, 0.02, 0.02]))).table.iloc[0]
    assert row["share"] > 1
    assert row["dominates"] == "variance"


def test_trends_and_shares_are_corrected_over_n():
    def seen(samples):
        rows = [
            row for n in samples for size, value in (("mlp-16", 1.0), ("mlp-64", 1.5)) for row in rows_of(size, n, [value] * 3, [0.1] * 3)
        ]
        analysis = analyze_bias_variance(pd.DataFrame(rows))
        return analysis.trends.query("along == 'size'"), analysis.table

    (one, table), (six, tables) = seen([64]), seen([2**k for k in range(4, 10)])
    assert set(one["direction"]) == {"rises"}
    assert set(six["direction"]) == {"undetermined"}
    widths = (six["ci_high"] - six["ci_low"]).iloc[0] / (one["ci_high"] - one["ci_low"]).iloc[0]
    assert widths == pytest.approx(stats.t.isf(0.025 / 18, 7) / stats.t.isf(0.025 / 3, 7))
    widths = (tables["share_high"] - tables["share_low"])[0] / (table["share_high"] - table["share_low"])[0]
    assert widths == pytest.approx(stats.t.isf(0.025 / 12, 7) / stats.t.isf(0.025 / 2, 7))


def test_the_margins_of_a_variance_widen_about_its_logarithm():
    few, many = (decomposed(np.random.default_rng(k), 0.2, 0.3 + k / 10, size=size) for k, size in enumerate(("mlp-16", "mlp-256")))
    trend = analyze_bias_variance(pd.DataFrame(few + many)).trends.set_index(["quantity", "along"]).loc[("variance", "size")]
    (v, f), (w, g) = ((rows[1]["value"], rows[1]["ci_high"] / rows[1]["value"]) for rows in (few, many))
    ratios = [stats.t.isf(0.025 / 3, rows[-2]["value"] - 1) / stats.t.isf(0.025, rows[-2]["value"] - 1) for rows in (few, many)]
    f, g = f ** ratios[0], g ** ratios[1]
    assert trend["ci_low"] == pytest.approx(w - v - np.hypot(w - w / g, v * f - v))
    assert trend["ci_high"] == pytest.approx(w - v + np.hypot(w * g - w, v - v / f))


def said_of(rows):
    return bias_variance_sentence(analyze_bias_variance(pd.DataFrame(rows))).removesuffix(".").split(". ")


def test_each_claim_is_a_sentence_with_one_interval_and_no_size_code():
    assert set(analyze_bias_variance(sweep().astype({"num_samples": float, "step": float})).trends["at"]) == {*SIZES, "64", "256", "1024"}
    said = said_of(sweep())
    assert said[0].startswith(
        "After 500 training steps on 64, 256 or 1,024 images, students of 1.9 M parameters have less bias² than those of 30 k"
    )
    assert said[1].startswith(
        "After 500 training steps on 64, 256 or 1,024 images, students of 1.9 M parameters have more variance than those of 30 k"
    )
    assert said[2].startswith("Of 12 combinations of size and N, the larger part of E_gen² is variance in ")
    assert len(said) == 3
    assert all(sentence.count("[") <= 1 and "mlp" not in sentence for sentence in said)


def test_opposite_trends_are_sentences_of_their_own():
    rows = []
    for n, last in ((64, 3.0), (256, 1.0), (1024, 2.0)):
        rows += rows_of("mlp-16", n, [1.0, 2.0, 3.0], [0.05] * 3) + rows_of("mlp-64", n, [1.0, last, 1.0 + last], [0.05] * 3)
    said, after = said_of(rows), "After 500 training steps on"
    assert said[0] == f"{after} 64, 256 or 1,024 images, no difference of the bias² of small and large students is told from 0"
    assert said[1].startswith(
        f"{after} 256 images, students of 120 k parameters have less variance than those of 30 k parameters, by 1.00 ["
    )
    assert said[2].startswith(
        f"{after} 64 images, students of 120 k parameters have more variance than those of 30 k parameters, by 1.00 ["
    )
    assert said[3] == f"{after} 1,024 images, no difference of the variance of small and large students is told from 0"


def test_few_students_have_no_interval_and_say_so():
    for students in (2, 3):
        said = said_of(
            decomposed(np.random.default_rng(1), 0.1, 0.5, students=students) + rows_of("mlp-64", 64, [1, 2, 3], [0.1] * 3, students)
        )
        assert said == ["Fewer than 4 students do not tell how bias and variance scatter, so there is no interval"]


def test_older_rows_keep_their_intervals_and_say_what_is_not_known():
    rows = rows_of("mlp-16", 64, [1.0, 9.0, 10.0], [0.1] * 3, about=False)
    errors = [{**rows[0], "student_seed": seed, "metric": "E_gen", "value": 3.0} for seed in range(8)]
    row = analyze_bias_variance(pd.DataFrame(rows + errors)).table.iloc[0]
    assert (row["students"], row["freedom"], row["covers"], row["outlier"]) == (8, 7, "students and noises", None)
    assert row["variance_high"] == rows[1]["ci_high"]
    assert said_of(rows + errors)[-1] == "Whether a single student carries most of a variance was not stored with these rows"
    two = analyze_bias_variance(pd.DataFrame(rows + errors[:2])).table.iloc[0]
    assert np.isnan([two["variance_high"], two["share_low"]]).all()
    assert (two["covers"], two["dominates"]) == ("noises", "undetermined")


def test_an_outlying_student_is_marked():
    maps = np.random.default_rng(2).standard_normal((8, 64, 6)) * np.array([5, *[1] * 7])[:, None, None]
    parts = bias_variance(np.zeros((64, 6)), maps)
    assert parts.outlier
    analysis = analyze_bias_variance(pd.DataFrame(measured(parts)))
    assert analysis.table["outlier"].tolist() == [True]
    assert bias_variance_sentence(analysis).endswith(
        "Of the students of 30 k parameters at N = 64, one carries more of the variance than chance explains, so that intervals hold less "
        "often."
    )


def test_a_broken_identity_is_admitted_and_nothing_is_said_of_nothing():
    broken = sweep()
    broken.loc[broken["metric"] == "E_gen2", "value"] *= 1.01
    assert said_of(broken)[-1] == "bias² + variance misses E_gen² by up to 0.01 of it"
    assert "cannot be split" in said_of(sweep().iloc[:0])[0]


def test_the_pareto_front_holds_what_nothing_beats():
    frame = pd.DataFrame(
        {
            "student": list("abcdefg"),
            "calls": [1, 1, 4, 4, 35, 35, np.nan],
            "error": [3.0, 3.5, 2.0, 2.0, 2.5, np.nan, 0.1],
        },
        index=[3, 3, 1, 2, 9, 8, 7],
    )
    front = pareto_front(frame, "calls", "error")
    assert front["pareto"].tolist() == [True, False, True, True, False, False, False]
    assert front["pareto"].dtype == bool
    assert "pareto" not in frame
    sentence = trade_off_sentence(front, "calls", "error", "network calls", unit="data units")
    assert sentence == (
        "3 of 7 students are on the Pareto front: a has the fewest network calls (1; error 3.00 data units), c the smallest error (2.00 "
        "data units) for 4 network calls."
    )


def test_one_point_dominates_or_nothing_is_there():
    one = pareto_front(pd.DataFrame({"student": ["a", "b"], "seconds": [1.0, 2.0], "error": [1.0, 2.0]}), "seconds", "error")
    assert trade_off_sentence(one, "seconds", "error", "seconds").endswith("none of the 2 has a smaller error.")
    empty = pareto_front(pd.DataFrame({"student": [], "seconds": [], "error": []}), "seconds", "error")
    assert "Nothing has both" in trade_off_sentence(empty, "seconds", "error", "seconds")
