"""The scaling analysis finds crossings, exponents and collapses that were put in, and its intervals cover them."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks import scaling_simulation as simulation
from pfd_engine.analysis import analyze_scaling, find_crossing, scaling_sentence, seed_means
from pfd_engine.analysis.crossings import all_crossings, log_crossings
from pfd_engine.analysis.resampling import directions, percentiles, resampler
from pfd_engine.analysis.students import Students
from tests.sweep_samples import SIZES, e_gen, e_mem, scaling_sweep, sweep_of_curves, true_crossings

GRID = 2 ** np.arange(4, 13)


def made_students(rng, truth, grid, scatter, noises=32):
    """Students around the curves of crossings `(seeds, sizes)`, on shared noises."""
    common = rng.standard_normal(noises)
    squared = {}
    for metric, curve in (("E_gen", e_gen), ("E_mem", e_mem)):
        errors = curve(grid[None, :, None], truth.T[:, None, :])
        errors = errors + scatter * rng.standard_normal(errors.shape)
        own = rng.standard_normal((*errors.shape, noises))
        squared[metric] = errors[..., None] ** 2 * (1 + 0.2 * (common + own))
    return Students(list(SIZES), np.array(list(SIZES.values()), dtype=float), grid, np.arange(len(truth)), squared)


def crossings(students, draws):
    """Log N* of each size, and resampled."""
    log_n = np.log(students.num_samples)
    means = {metric: directions(np.sqrt(squared.mean(axis=-1))).mean[None] for metric, squared in students.squared.items()}
    drawn = {metric: draws.means(squared) for metric, squared in students.squared.items()}
    return log_crossings(means, log_n)[0], log_crossings(drawn, log_n)


def test_a_crossing_is_interpolated_in_log_n():
    value, censored = find_crossing(np.array([16, 64, 256]), e_gen=np.array([4.0, 3.0, 2.0]), e_mem=np.array([2.0, 2.0, 3.0]))
    assert (value, censored) == (pytest.approx(128), "")  # differences -2, -1, 1: half-way between 64 and 256 in logs


@pytest.mark.parametrize(
    ("difference", "censored"),
    [([-3, -2, -1], "above"), ([1, 2, 3], "below"), ([np.nan, np.nan, 1], "unknown")],
)
def test_a_crossing_outside_the_grid_is_censored_and_not_extrapolated(difference, censored):
    value, word = find_crossing(np.array([16, 64, 256]), e_gen=np.full(3, 5.0), e_mem=5.0 + np.array(difference))
    assert (np.isnan(value), word) == (True, censored)


def test_of_several_crossings_the_last_one_into_generalization_counts_and_all_are_reported():
    curves = {"e_gen": np.zeros(4), "e_mem": np.array([-1.0, 1.0, -1.0, 1.0])}
    value, _ = find_crossing(np.array([4, 16, 64, 256]), **curves)
    assert value == pytest.approx(128)
    found = all_crossings(np.array([4, 16, 64, 256]), **curves)
    assert [begins for _, begins in found] == ["generalizing", "memorizing", "generalizing"]
    np.testing.assert_allclose([n for n, _ in found], [8, 32, 128])


@pytest.mark.parametrize("difference", [[-1, 1, 1, -1], [1, 1, -1, -1], [-1, 1, -1, -1]])
def test_a_size_whose_largest_n_memorizes_again_has_no_crossing(difference):
    value, word = find_crossing(np.array([4, 16, 64, 256]), e_gen=np.full(4, 5.0), e_mem=5.0 + np.array(difference))
    assert (np.isnan(value), word) == (True, "again")


def test_memorizing_again_reaches_the_analysis_with_all_its_crossings():
    grid, gap = np.array([16, 64, 256, 1024]), np.array([-1.0, 1.0, 1.0, -1.0])
    analysis = analyze_scaling(*sweep_of_curves(np.random.default_rng(0), {"mlp-16": (np.full(4, 3.0), 3 + gap)}, grid))
    row = analysis.crossings.iloc[0]
    assert row["censored"] == "again"
    assert np.isnan([row["crossing"], row["ci_low"], row["ci_high"]]).all()
    assert list(analysis.all_crossings["begins"]) == ["generalizing", "memorizing"]
    np.testing.assert_allclose(analysis.all_crossings["num_samples"], [32, 512], rtol=0.05)


def test_a_missing_n_is_bridged():
    value, _ = find_crossing(np.array([16, 64, 256]), e_gen=np.zeros(3), e_mem=np.array([-1.0, np.nan, 1.0]))
    assert value == pytest.approx(64)


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_resampled_means_give_the_t_interval_over_seeds(seeds):
    rng = np.random.default_rng(0)
    errors = 3 + 0.1 * rng.standard_normal(seeds)
    squared = np.repeat((errors**2)[:, None], 16, axis=1)[None, None]  # constant over noises: seeds alone
    low, high = percentiles(resampler(16, seeds, 20_000, 0).means(squared))
    expected = stats.t.interval(0.95, seeds - 1, errors.mean(), errors.std(ddof=1) / np.sqrt(seeds))
    half = (expected[1] - expected[0]) / 2
    np.testing.assert_allclose([low[0, 0], high[0, 0]], expected, atol=0.1 * half)


def test_resampled_means_of_one_seed_give_the_interval_over_noises():
    squared = np.random.default_rng(0).gamma(4.0, 1.0, (1, 1, 1, 400))
    low, high = percentiles(resampler(400, 1, 4000, 0).means(squared))
    mean = squared.mean()
    half = 1.96 * squared.std(ddof=1) / 20 / (2 * np.sqrt(mean))
    np.testing.assert_allclose([low[0, 0], high[0, 0]], [np.sqrt(mean) - half, np.sqrt(mean) + half], atol=0.15 * half)


def test_crossings_and_exponent_come_out_as_they_were_put_in():
    rng = np.random.default_rng(0)
    truth = true_crossings(exponent=0.4)
    analysis = analyze_scaling(*scaling_sweep(rng, truth, GRID, seeds=5, scatter=0.02, noises=256))
    np.testing.assert_allclose(analysis.crossings["crossing"], list(truth.values()), rtol=0.08)
    assert list(analysis.crossings["size"]) == list(SIZES)
    assert analysis.exponent.value == pytest.approx(0.4, abs=0.03)
    assert analysis.exponent.ci_low < 0.4 < analysis.exponent.ci_high < 0.5
    for curve in ("log(E_mem / E_gen)", "E_gen", "E_mem"):
        scores = analysis.collapse[analysis.collapse["curve"] == curve].set_index("kind")
        assert scores.loc["none", "score"] == 0
        assert scores.loc["fitted", "score"] > 0.98
        assert 0.7 < scores.loc["paper", "score"] < scores.loc["fitted", "score"]


@pytest.mark.parametrize("shared", [False, True], ids=["independent students", "seeds that share their luck"])
@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_of_crossings_of_few_seeds_cover(shared, seeds):
    rng = np.random.default_rng(1)
    truth, grid = np.array(list(true_crossings().values())), 2 ** np.arange(4, 13)
    inside, draws = [], resampler(16, seeds, 200, 0)
    for _ in range(100):
        # A seed's luck (its training set) moves all its crossings, and tilts them: only resampling seeds as a whole sees it.
        luck = (0.3 + 0.1 * np.log(truth / truth[0])) * rng.standard_normal((seeds, 1)) if shared else np.zeros((seeds, 1))
        students = made_students(rng, truth * np.exp(luck), grid, scatter=0.02 if shared else 0.1, noises=16)
        low, high = percentiles(crossings(students, draws)[1])
        inside.append((low <= np.log(truth)) & (np.log(truth) <= high))
    assert np.mean(inside) > 0.92


@pytest.mark.parametrize("off_line", [0.0, simulation.SCATTER_SEEN])
@pytest.mark.parametrize("sizes", [4, 6])
def test_the_interval_of_the_exponent_covers_with_and_without_scatter_of_sizes(sizes, off_line):
    found = simulation.exponent_coverage(np.random.default_rng(2), 200, 0.5, sizes, off_line, seeds=3, noises=16, draws=2)
    assert 0.91 <= found["a"] <= 0.99  # 0.95 within three standard errors of 200 sweeps


def test_lack_of_fit_is_rare_on_a_power_law_and_found_on_a_bend():
    rng = np.random.default_rng(3)
    straight = simulation.exponent_coverage(rng, 150, 0.5, 6, 0.0, seeds=4, noises=16, draws=2)
    assert straight["lack of fit found"] <= 0.1  # 0.05 within three standard errors of 150 sweeps
    log_p = np.log(list(SIZES.values()))
    bent = dict(zip(SIZES, np.exp(4.2 + 0.2 * (log_p - log_p[0]) + 0.15 * (log_p - log_p[0]) ** 2 / 2), strict=True))
    analysis = analyze_scaling(*scaling_sweep(rng, bent, GRID, seeds=4, scatter=0.02, noises=256))
    assert analysis.exponent.lack_of_fit < 0.05
    assert analysis.exponent.curvature > 0


def test_the_exponent_is_fitted_to_the_sizes_that_reach_both_regimes_alone():
    rng, grid = np.random.default_rng(4), 2 ** np.arange(4, 13)
    sizes = {"never-memorizes": 7_000, **SIZES}
    crossings = true_crossings(0.5, sizes=SIZES)
    curves = {size: (e_gen(grid, n), e_mem(grid, n)) for size, n in crossings.items()}
    weak = np.tanh(np.log(grid / 18) / 2)  # it crosses at N = 18, far below the line, and copies nothing on the way
    curves["never-memorizes"] = (3 - weak, 3 + weak)
    analysis = analyze_scaling(*sweep_of_curves(rng, curves, grid, sizes))
    assert analysis.exponent.sizes == tuple(SIZES)
    assert list(analysis.crossings["in_fit"]) == [False, True, True, True, True]
    assert analysis.crossings["crossing"].iloc[0] == pytest.approx(18, rel=0.1)
    assert analysis.exponent.value == pytest.approx(0.5, abs=0.05)


def test_a_sweep_with_fewer_than_three_usable_sizes_has_no_exponent():
    truth = {size: n for size, n in true_crossings().items() if size != "mlp-16"} | {"mlp-64": 6.0}
    analysis = analyze_scaling(*scaling_sweep(np.random.default_rng(5), truth, GRID, scatter=0.02))
    assert analysis.exponent.sizes == ("mlp-128", "mlp-256")
    assert np.isnan([analysis.exponent.value, analysis.exponent.ci_low, analysis.exponent.lack_of_fit]).all()


def test_students_of_a_shorter_training_are_never_set_beside_the_others():
    measurements, distances = scaling_sweep(np.random.default_rng(6), true_crossings(), GRID, scatter=0.02)
    early = (distances["size"] == "mlp-64") & (distances["student_seed"] == 0)
    distances.loc[early, "step"] = 100
    analysis = analyze_scaling(measurements, distances)
    assert analysis.steps == 500
    assert analysis.curves.set_index("size").loc["mlp-64", "seeds"].eq(2).all()


def test_more_seeds_narrow_the_intervals():
    widths = []
    for seeds in (3, 10):
        analysis = analyze_scaling(*scaling_sweep(np.random.default_rng(2), true_crossings(), GRID, seeds=seeds))
        widths.append(np.log(analysis.crossings["ci_high"] / analysis.crossings["ci_low"]).mean())
    assert widths[1] < widths[0] / 1.5


def test_a_size_that_never_crosses_is_censored_and_left_out_of_the_fit():
    truth = true_crossings() | {"mlp-256": 1e6}
    analysis = analyze_scaling(*scaling_sweep(np.random.default_rng(3), truth, GRID))
    last = analysis.crossings.iloc[-1]
    assert (last["censored"], np.isnan(last["crossing"]), last["ci_high"]) == ("above", True, np.inf)
    assert last["ci_low"] >= GRID[-1] or last["ci_low"] == np.inf
    assert analysis.exponent.sizes == ("mlp-16", "mlp-64", "mlp-128")


def test_an_interval_that_leaves_the_grid_is_open():
    analysis = analyze_scaling(*scaling_sweep(np.random.default_rng(4), {"mlp-16": 900}, 2 ** np.arange(5, 11), scatter=0.4))
    row = analysis.crossings.iloc[0]
    assert np.isinf(row["ci_high"])
    assert np.isnan(analysis.exponent.value)


def test_absent_and_broken_students_are_left_out():
    measurements, distances = scaling_sweep(np.random.default_rng(5), true_crossings(), GRID, scatter=0.02)
    lost = (distances["size"] == "mlp-16") & (distances["num_samples"] == 64) & (distances["student_seed"] > 0)
    lost |= (distances["size"] == "mlp-64") & (distances["num_samples"] == 16)
    half = (distances["size"] == "mlp-128") & (distances["num_samples"] == 32) & (distances["metric"] == "E_mem")
    distances = distances[~lost & ~half].copy()
    distances.iat[0, distances.columns.get_loc("squared")] = np.full(64, np.nan)
    analysis = analyze_scaling(measurements, distances)
    curves = analysis.curves.set_index(["size", "num_samples", "metric"])
    assert curves.loc[("mlp-16", 64, "E_gen"), "covers"] == "noises"
    assert curves.loc[("mlp-16", 16, "E_gen"), "seeds"] == 2
    assert ("mlp-64", 16, "E_gen") not in curves.index
    assert ("mlp-128", 32, "E_gen") not in curves.index  # no E_mem at the same step
    crossings = analysis.crossings.set_index("size")
    assert crossings.loc["mlp-16", "covers"] == "noises"
    assert crossings.loc["mlp-64", "n_min"] == 32
    np.testing.assert_allclose(crossings["crossing"], list(true_crossings().values()), rtol=0.25)
    assert np.isfinite(analysis.collapse["score"]).all()


def test_the_ends_say_who_memorizes_and_who_generalizes():
    analysis = analyze_scaling(*scaling_sweep(np.random.default_rng(6), {"mlp-16": 64.0, "mlp-64": 400.0}, GRID, scatter=0.02, noises=512))
    ends = analysis.ends.set_index(["size", "end"])
    for (size, end), row in ends.iterrows():
        n, crossing = row["num_samples"], {"mlp-16": 64.0, "mlp-64": 400.0}[size]
        truth = e_mem(n, crossing) / e_gen(n, crossing)
        assert row["ci_low"] < truth < row["ci_high"]
        assert row["reached"] == (truth < 0.5 if end == "small" else truth > 4 / 3)


def test_nothing_measured_is_said_to_be_so():
    columns = ["size", "num_samples", "student_seed", "step", "metric", "squared"]
    measurements = pd.DataFrame(columns=["size", "parameters", "num_samples", "student_seed", "step", "metric", "band", "value"])
    analysis = analyze_scaling(measurements, pd.DataFrame(columns=columns))
    assert analysis.crossings.empty
    assert "nothing can be said" in scaling_sentence(analysis)
    assert seed_means(measurements, "train_loss").empty


def test_students_on_different_noises_are_refused():
    measurements, distances = scaling_sweep(np.random.default_rng(9), {"mlp-16": 64.0}, GRID)
    distances.iat[0, distances.columns.get_loc("squared")] = np.ones(63)
    with pytest.raises(ValueError, match="some have 63 and some 64"):
        analyze_scaling(measurements, distances)


def test_seed_means_give_the_t_interval_for_each_band():
    student = {"size": "mlp-16", "parameters": 30_000, "num_samples": 64, "step": 10, "metric": "E_gen2"}
    rows = [
        {**student, "student_seed": s, "band": b, "value": v}
        for b, values in {"pc 1-4": [1.0, 2.0, 3.0], "pc 5-16": [4.0]}.items()
        for s, v in enumerate(values)
    ]
    means = seed_means(pd.DataFrame(rows), "E_gen2").set_index("band")
    assert means.loc["pc 1-4", "value"] == 2
    expected = stats.t.interval(0.95, 2, 2, 1 / np.sqrt(3))
    np.testing.assert_allclose([means.loc["pc 1-4", "ci_low"], means.loc["pc 1-4", "ci_high"]], expected)
    assert np.isnan(means.loc["pc 5-16", "ci_low"])


def test_a_whole_sweep_is_analyzed_in_seconds():
    sizes = {f"mlp-{i}": 30_000 * 3**i for i in range(5)}
    sweep = scaling_sweep(np.random.default_rng(10), true_crossings(sizes=sizes), GRID, noises=1024, sizes=sizes)
    started = time.process_time()
    analyze_scaling(*sweep)
    assert time.process_time() - started < 4  # half a second on an idle machine
