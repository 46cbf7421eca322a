"""Intervals and the bias-variance decomposition."""

import numpy as np
import pytest

from pfd_engine import bias_variance
from pfd_engine.intervals import pfd_interval, proportion_interval


def test_standard_error_is_the_delta_methods():
    d = np.random.default_rng(0).chisquare(5, 4000)
    interval = pfd_interval(d)
    assert interval.value == pytest.approx(np.sqrt(d.mean()))
    assert interval.stderr == pytest.approx(d.std(ddof=1) / (2 * np.sqrt(d.mean()) * np.sqrt(4000)))
    assert interval.method == "normal"
    assert interval.ci_high - interval.value == pytest.approx(1.959964 * interval.stderr, rel=1e-6)


def test_few_noises_or_a_loose_estimate_get_a_bootstrap():
    rng = np.random.default_rng(1)
    assert pfd_interval(rng.chisquare(5, 999)).method == "BCa bootstrap"
    loose = pfd_interval(rng.pareto(1.05, 2000) ** 2)
    assert loose.method == "BCa bootstrap"
    assert loose.ci_high - loose.value > loose.value - loose.ci_low  # skewed, as its distances are


@pytest.mark.parametrize("distances", [[0.0, 0.0], [2.25] * 50])
def test_constant_distances_have_no_width(distances):
    interval = pfd_interval(np.array(distances))
    assert interval.stderr == 0
    assert interval.ci_low == interval.ci_high == interval.value == np.sqrt(distances[0])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_tiny_samples_still_give_finite_intervals(count):
    interval = pfd_interval(np.arange(1.0, count + 1))
    assert 0 <= interval.ci_low <= interval.value <= interval.ci_high < np.inf


def test_one_noise_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        pfd_interval(np.array([1.0]))


def test_a_share_of_zero_is_not_certain():
    share, stderr, low, high = proportion_interval(0, 100)
    assert (share, stderr, low) == (0, 0, 0)
    assert 0.03 < high < 0.04


def test_bias_and_variance_add_up_exactly():
    rng = np.random.default_rng(2)
    found = bias_variance(rng.normal(size=(40, 7)), rng.normal(size=(5, 40, 7)))
    assert found.error2 == pytest.approx(found.bias2 + found.variance, rel=1e-12)


def test_bias_and_variance_are_unbiased_with_honest_errors():
    rng = np.random.default_rng(3)
    teacher = rng.normal(size=(60, 4))
    pulls_bias, pulls_variance = [], []
    for _ in range(200):
        offsets = rng.normal(scale=0.2, size=(6, 1, 4))  # a student's own error, shared by its noises
        students = teacher + 0.3 + offsets + rng.normal(scale=0.1, size=(6, 60, 4))
        found = bias_variance(teacher, students)
        pulls_bias.append((found.bias2 - 4 * 0.3**2) / found.bias2.stderr)
        pulls_variance.append((found.variance - 4 * (0.2**2 + 0.1**2)) / found.variance.stderr)
        assert found.bias2.covers == "students and noises"
    for pulls in (pulls_bias, pulls_variance):
        assert abs(np.mean(pulls)) < 0.6  # the estimate and its error are correlated, so the mean of pulls is not exactly 0
        assert 0.7 < np.std(pulls) < 2.5


def test_two_students_say_that_only_noises_were_resampled():
    rng = np.random.default_rng(4)
    found = bias_variance(rng.normal(size=(10, 3)), rng.normal(size=(2, 10, 3)))
    assert found.variance.covers == "noises"


@pytest.mark.parametrize("shapes", [((10, 3), (1, 10, 3)), ((10, 3), (4, 9, 3)), ((10,), (4, 10))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match=r"give \(M, D\) and \(K, M, D\)"):
        bias_variance(*(np.zeros(shape) for shape in shapes))
