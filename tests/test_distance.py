"""PFD against closed forms, its laws, and the ways of measuring it."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from pfd_engine import GaussianDenoiser, InputError, SolverMap, noise, probability_flow_distance
from pfd_engine.errors import RunError
from pfd_engine.measure.descriptors import load_descriptor
from pfd_engine.measure.end_points import EndPointCache, EndPoints, Progress, seed_blocks
from pfd_engine.measure.tally import Tally, look_schedule, measure
from tests.test_denoisers import random_covariance

T = 80.0


@pytest.fixture
def three_gaussians():
    generator = torch.Generator().manual_seed(2)
    return [
        GaussianDenoiser(0.3 * torch.randn(4, generator=generator, dtype=torch.float64), random_covariance(4, generator)) for _ in range(3)
    ]


def closed_form(p, q):
    """MATH.md section 2: `T^2 |A_p - A_q|_F^2 + |b_p - b_q|^2`."""

    def linear(g):
        return g.basis @ torch.diag((g.eigenvalues / (g.eigenvalues + T**2)).sqrt()) @ g.basis.T

    a, b, identity = linear(p), linear(q), torch.eye(4, dtype=torch.float64)
    shift = (identity - a) @ p.mean - (identity - b) @ q.mean
    return float((T**2 * (a - b).square().sum() + shift.square().sum()).sqrt())


def test_gaussians_whose_covariances_do_not_commute_lie_where_the_formula_says(three_gaussians):
    p, q, _ = three_gaussians
    assert not torch.allclose(p.covariance @ q.covariance, q.covariance @ p.covariance, atol=1e-2)
    estimate = probability_flow_distance(p, q, num_noises=8192, steps=64)
    assert abs(estimate.value - closed_form(p, q)) < 4 * estimate.stderr + 1e-3 * estimate.value
    assert estimate.ci_low < estimate.value < estimate.ci_high
    assert estimate.value == math.sqrt(estimate.distances.mean())
    assert estimate.rms_per_coordinate == estimate.value / 2
    assert estimate.network_calls == {"teacher": 127, "student": 127}
    assert (estimate.sigma_min, estimate.sigma_max, estimate.steps, estimate.solver) == (0.002, 80.0, 64, "heun")


def test_intervals_cover_the_truth_as_often_as_they_say(three_gaussians):
    p, q, _ = three_gaussians
    exact = [lambda z, seeds, condition=None, g=g: g.exact_map(z, T) for g in (p, q)]
    hits = 0
    for repetition in range(60):
        estimate = probability_flow_distance(*exact, num_noises=200, seed=1000 * repetition, shape=(4,))
        hits += estimate.ci_low <= closed_form(p, q) <= estimate.ci_high
    assert 51 <= hits <= 60  # 57 expected; fewer than 51 happens once in 500 times


def test_distance_to_itself_is_zero_to_the_bit(three_gaussians):
    estimate = probability_flow_distance(three_gaussians[0], three_gaussians[0], num_noises=300)
    assert (estimate.value, estimate.stderr, estimate.ci_low, estimate.ci_high, estimate.discretization_error) == (0, 0, 0, 0, 0)
    assert estimate.shuffled > 0


def test_distance_is_symmetric_and_obeys_the_triangle_inequality(three_gaussians):
    p, q, r = three_gaussians

    def between(a, b):
        return probability_flow_distance(a, b, num_noises=256).value

    assert between(p, q) == between(q, p)
    assert between(p, r) <= between(p, q) + between(q, r)


def test_distance_is_at_least_the_wasserstein_distance_of_the_end_points(three_gaussians):
    p, q, _ = three_gaussians
    ends = [SolverMap(g)(noise(0, 256, (4,)).double()) for g in (p, q)]
    cost = torch.cdist(*ends).square().numpy()
    wasserstein = math.sqrt(cost[linear_sum_assignment(cost)].mean())
    value = probability_flow_distance(p, q, num_noises=256).value
    assert value >= wasserstein * (1 - 1e-6)


def test_shuffled_ceiling_is_the_mean_over_all_other_pairings(three_gaussians):
    p, q, _ = three_gaussians
    ends = [SolverMap(g)(noise(0, 50, (4,))).double() for g in (p, q)]
    cost = torch.cdist(*ends).square()
    expected = math.sqrt((cost.sum() - cost.trace()) / (50 * 49))
    assert probability_flow_distance(p, q, num_noises=50).shuffled == pytest.approx(expected, rel=1e-6)


def shards(p, q, blocks, end_points=None):
    maps = {"teacher": SolverMap(p), "student": SolverMap(q)}
    measured = measure(maps, {"PFD": ("teacher", "student")}, blocks, (4,), load_descriptor("pixel"), end_points or EndPoints())
    return [block.pairs["PFD"] for block in measured if not isinstance(block, Progress)]


def test_shards_join_to_the_same_bits_in_any_order(three_gaussians):
    p, q, _ = three_gaussians
    blocks = list(seed_blocks(0, 1500, (4,)))
    whole = Tally(shards(p, q, blocks))
    scattered = Tally()
    for index in (3, 0, 5, 1, 4, 2):
        for block in shards(p, q, [blocks[index]]):
            scattered.add(block)
    assert np.array_equal(whole.distances, scattered.distances)
    assert np.array_equal(whole.seeds, np.arange(1500))
    assert whole.interval() == scattered.interval()
    assert whole.shuffled == scattered.shuffled


def test_a_seed_is_never_counted_twice(three_gaussians):
    p, q, _ = three_gaussians
    tally = Tally()
    [block] = shards(p, q, [range(10)])
    tally.add(block)
    with pytest.raises(ValueError, match="measured twice"):
        tally.add(*shards(p, q, [range(9, 12)]))


def test_batch_size_moves_nothing_beyond_float_tolerance(three_gaussians):
    p, q, _ = three_gaussians
    one = probability_flow_distance(p, q, num_noises=64, batch_size=1)
    many = probability_flow_distance(p, q, num_noises=64, batch_size=64)
    np.testing.assert_allclose(one.distances, many.distances, rtol=1e-4, atol=1e-8)


def test_sequential_stopping_stops_early_at_a_doubling_and_reaches_its_target(three_gaussians):
    p, q, _ = three_gaussians
    estimate = probability_flow_distance(p, q, num_noises=2**14, target_relative_error=0.05)
    assert estimate.num_noises in (256, 512, 1024, 2048)
    assert (estimate.ci_high - estimate.ci_low) / 2 <= 0.05 * estimate.value
    single_look = probability_flow_distance(p, q, num_noises=estimate.num_noises)
    assert estimate.ci_high - estimate.ci_low > single_look.ci_high - single_look.ci_low  # the price of several looks
    assert look_schedule(list(seed_blocks(0, 1500, (4,)))) == [256, 512, 1024, 1500]


def test_discretization_error_shrinks_with_the_steps(three_gaussians):
    p, q, _ = three_gaussians
    coarse, fine = (probability_flow_distance(p, q, num_noises=256, steps=n).discretization_error for n in (8, 64))
    assert 0 < fine < coarse


def test_teacher_is_converged_against_a_few_step_student(three_gaussians):
    p, q, _ = three_gaussians
    student = lambda z, seeds, condition=None: q.exact_map(z, T)  # noqa: E731
    estimate = probability_flow_distance(p, student, num_noises=2048, steps=4)
    assert estimate.steps > 4
    assert estimate.steps & (estimate.steps - 1) == 0  # doublings of 4
    assert abs(estimate.value - closed_form(p, q)) < 0.15 * closed_form(p, q) + 4 * estimate.stderr
    assert estimate.network_calls["student"] is None


def test_a_few_step_students_starting_noise_binds_the_teacher(three_gaussians):
    class Student:
        shape, sigma_max = (4,), 24.0

        def __call__(self, z, seeds, condition=None):
            return three_gaussians[1].exact_map(z, self.sigma_max)

    assert probability_flow_distance(three_gaussians[0], Student(), num_noises=64).sigma_max == 24.0
    with pytest.raises(InputError, match="few-step model starts at 24"):
        probability_flow_distance(three_gaussians[0], Student(), num_noises=64, sigma_max=80.0)
    three_gaussians[0].sigma_max = 10.0
    with pytest.raises(InputError, match="starts at sigma 24 but the other was trained up to 10: choose a teacher"):
        probability_flow_distance(three_gaussians[0], Student(), num_noises=64)


def test_pairs_of_different_shapes_are_refused(three_gaussians):
    with pytest.raises(InputError, match="teacher is 4 but student is 3: choose a pair of one size"):
        probability_flow_distance(three_gaussians[0], GaussianDenoiser(torch.zeros(3), torch.eye(3)))


@pytest.mark.parametrize(("num_noises", "seed"), [(0, 0), (1, 0), (10**9, 0), (10, -1), (10, 2**24 - 5)])
def test_noises_outside_the_evaluation_range_are_refused(three_gaussians, num_noises, seed):
    with pytest.raises(InputError, match="evaluation range"):
        probability_flow_distance(*three_gaussians[:2], num_noises=num_noises, seed=seed)


def test_end_points_that_are_not_finite_are_named(three_gaussians):
    def broken(z, seeds, condition=None):
        z = z.clone()
        z[[seed == 37 for seed in seeds]] = math.nan
        return z

    with pytest.raises(RunError, match="the first is seed 37"):
        probability_flow_distance(three_gaussians[0], broken, num_noises=64)


def test_a_condition_belongs_to_the_seed_on_both_sides():
    def conditioned(x, sigma, condition):
        return condition[:, None].to(x.dtype) * torch.ones_like(x)

    def shifted(x, sigma, condition):
        return conditioned(x, sigma, condition) + 1

    estimate = probability_flow_distance(
        conditioned, shifted, num_noises=300, shape=(4,), batch_size=7, condition=lambda seeds: torch.tensor(list(seeds))
    )
    assert estimate.value == pytest.approx(2.0)


def test_the_interval_with_conditions_is_for_these_conditions():
    """Two conditions whose distances differ far more than within one: the choice of noises moves the PFD little."""
    generator = torch.Generator().manual_seed(0)
    wobble = 0.1 * torch.randn(400, generator=generator)

    def shifted(z, seeds, condition=None):
        index = torch.tensor(list(seeds))
        return torch.zeros_like(z) + (1 + 4 * (index % 2) + wobble[index])[:, None]

    def still(z, seeds, condition=None):
        return torch.zeros_like(z)

    def distance(condition):
        return probability_flow_distance(still, shifted, num_noises=400, shape=(4,), condition=condition)

    plain, within = distance(None), distance(lambda seeds: torch.tensor([seed % 2 for seed in seeds]))
    assert within.value == plain.value
    assert within.interval_method.endswith("within conditions")
    assert within.ci_high - within.ci_low < 0.1 * (plain.ci_high - plain.ci_low)
    alone = distance(lambda seeds: ["rare" if seed == 7 else "usual" for seed in seeds])
    assert alone.interval_method.endswith("because they cannot be separated")
    assert (alone.ci_low, alone.ci_high) == (plain.ci_low, plain.ci_high)


class Recorded:
    """A Gaussian with an identity, so that its end points are cached, that counts its network calls."""

    def __init__(self, gaussian, content_key):
        self.gaussian, self.shape, self.content_key, self.calls = gaussian, gaussian.shape, content_key, 0

    def __call__(self, x, sigma, condition=None):
        self.calls += 1
        return self.gaussian(x, sigma)


def test_a_teacher_is_never_paid_for_twice(three_gaussians, tmp_path):
    teacher, first, second = (Recorded(g, f"key {i}") for i, g in enumerate(three_gaussians))
    cache = EndPointCache(tmp_path)
    fresh = probability_flow_distance(teacher, first, num_noises=300, end_points=EndPoints(cache=cache))
    calls = teacher.calls
    probability_flow_distance(teacher, second, num_noises=300, end_points=EndPoints(cache=cache))
    again = probability_flow_distance(teacher, first, num_noises=300, end_points=EndPoints(cache=cache))
    assert teacher.calls == calls > 0
    assert np.array_equal(fresh.distances, again.distances)
    cache.close()


def test_the_cache_stays_below_its_limit(tmp_path):
    cache = EndPointCache(tmp_path, max_bytes=2**20)
    for i in range(40):
        cache.put(f"map {i}", range(256), torch.randn(256, 64))
    kept = [cache.get(f"map {i}", range(256)) is not None for i in range(40)]
    assert 0 < sum(kept) < 40
    assert kept[-1]
    cache.close()


def test_exhausted_memory_halves_the_batch_and_changes_nothing_else(three_gaussians):
    p, q, _ = three_gaussians
    sizes = []

    def tight(z, seeds, condition=None):
        sizes.append(len(z))
        if len(z) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return q.exact_map(z, T)

    estimate = probability_flow_distance(p, tight, num_noises=32, batch_size=32, steps=64)
    assert [size for size in sizes if size > 10] == [32, 16]  # 8 stays for good once it was found
    assert np.allclose(
        estimate.distances,
        probability_flow_distance(p, lambda z, seeds, condition=None: q.exact_map(z, T), num_noises=32, steps=64).distances,
        rtol=1e-4,
    )


def test_memory_that_does_not_hold_one_sample_is_one_sentence(three_gaussians):
    def hopeless(z, seeds, condition=None):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes.")

    with pytest.raises(RunError, match="does not fit into the memory"):
        probability_flow_distance(three_gaussians[0], hopeless, num_noises=16)


@pytest.mark.parametrize("batch_size", [0, -1, "x", 2.5])
def test_a_batch_size_that_is_none_is_refused(three_gaussians, batch_size):
    with pytest.raises(InputError, match="batch size is"):
        probability_flow_distance(*three_gaussians[:2], num_noises=8, batch_size=batch_size)


@pytest.mark.parametrize("target", [float("nan"), -1.0, 0.0, 2.0])
def test_a_target_that_is_none_is_refused(three_gaussians, target):
    with pytest.raises(InputError, match="target relative error"):
        probability_flow_distance(*three_gaussians[:2], num_noises=8, target_relative_error=target)


@pytest.mark.parametrize("wrong", [lambda z: z.sum(), lambda z: z[:, :2], lambda z: z[:, None]])
def test_a_map_that_changes_the_shape_is_refused(three_gaussians, wrong):
    with pytest.raises(InputError, match="must keep that shape"):
        probability_flow_distance(three_gaussians[0], lambda z, seeds, condition=None: wrong(z), num_noises=8)


def test_other_errors_of_a_model_are_not_mistaken_for_memory(three_gaussians):
    def wrong(z, seeds, condition=None):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        probability_flow_distance(three_gaussians[0], wrong, num_noises=16)


def test_progress_counts_every_noise_of_every_map(three_gaussians):
    seen = []
    probability_flow_distance(*three_gaussians[:2], num_noises=300, batch_size=100, on_progress=seen.append)
    assert sum(progress.noises for progress in seen) == 600
    assert all(not progress.cached for progress in seen)
