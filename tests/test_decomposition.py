"""Intervals of bias and variance cover, or there is none, or the outlying student behind them is marked."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from benchmarks.bias_variance_simulation import SCALES, coverage
from pfd_engine import bias_variance
from pfd_engine.configs.sweep import Student, SweepConfig
from pfd_engine.measure.bias_variance import outlier_share
from pfd_engine.sweeps.rows import Rows

DRAWS = 300


@pytest.mark.parametrize("directions", [1, 3, 200])
@pytest.mark.parametrize("students", [4, 8])
def test_intervals_of_normal_students_cover_and_few_are_marked(students, directions):
    rates = coverage(np.random.default_rng(0), SCALES["equal"], students, directions, 1.0, DRAWS)
    assert min(rates[part] for part in ("bias2", "variance", "error2")) >= 0.92
    if directions > 1:
        assert rates["marked"] <= 0.07


@pytest.mark.parametrize(("scales", "least"), [("log-normal, 0.5", 0.88), ("Student's t, 5", 0.87), ("log-normal, 1", 0.78)])
def test_heavy_tailed_students_are_covered_far_more_often_than_by_a_plain_jackknife(scales, least):
    rates = coverage(np.random.default_rng(1), SCALES[scales], 8, 3, 0.3, DRAWS)
    assert rates["variance"] >= least  # the plain jackknife with 7 degrees of freedom covers 0.77, 0.70 and 0.52
    assert rates["error2"] >= least - 0.03
    assert rates["bias2"] >= 0.95


@pytest.mark.parametrize("students", [4, 6, 8, 12])
def test_one_outlying_student_is_marked(students):
    rng, marked = np.random.default_rng(2), []
    for _ in range(50):
        maps = rng.standard_normal((students, 1, 100)) * np.array([5, *[1] * (students - 1)])[:, None, None]
        marked.append(bias_variance(np.zeros((8, 100)), np.repeat(maps, 8, axis=1)).outlier)
    assert np.mean(marked) > 0.95


def test_the_threshold_of_an_outlier_is_what_chance_exceeds_once_in_twenty():
    rng = np.random.default_rng(3)
    for students in (4, 8):
        offsets = rng.standard_normal((20_000, students, 3))
        shares = ((offsets - offsets.mean(axis=1, keepdims=True)) ** 2).sum(axis=2)
        largest = (shares / shares.sum(axis=1, keepdims=True)).max(axis=1)
        assert 0.035 < np.mean(largest > outlier_share(students)) <= 0.055
    assert np.isnan(outlier_share(3))


@pytest.mark.parametrize("students", [2, 3])
def test_fewer_than_four_students_have_no_interval(students):
    found = bias_variance(np.zeros((10, 3)), np.random.default_rng(4).normal(size=(students, 10, 3)))
    for part in (found.bias2, found.variance, found.error2):
        assert np.isnan([part.ci_low, part.ci_high]).all()
        assert part.covers == "noises"
        assert part.stderr > 0
    assert found.covers == "noises"
    assert not found.outlier


def test_students_that_do_not_differ_have_no_interval_of_zero_width():
    found = bias_variance(np.random.default_rng(5).normal(size=(10, 3)), np.ones((8, 10, 3)))
    assert found.variance == 0
    assert np.isnan([found.variance.ci_low, found.bias2.ci_high]).all()
    assert not found.outlier


def test_the_variances_interval_is_symmetric_about_its_logarithm_and_bias_may_be_negative():
    rng = np.random.default_rng(6)
    found = bias_variance(np.zeros((32, 5)), rng.normal(size=(8, 32, 5)))
    assert found.variance.ci_low * found.variance.ci_high == pytest.approx(found.variance**2)
    assert found.bias2.ci_low < 0 < found.bias2.ci_high
    half = (found.bias2.ci_high - found.bias2.ci_low) / 2
    assert half == pytest.approx(stats.t.isf(0.025, found.effective_students - 1) * found.bias2.stderr)
    assert found.error2 == pytest.approx(found.bias2 + found.variance, rel=1e-12)
    assert copy.deepcopy(found).variance.ci_high == found.variance.ci_high


def decomposition_rows(students):
    named = {"experiment": "bias-variance", "name": "made", "teacher": "a/teacher", "sizes": ["mlp-32"], "num_samples": [64]}
    config = SweepConfig.parse(named | {"seeds": list(range(students)), "steps": 500})
    teacher = SimpleNamespace(reference="a/teacher", revision="abc")
    measuring = SimpleNamespace(solver=SimpleNamespace(name="heun"), steps=18, sigma_min=0.002, sigma_max=80.0, rho=7.0, batch_size=None)
    setting = SimpleNamespace(teacher=teacher, measuring=measuring, psi=SimpleNamespace(name="pixel", sha256=None), config=config)
    found = bias_variance(np.zeros((10, 3)), np.random.default_rng(4).normal(size=(students, 10, 3)))
    rows = Rows(config, setting, 1000).decomposition(Student("mlp-32", 64, 0, range(64)), found, students)
    return found, {row["metric"]: row for row in rows}


def test_rows_state_what_intervals_cover_and_what_they_rest_on():
    found, rows = decomposition_rows(8)
    assert rows["variance"]["ci_high"] == found.variance.ci_high
    assert {rows[part]["covers"] for part in ("bias2", "variance", "E_gen2")} == {"students and noises"}
    assert rows["students"]["value"] == 8
    assert rows["largest_student_share"]["value"] == found.largest_share
    assert rows["effective_students"]["value"] == found.effective_students
    _, rows = decomposition_rows(2)
    assert (rows["variance"]["ci_low"], rows["variance"]["ci_high"], rows["variance"]["covers"]) == (None, None, "noises")
    assert all(row["student_seed"] is None for row in rows.values())
