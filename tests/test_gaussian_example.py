"""The Methods page's example agrees with its own formulas and with the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pfd_engine import GaussianDenoiser, flow_map
from pfd_engine.flow.gaussian_example import SIGMA_MAX, Gaussian, exact_pfd, exact_shuffled, heun, measure

P, Q = Gaussian(0.0, 0.5), Gaussian(0.3, 0.7)


def test_the_solver_is_the_engines() -> None:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    engine = flow_map(GaussianDenoiser(torch.tensor([0.3], dtype=torch.float64), torch.tensor([[0.49]], dtype=torch.float64)), z, steps=18)
    np.testing.assert_allclose(heun(Q, SIGMA_MAX * z[:, 0].numpy(), 18)[-1], engine[:, 0].numpy(), rtol=1e-9)


def test_with_many_steps_the_flow_ends_where_the_formula_says() -> None:
    x_T = np.array([-100.0, 0.0, 30.0, 160.0])
    np.testing.assert_allclose(heun(P, x_T, 2000)[-1], P.end_point(x_T), rtol=1e-4)


def test_the_interval_covers_the_exact_distance() -> None:
    found = [measure(P, Q, 400, 80, seed) for seed in range(200)]
    assert all(example.exact == pytest.approx(exact_pfd(P, Q)) for example in found)
    assert sum(example.ci_low <= example.exact <= example.ci_high for example in found) >= 180


def test_equal_gaussians_have_distance_zero() -> None:
    example = measure(P, P, 100, 18)
    assert (example.value, example.ci_low, example.ci_high, example.exact) == (0.0, 0.0, 0.0, 0.0)


def test_the_shuffled_ceiling_is_that_of_independent_noises() -> None:
    p, q = (SIGMA_MAX * np.random.default_rng(seed).standard_normal(200_000) for seed in (0, 1))
    assert exact_shuffled(P, Q) == pytest.approx(np.sqrt(np.mean((P.end_point(p) - Q.end_point(q)) ** 2)), rel=0.01)


@pytest.mark.parametrize(("noises", "steps"), [(1, 18), (100, 0)])
def test_too_few_noises_or_steps_are_refused(noises: int, steps: int) -> None:
    with pytest.raises(ValueError, match="give at least"):
        measure(P, Q, noises, steps)
