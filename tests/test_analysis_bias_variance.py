"""Shares, trends and Pareto fronts are those of the numbers put in, with intervals that cover, and the sentences say so."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pfd_engine.analysis import analyze_bias_variance, bias_variance_sentence, pareto_front, trade_off_sentence
from pfd_engine.decomposition import bias_variance
from tests.sweep_samples import SIZES

METRICS = ("bias2", "variance", "E_gen2")


def rows_of(size, num_samples, values, stderr, students=8, step=500):
    """The measurement rows of one decomposition, as a sweep writes them."""
    quantile = stats.t.isf(0.025, students - 1)
    shared = {"student": f"{size} N={num_samples} all", "size": size, "parameters": SIZES[size], "num_samples": num_samples, "step": step}
    return [
        {
            **shared,
            "student_seed": None,
            "metric": metric,
            "band": None,
            "value": value,
            "stderr": error,
            "ci_low": value - quantile * error,
            "ci_high": value + quantile * error,
        }
        for metric, value, error in zip(METRICS, values, stderr, strict=True)
    ]


def decomposed(rng, bias, spread, students=8, noises=64, dimensions=6):
    """Rows of students that scatter by `spread` in each coordinate around a mean that is `bias` away from the teacher in each."""
    maps = bias + spread * rng.standard_normal((students, noises, dimensions))
    parts = bias_variance(np.zeros((noises, dimensions)), maps)
    values = (parts.bias2, parts.variance, parts.error2)
    return rows_of("mlp-16", 64, [float(v) for v in values], [v.stderr for v in values], students)


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
    half = stats.t.isf(0.025, 7) * 0.02 * np.sqrt(2)
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


def test_the_sentence_counts_and_admits_a_broken_identity():
    analysis = analyze_bias_variance(sweep())
    assert set(analyze_bias_variance(sweep().astype({"num_samples": float, "step": float})).trends["at"]) == {*SIZES, "64", "256", "1024"}
    sentence = bias_variance_sentence(analysis)
    counts = analysis.table["dominates"].value_counts()
    assert f"of 12 combinations of size and N the larger part of E_gen² is variance in {counts['variance']}" in sentence
    assert f"bias in {counts['bias']}" in sentence
    assert "has less bias² at 3 of 3 N and more variance at 3 of 3 N than" in sentence
    assert "misses" not in sentence
    broken = sweep()
    broken.loc[broken["metric"] == "E_gen2", "value"] *= 1.01
    assert "bias² + variance misses E_gen² by up to 0.01 of it" in bias_variance_sentence(analyze_bias_variance(broken))
    assert "cannot be split" in bias_variance_sentence(analyze_bias_variance(sweep().iloc[:0]))


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
