"""The diagnostic map with Gaussians: the teacher where the range is empty, the student where it covers everything, exact in between."""

import math

import pytest
import torch
from torch import Tensor

from pfd_engine import Denoiser, EmpiricalDenoiser, GaussianDenoiser
from pfd_engine.errors import InputError
from pfd_engine.flow.maps import SolverMap
from pfd_engine.flow.outside_range import InsideRange

STUDENT = GaussianDenoiser(torch.tensor([0.5, -0.5]), torch.diag(torch.tensor([0.25, 0.5])))
TEACHER = GaussianDenoiser(torch.tensor([0.0, 0.1]), torch.diag(torch.tensor([1.0, 0.3])))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def end_points(denoiser: Denoiser, x: Tensor) -> Tensor:
    return SolverMap(denoiser, sigma_min=0.002, sigma_max=80.0)(x, range(len(x)))


def test_an_empty_range_gives_the_teacher_s_map_and_a_full_one_the_student_s(x: Tensor) -> None:
    for low, high in ((100.0, 200.0), (0.0, 0.001), (math.inf, math.inf)):
        assert torch.equal(end_points(InsideRange(STUDENT, TEACHER, low, high), x), end_points(TEACHER, x))
    for low, high in ((0.002, 80.0), (0.0, math.inf)):
        assert torch.equal(end_points(InsideRange(STUDENT, TEACHER, low, high), x), end_points(STUDENT, x))


def test_in_between_the_map_is_the_teacher_s_then_the_student_s_then_the_teacher_s(x: Tensor) -> None:
    """Each Gaussian's flow is affine and solved exactly from one noise level to the next (MATH.md, section 2)."""
    low, high = 0.3, 5.0
    at_high = TEACHER.exact_map(x, 80.0, high)
    at_low = STUDENT.exact_map(at_high / high, high, low)
    expected = TEACHER.exact_map(at_low / low, low, 0.0)
    solved = SolverMap(InsideRange(STUDENT, TEACHER, low, high), "heun", 2000, 0.002, 80.0)(x, range(len(x)))
    torch.testing.assert_close(solved, expected, rtol=0, atol=2e-3)
    assert (solved - end_points(TEACHER, x)).abs().max() > 0.05
    assert (solved - end_points(STUDENT, x)).abs().max() > 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_levels_may_differ_within_a_batch(x: Tensor, dtype: torch.dtype) -> None:
    sigma = torch.tensor([0.01, 0.5, 1.0, 2.0, 80.0], dtype=dtype)
    mixed = InsideRange(STUDENT, TEACHER, 0.5, 2.0)(x, sigma)
    one_by_one = torch.cat([(STUDENT if 0.5 <= s <= 2 else TEACHER)(x[i : i + 1], float(s)) for i, s in enumerate(sigma)])
    torch.testing.assert_close(mixed, one_by_one)
    images = InsideRange(EmpiricalDenoiser(torch.zeros(1, 1, 2, 2)), EmpiricalDenoiser(torch.ones(1, 1, 2, 2)), 0.5, 2.0)
    assert images(torch.randn(5, 1, 2, 2), sigma).flatten(1).mean(1).tolist() == [1, 0, 0, 0, 1]


def test_for_one_noise_level_only_one_of_the_models_is_asked(x: Tensor) -> None:
    def unused(x: Tensor, sigma: object, condition: object = None) -> Tensor:
        raise AssertionError("this model has no business here")

    assert torch.equal(InsideRange(STUDENT, unused, 0.5, 2.0)(x, 0.5), STUDENT(x, 0.5))
    assert torch.equal(InsideRange(unused, TEACHER, 0.5, 2.0)(x, torch.tensor(2.5)), TEACHER(x, 2.5))


def test_conditions_reach_both_models(x: Tensor) -> None:
    def student(x: Tensor, sigma: object, condition: Tensor) -> Tensor:
        return x + condition

    def teacher(x: Tensor, sigma: object, condition: Tensor) -> Tensor:
        return x - condition

    mixed = InsideRange(student, teacher, 0.5, 2.0)
    torch.testing.assert_close(
        mixed(x, torch.tensor([0.1, 1.0, 1.0, 1.0, 3.0]), x) / x, torch.tensor([0.0, 2, 2, 2, 0]).expand(2, 5).T.double()
    )
    torch.testing.assert_close(mixed(x, 1.0, x), 2 * x)


def test_its_end_points_are_cached_under_both_models_and_the_range() -> None:
    one, other = EmpiricalDenoiser(torch.zeros(2, 3)), EmpiricalDenoiser(torch.ones(2, 3))
    made = [
        InsideRange(one, other, 0.5, 2.0),
        InsideRange(other, one, 0.5, 2.0),
        InsideRange(one, other, 0.4, 2.0),
        InsideRange(one, other, 0.5, 3.0),
    ]
    keys = [SolverMap(denoiser).cache_key for denoiser in made]
    assert None not in keys
    assert len({*keys, SolverMap(one).cache_key, SolverMap(other).cache_key}) == 6
    assert SolverMap(InsideRange(one, other, 0.5, 2.0)).cache_key == keys[0]
    assert InsideRange(STUDENT, TEACHER, 0.5, 2.0).content_key is None


def test_it_has_the_shape_and_the_noise_levels_that_both_models_have() -> None:
    class Ranged(GaussianDenoiser):
        sigma_min, sigma_max = 0.01, 50.0

    mixed = InsideRange(Ranged(STUDENT.mean, STUDENT.covariance), TEACHER, 0.5, 2.0)
    assert (mixed.shape, mixed.sigma_min, mixed.sigma_max, mixed.device) == ((2,), 0.01, 50.0, torch.device("cpu"))
    assert (SolverMap(mixed).sigma_min, SolverMap(mixed).sigma_max) == (0.01, 50.0)
    assert (SolverMap(InsideRange(STUDENT, TEACHER, 0.5, 2.0)).sigma_min, SolverMap(mixed).shape) == (0.002, (2,))


def test_bad_ranges_and_pairs_are_refused() -> None:
    for low, high in ((2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.nan)):
        with pytest.raises(InputError, match="the lower one first"):
            InsideRange(STUDENT, TEACHER, low, high)
    with pytest.raises(InputError, match="student is 2 but teacher is 1x2x2: choose a pair of one size"):
        InsideRange(STUDENT, EmpiricalDenoiser(torch.zeros(1, 1, 2, 2)), 0.5, 2.0)
