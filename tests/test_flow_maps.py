"""Solvers and flow maps against exact solutions of the probability flow ODE."""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pfd_engine import EmpiricalDenoiser, GaussianDenoiser, InputError, MixtureDenoiser, SolverMap, flow_map, noise
from pfd_engine.flow.maps import is_map, resolve_sigma_range
from pfd_engine.flow.solvers import SOLVERS, sigma_grid
from tests.test_denoisers import random_covariance

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0


@pytest.fixture
def gaussian():
    generator = torch.Generator().manual_seed(1)
    return GaussianDenoiser(torch.randn(6, generator=generator, dtype=torch.float64), random_covariance(6, generator))


class Counting:
    def __init__(self, denoiser):
        self.denoiser, self.shape, self.calls = denoiser, denoiser.shape, 0

    def __call__(self, x, sigma, condition=None):
        self.calls += 1
        return self.denoiser(x, sigma, condition)


def relative_error(solver, denoiser, steps, z):
    """Error of the map to sigma_min, without the last step to 0, against the exact one."""
    grid = sigma_grid(steps, SIGMA_MIN, SIGMA_MAX)[:-1]
    exact = denoiser.exact_map(z, SIGMA_MAX, SIGMA_MIN)
    return float((SOLVERS[solver](denoiser, SIGMA_MAX * z, grid) - exact).norm() / exact.norm())


@pytest.mark.parametrize("solver", SOLVERS)
def test_observed_order_is_the_solvers_order(solver, gaussian):
    z = noise(0, 16, (6,)).double()
    errors = [relative_error(solver, gaussian, steps, z) for steps in (128, 256, 512)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(SOLVERS[solver].order, abs=0.1)


def test_256_heun_steps_agree_with_the_closed_form(gaussian):
    z = noise(0, 64, (6,)).double()
    exact = gaussian.exact_map(z, SIGMA_MAX)
    assert (flow_map(gaussian, z, steps=256) - exact).norm() / exact.norm() < 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 5, 18])
def test_network_calls_are_what_is_promised(solver, steps, gaussian):
    counting = Counting(gaussian)
    flow_map(counting, noise(0, 3, (6,)), solver=solver, steps=steps)
    assert counting.calls == SolverMap(gaussian, solver, steps).network_calls == SOLVERS[solver].network_calls(steps)
    assert solver != "heun" or steps != 18 or counting.calls == 35


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_point_mass_is_reached_exactly(solver):
    point = torch.tensor([[0.3, -0.7, 0.1]])
    end = flow_map(EmpiricalDenoiser(point), noise(0, 9, (3,)), solver=solver, steps=6)
    torch.testing.assert_close(end, point.expand(9, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("solver", "steps", "tolerance"), [("heun", 400, 3e-4), ("dpmpp_2m", 800, 3e-4), ("euler", 3000, 2e-2)])
def test_mixture_map_agrees_with_a_tight_scipy_integration(solver, steps, tolerance):
    mixture = MixtureDenoiser(
        torch.tensor([[-1.0, 0.2], [0.8, 0.9], [0.4, -1.0]]), torch.tensor([0.09, 0.16, 0.04]), torch.tensor([0.3, 0.3, 0.4])
    )
    z = noise(0, 6, (2,)).double()

    def slope(log_sigma, x):
        points, sigma = torch.from_numpy(x.reshape(-1, 2)), float(np.exp(log_sigma))
        return (points - mixture(points, sigma)).numpy().ravel()

    start, stop = np.log(SIGMA_MAX), np.log(SIGMA_MIN)
    solution = solve_ivp(slope, (start, stop), (SIGMA_MAX * z).numpy().ravel(), rtol=1e-10, atol=1e-10, method="DOP853")
    exact = mixture(torch.from_numpy(solution.y[:, -1].reshape(-1, 2)), SIGMA_MIN)
    assert (flow_map(mixture, z, solver=solver, steps=steps) - exact).abs().max() < tolerance


def test_dtype_of_the_noise_is_kept(gaussian):
    for dtype in (torch.float32, torch.float64):
        assert flow_map(gaussian, noise(0, 2, (6,)).to(dtype)).dtype == dtype


def test_batch_of_one_equals_batch_of_many(gaussian):
    z = noise(0, 64, (6,))
    one_by_one = torch.cat([flow_map(gaussian, z[i : i + 1]) for i in range(64)])
    torch.testing.assert_close(flow_map(gaussian, z), one_by_one, atol=1e-5, rtol=1e-5)


def test_grid_runs_from_sigma_max_to_sigma_min_and_then_zero():
    grid = sigma_grid(18, SIGMA_MIN, SIGMA_MAX)
    assert len(grid) == 19
    assert (grid[0], grid[-2], grid[-1]) == (SIGMA_MAX, SIGMA_MIN, 0.0)
    assert all(a > b for a, b in itertools.pairwise(grid))
    assert sigma_grid(1, SIGMA_MIN, SIGMA_MAX) == [SIGMA_MAX, 0.0]


class Ranged:
    def __init__(self, low, high):
        self.sigma_min, self.sigma_max, self.shape = low, high, (6,)

    def __call__(self, x, sigma, condition=None):
        return x / (1 + sigma**2)


def test_range_is_the_overlap_of_the_models_own_with_the_default():
    assert resolve_sigma_range([Ranged(0.01, 157.0), Ranged(0.03, 14.6)]) == (0.03, 14.6)
    assert resolve_sigma_range([Ranged(0.01, 157.0)]) == (0.01, 80.0)
    assert resolve_sigma_range([Ranged(0.01, 157.0)], sigma_max=120.0) == (0.01, 120.0)


@pytest.mark.parametrize("given", [{"sigma_min": 0.001}, {"sigma_max": 200.0}, {"sigma_min": 5.0, "sigma_max": 1.0}])
def test_a_range_outside_the_models_is_refused(given):
    with pytest.raises(InputError, match="sigma_m"):
        flow_map(Ranged(0.01, 157.0), noise(0, 1, (6,)), **given)


def test_models_without_a_common_range_are_refused():
    with pytest.raises(InputError, match="overlap"):
        resolve_sigma_range([Ranged(0.01, 1.0), Ranged(2.0, 80.0)])


def test_unknown_solver_and_no_steps_are_refused(gaussian):
    with pytest.raises(InputError, match="choose one of heun, euler, dpmpp_2m"):
        flow_map(gaussian, noise(0, 1, (6,)), solver="rk45")
    with pytest.raises(InputError, match="at least 1"):
        flow_map(gaussian, noise(0, 1, (6,)), steps=0)


def test_maps_are_told_from_denoisers(gaussian):
    assert is_map(SolverMap(gaussian))
    assert is_map(lambda z, seeds, condition=None: z)
    assert not is_map(gaussian)
    assert not is_map(lambda x, sigma, condition=None: x)


def test_cache_key_changes_with_everything_that_moves_the_map(gaussian):
    def key(**kwargs):
        return SolverMap(gaussian, **kwargs).cache_key

    assert key() is None
    gaussian.content_key = "abc"
    variants = [{}, {"steps": 19}, {"solver": "euler"}, {"rho": 5.0}, {"sigma_min": 0.003}, {"sigma_max": 70.0}]
    assert len({key(**variant) for variant in variants}) == len(variants)
    assert key() == key()
