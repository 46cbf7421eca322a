"""The intervals and bounds of rises and falls hold together over a whole sweep, and none of them is of zero width."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from benchmarks.dynamics_simulation import CURVES, SCATTERS, simulate, wrong
from pfd_engine.analysis.dynamics import judge
from pfd_engine.analysis.moves import comparisons, moves
from tests.sweep_samples import trained_students

SWEEPS = 100


@pytest.mark.parametrize("students", [8, 12])
@pytest.mark.parametrize("scatter", SCATTERS)
def test_at_most_one_sweep_in_twenty_holds_a_false_double_descent_verdict_bound_or_interval(scatter, students):
    rng, total = np.random.default_rng(0), Counter()
    for _ in range(SWEEPS):
        total += wrong(rng, SCATTERS[scatter], students)
    assert max(total[kind] for kind in ("double descent", "verdict", "bound", "interval")) <= 0.05 * SWEEPS


@pytest.mark.parametrize("scatter", ["independent", "shrinking"])
def test_bounds_of_excluded_rises_hold_for_flat_curves(scatter):
    rng, flat = np.random.default_rng(1), {f"flat {k}": np.full(20, 3.0) for k in range(6)}
    assert sum(wrong(rng, SCATTERS[scatter], 8, flat)["bound"] for _ in range(SWEEPS)) <= 0.05 * SWEEPS


def test_the_margin_is_students_t_over_all_comparisons_of_the_family():
    squared = trained_students(np.random.default_rng(2), CURVES["falling"], scatter=0.1, noises=64)
    errors = np.sqrt(squared.mean(axis=2))
    family = 6 * comparisons(20)
    found, alone = moves(squared, family), moves(squared)
    np.testing.assert_allclose(found.difference[3, 11], errors[:, 11].mean() - errors[:, 3].mean())
    over_seeds = (errors[:, 11] - errors[:, 3]).std(ddof=1) / np.sqrt(8)
    margin = found.high[3, 11] - found.difference[3, 11]
    assert margin > stats.t.isf(0.025 / family, 7) * over_seeds  # the noises come on top
    np.testing.assert_allclose(margin / (alone.high - alone.difference)[3, 11], stats.t.isf(0.025 / 1260, 7) / stats.t.isf(0.025 / 210, 7))


def test_what_is_equal_for_all_students_has_no_known_error():
    squared = np.ones((8, 20, 16)) * CURVES["falling"][:, None] ** 2
    found = moves(squared)
    assert np.isposinf(found.high[found.later]).all()
    assert judge(squared).verdict == "undetermined"


def test_no_bound_is_0_or_of_zero_width_unless_every_checkpoint_moves_the_other_way():
    squared = simulate(np.random.default_rng(3), CURVES["falling"], SCATTERS["independent"], 8)
    found = moves(squared)
    assert found.no_rise_above() > found.difference[found.later].max()
    assert (found.high - found.low)[found.later].min() > 0
    steep = squared[:, :3] * (np.array([9.0, 3.0, 1.0]) ** 2)[:, None] / CURVES["falling"][:3, None] ** 2
    assert moves(steep).no_rise_above() < 0


def test_moves_are_found_in_order():
    curve = np.array([5.0, 2.0, 3.0, 1.0, 4.0, 0.5])
    squared = trained_students(np.random.default_rng(4), curve, scatter=0.01, spread=0.01)
    found = moves(squared)
    fall, rise = found.fall_then_rise()
    assert (fall.start, fall.end, rise.start, rise.end) == (0, 3, 3, 4)
    first, rise, second = found.double_descent()
    assert (first.start, first.end, rise.start, rise.end, second.start, second.end) == (0, 3, 3, 4, 4, 5)
    rise, fall = found.rise_then_fall()
    assert (rise.start, rise.end, fall.start, fall.end) == (3, 4, 4, 5)
    largest = found.largest_fall()
    assert (largest.start, largest.end) == (0, 5)
    assert found.largest_rise().value == pytest.approx(3, abs=0.05)
    assert found.largest_fall_until(2).value == pytest.approx(3, abs=0.05)
    small_first_fall = np.array([2.0, 1.9, 2.1, 2.5, 3.0, 2.4, 0.5])  # many steps rise by more than the fall: the peak is the highest
    first, rise, second = moves(trained_students(np.random.default_rng(5), small_first_fall, scatter=0.005, spread=0.01)).double_descent()
    assert (first.end, rise.end, second.end) == (1, 4, 6)
