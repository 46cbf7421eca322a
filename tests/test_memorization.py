"""Copies of training samples are counted as such, whatever else the training set holds, and duplicates once."""

import pytest
import torch
from torch import Tensor

from pfd_engine.flow.empirical import nearest_samples
from pfd_engine.measure.memorization import MEMORIZED_BELOW, count_memorized, distinct_samples


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def digits(count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=generator, dtype=dtype) * 2 - 1


def test_a_thousand_exact_copies_are_memorized_although_each_sample_is_there_twice(generator: torch.Generator) -> None:
    samples = digits(1000, generator)
    doubled = torch.cat([samples, samples.flip(0)])
    distances, _ = nearest_samples(samples, doubled)
    assert int((distances[:, 0] < MEMORIZED_BELOW * distances[:, 1]).sum()) < 100  # what this test is about: rounding against rounding
    distinct = distinct_samples(doubled)
    assert torch.equal(distinct, samples)
    assert count_memorized(samples, distinct) == 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copies_with_rounding_errors_are_the_same_sample(generator: torch.Generator, dtype: torch.dtype) -> None:
    samples = digits(1000, generator, dtype)
    rounded = samples * (1 + 3e-7 * (2 * torch.rand(1000, 1, 8, 8, generator=generator, dtype=dtype) - 1))
    distinct = distinct_samples(torch.cat([samples, rounded]))
    assert torch.equal(distinct, samples)
    assert count_memorized(rounded, distinct) == 1000


def test_samples_are_distinct_just_above_the_limit_and_equal_just_below(generator: torch.Generator) -> None:
    sample, direction = (torch.randn(1, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    direction -= sample * (direction * sample).sum() / sample.square().sum()
    direction *= sample.norm() / direction.norm()
    for factor, count in ((0.99e-6, 1), (1.01e-6, 2)):
        assert len(distinct_samples(torch.cat([sample, sample + factor * direction]))) == count


def test_duplicates_are_found_as_by_brute_force(generator: torch.Generator) -> None:
    """Samples of very different norms, on few values, near to each other along some directions, and many copies of one."""
    base = torch.cat(
        [
            digits(300, generator, torch.float64),
            1e-4 * digits(50, generator, torch.float64),
            torch.randint(0, 2, (200, 1, 8, 8), generator=generator).double(),
            torch.zeros(1, 1, 8, 8, dtype=torch.float64),
            -torch.zeros(1, 1, 8, 8, dtype=torch.float64),
            torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8),
            1 + 1e-6 * torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8),
        ]
    )
    chosen = torch.randint(len(base), (400,), generator=generator)
    near = base[chosen] * (1 + 4e-6 * torch.rand(400, 1, 1, 1, generator=generator, dtype=torch.float64))
    samples = torch.cat([base, near, base[:1].expand(100, 1, 8, 8)])[torch.randperm(len(base) + 500, generator=generator)]
    flat = samples.flatten(1)
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    larger = torch.maximum(flat.norm(dim=1)[:, None], flat.norm(dim=1))
    equal = (distances < 1e-6 * larger) | (distances == 0)
    expected = samples[~equal.tril(-1).any(1)]
    assert 500 < len(expected) < len(samples) - 100
    assert torch.equal(distinct_samples(samples), expected)


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 4)])
def test_sets_without_duplicates_are_returned_as_they_are(shape: tuple[int, ...], generator: torch.Generator) -> None:
    samples = torch.randn(50, *shape, generator=generator)
    assert distinct_samples(samples) is samples
    assert distinct_samples(samples[:1]).shape == (1, *shape)
    assert len(distinct_samples(samples[:1].expand(30, *shape))) == 1


def test_a_large_set_of_images_takes_a_moment(generator: torch.Generator) -> None:
    """Comparing all pairs of 20,000 images would take 2e8 distances."""
    samples = torch.randn(20_000, 3, 8, 8, generator=generator)
    distinct = distinct_samples(torch.cat([samples, samples[:100], samples[:200] * (1 + 1e-7)]))
    assert torch.equal(distinct, samples)


def test_an_image_is_memorized_below_a_third_of_the_second_distance() -> None:
    samples = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    images = torch.tensor([[0.0, 0.0], [0.24, 0.0], [0.26, 0.0], [0.5, 0.0], [0.76, 0.0], [-1.0, 0.0]])
    assert count_memorized(images, samples) == 3
    assert count_memorized(images.flip(0), samples.double()) == 3


def test_a_copy_far_from_the_origin_is_memorized_although_its_neighbor_is_close() -> None:
    """The blocked formula |x|^2 - 2 x.y + |y|^2 is off by about 1e-8 of the norm, which is not to be mistaken for a distance."""
    samples = torch.full((2, 3072), 100.0, dtype=torch.float64)
    samples[1, 0] += 1.2e-6 * float(samples[0].norm())
    assert len(distinct_samples(samples)) == 2
    assert count_memorized(samples, samples) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_distinct_samples_have_no_ratio(count: int) -> None:
    with pytest.raises(ValueError, match=f"there are {count} distinct training samples"):
        count_memorized(torch.zeros(2, 3), torch.zeros(count, 3))
