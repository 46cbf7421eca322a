"""The collapse score is the share of the variance between sizes that rescaling removes, and does not see a shift where there is none."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import scaling_simulation as simulation
from pfd_engine.analysis.collapse import RATIO, collapse_scores
from pfd_engine.analysis.resampling import Jackknife
from pfd_engine.analysis.students import Students
from tests.sweep_samples import SIZES, e_gen, true_crossings

PARAMETERS = np.array(list(SIZES.values()), dtype=float)


def exact_students(curves, grid, parameters=PARAMETERS, seeds=3):
    """Students without any scatter, E_gen `(sizes, N)` alone."""
    squared = np.broadcast_to((np.asarray(curves) ** 2)[:, :, None, None], (*np.shape(curves), seeds, 4))
    return Students(
        [f"size-{i}" for i in range(len(parameters))], parameters, np.asarray(grid, dtype=int), np.arange(seeds), {"E_gen": squared}
    )


def scores(students, exponents, **options):
    return collapse_scores(students, exponents, Jackknife(students.squared), **options).set_index("kind")


def test_a_perfect_collapse_scores_one_and_a_wrong_exponent_less():
    grid, crossings = 2.0 ** np.arange(2, 15), np.array(list(true_crossings().values()))
    found = scores(exact_students(e_gen(grid[None], crossings[:, None]), grid), {"none": 0.0, "right": 0.5, "half": 0.25, "opposite": -0.5})
    assert found.loc["none", "score"] == 0
    assert found.loc["right", "score"] == pytest.approx(1, abs=2e-3)
    assert 0.4 < found.loc["half", "score"] < 0.9
    assert found.loc["opposite", "score"] < 0
    assert found.loc["right", "overlap"] == pytest.approx(1 - 0.5 * np.log(64) / np.log(2**12))
    assert found.loc["right", "p_value"] == pytest.approx(1 / 24)  # the true order alone, of four sizes
    assert found.loc["right", "orders"] == 24


def test_both_variances_are_taken_on_one_window_of_x():
    """Two sizes whose curves differ at the ends of N only: the ends, which rescaled curves do not share, are no variance removed."""
    grid = 2.0 ** np.arange(0, 13)
    x = np.log(grid)
    curves = 3 + np.array([[-1.0], [1.0]]) * (0.1 + (np.abs(x - x.mean()) > 0.45 * (x[-1] - x[0])))
    parameters = np.array([1e4, 1e6])
    (score,) = scores(exact_students(curves, grid, parameters), {"paper": 0.5})["score"]
    shift = 0.5 * np.log(10)
    window = np.linspace(x[0] + shift, x[-1] - shift, 20_001)
    values = [[np.interp(window + a * s, x, curve) for s, curve in zip((-shift, shift), curves, strict=True)] for a in (0, 1)]
    before, after = (np.var(value, axis=0, ddof=1).mean() for value in values)
    assert score == pytest.approx(1 - after / before, rel=0.01)
    assert score < 0


@pytest.mark.parametrize("shape", ["levels", "slope", "spread at the ends", "spread in the middle"])
def test_flat_curves_without_a_shift_do_not_collapse(shape):
    rng = np.random.default_rng(0)
    found = simulation.flat_scores(rng, 25, shape, sizes=4)
    assert found["median score"] < 0.08
    if shape in ("levels", "slope"):
        assert found["median score"] == pytest.approx(0, abs=0.03)
    assert found["p below 0.05"] <= 0.2  # 0.05 within three standard errors of 25 sweeps


def test_sizes_that_do_not_differ_have_no_score():
    found = simulation.flat_scores(np.random.default_rng(1), 25, "no difference", sizes=4)
    assert found["defined"] <= 0.15
    assert found["p below 0.05"] <= 0.1


def test_the_spread_over_seeds_does_not_count_against_a_collapse_and_its_interval_covers():
    rng, parameters, found = np.random.default_rng(7), simulation.PARAMETERS[:4], []
    truth = 64 * (parameters / parameters[0]) ** 0.5
    for _ in range(25):
        students = simulation.made_students(rng, truth, parameters, seeds=3, noises=32, scatter=0.3)
        found.append(collapse_scores(students, {"paper": 0.5}, Jackknife(students.squared), RATIO).iloc[0])
    frame = pd.DataFrame(found)
    assert ((frame["ci_low"] <= 0.995) & (frame["ci_high"] >= 0.97)).mean() >= 0.9
    assert frame["score"].median() > 0.9
    assert (frame["ci_high"] <= 1).all()


def test_a_collapse_in_the_true_order_is_told_from_chance():
    rng, truth = np.random.default_rng(8), np.exp(np.log(64) + 0.5 * np.log(simulation.PARAMETERS / 30_000))
    students = simulation.made_students(rng, truth, simulation.PARAMETERS)
    used = np.ones(len(truth), dtype=bool)
    found = scores(students, {"paper": 0.5, "fitted": 0.5}, curve=RATIO, used=used)
    assert (found["p_value"] < 0.01).all()
    wrong = Students(students.sizes, simulation.PARAMETERS[[3, 0, 5, 1, 4, 2]], students.num_samples, students.seeds, students.squared)
    assert not scores(wrong, {"paper": 0.5}, curve=RATIO)["p_value"].iloc[0] < 0.05


def test_one_seed_gives_an_interval_over_the_noises_and_says_so():
    truth = np.exp(np.log(64) + 0.5 * np.log(simulation.PARAMETERS / 30_000))
    students = simulation.made_students(np.random.default_rng(9), truth, simulation.PARAMETERS, seeds=1)
    row = scores(students, {"paper": 0.5}, curve=RATIO).loc["paper"]
    assert row["covers"] == "noises"
    assert row["ci_low"] < row["score"] <= row["ci_high"] <= 1
