"""Closed-form denoisers against their definitions."""

import math

import pytest
import torch

from pfd_engine import Denoiser, EmpiricalDenoiser, GaussianDenoiser, MixtureDenoiser
from pfd_engine.flow.denoisers import EDMPrecondition
from pfd_engine.flow.empirical import nearest_samples


def random_covariance(dimension, generator, low=0.25, high=1.0):
    basis = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)).Q
    return basis @ torch.diag(torch.linspace(low, high, dimension, dtype=torch.float64)) @ basis.T


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_gaussian_denoiser_is_the_posterior_mean(generator):
    mean, covariance = torch.randn(5, generator=generator, dtype=torch.float64), random_covariance(5, generator)
    x, sigma = torch.randn(7, 5, generator=generator, dtype=torch.float64), 0.7
    expected = mean + (covariance @ torch.linalg.solve(covariance + sigma**2 * torch.eye(5), (x - mean).T)).T
    denoiser = GaussianDenoiser(mean, covariance)
    torch.testing.assert_close(denoiser(x, sigma), expected)
    torch.testing.assert_close(denoiser(x, torch.full((7,), sigma)), expected, atol=1e-7, rtol=1e-7)
    assert isinstance(denoiser, Denoiser)


def test_sigma_may_differ_within_a_batch(generator):
    denoiser = GaussianDenoiser(torch.zeros(3), random_covariance(3, generator))
    x, sigmas = torch.randn(4, 3, generator=generator, dtype=torch.float64), torch.tensor([0.01, 0.5, 3.0, 80.0], dtype=torch.float64)
    one_by_one = torch.cat([denoiser(x[i : i + 1], float(sigmas[i])) for i in range(4)])
    torch.testing.assert_close(denoiser(x, sigmas), one_by_one)


def test_degenerate_gaussian_denoises_to_its_point():
    denoiser = GaussianDenoiser(torch.tensor([0.3, -0.2]), torch.zeros(2, 2))
    torch.testing.assert_close(denoiser(torch.randn(5, 2), 0.5), torch.tensor([0.3, -0.2]).expand(5, 2))


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(2), torch.zeros(3, 3), "give (d,) and (d, d)"),
        (torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (torch.zeros(2), torch.diag(torch.tensor([1.0, -0.5])), "negative eigenvalue"),
    ],
)
def test_gaussian_denoiser_refuses_what_is_no_gaussian(mean, covariance, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        GaussianDenoiser(mean, covariance)


def test_mixture_of_one_component_is_the_gaussian(generator):
    mean, covariance = torch.randn(4, generator=generator), random_covariance(4, generator)
    x = torch.randn(6, 4, generator=generator)
    mixture = MixtureDenoiser(mean[None], covariance[None], torch.tensor([3.0]))
    torch.testing.assert_close(mixture(x, 0.4), GaussianDenoiser(mean, covariance)(x, 0.4))


def test_mixture_denoiser_follows_from_the_score_of_its_density(generator):
    means = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    covariances = torch.stack([random_covariance(4, generator, 0.1, 0.6) for _ in range(3)])
    weights, sigma = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), 0.6
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    noisy = [torch.distributions.MultivariateNormal(m, c + sigma**2 * torch.eye(4)) for m, c in zip(means, covariances, strict=True)]
    log_density = torch.logsumexp(torch.stack([w.log() + g.log_prob(x) for w, g in zip(weights, noisy, strict=True)]), 0)
    (score,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(MixtureDenoiser(means, covariances, weights)(x.detach(), sigma), (x + sigma**2 * score).detach())


def test_isotropic_variances_are_shorthand_for_covariances(generator):
    means, weights = torch.randn(3, 2, generator=generator), torch.ones(3)
    short = MixtureDenoiser(means, torch.tensor([0.1, 0.2, 0.3]), weights)
    long = MixtureDenoiser(means, torch.stack([v * torch.eye(2) for v in (0.1, 0.2, 0.3)]), weights)
    x = torch.randn(8, 2, generator=generator)
    assert torch.equal(short(x, 0.3), long(x, 0.3))


@pytest.mark.parametrize("sigma", [80.0, 1.0, 0.1, 0.02, 0.002])
@pytest.mark.parametrize("scale", ["on the data", "far away"])
def test_empirical_denoiser_in_float32_agrees_with_float64_at_every_sigma(generator, sigma, scale):
    samples = torch.rand(700, 3, 8, 8, generator=generator) * 2 - 1
    samples[1] = samples[0] + 1e-3  # two samples that only small sigmas tell apart
    x = samples[:32] + (sigma if scale == "on the data" else 80) * torch.randn(32, 3, 8, 8, generator=generator)
    differences = x.double().flatten(1)[:, None] - samples.double().flatten(1)[None]
    weights = (-differences.square().sum(-1) / (2 * sigma**2)).softmax(1)
    expected = (weights @ samples.double().flatten(1)).reshape(x.shape)
    found = EmpiricalDenoiser(samples)(x, sigma)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 2e-4


def test_empirical_denoiser_does_not_depend_on_its_blocks(generator, monkeypatch):
    samples, x = torch.randn(1000, 6, generator=generator), torch.randn(16, 6, generator=generator)
    whole = EmpiricalDenoiser(samples)(x, 0.3)
    monkeypatch.setattr("pfd_engine.flow.empirical.BLOCK_ELEMENTS", 16 * 7)
    torch.testing.assert_close(EmpiricalDenoiser(samples)(x, 0.3), whole, atol=1e-6, rtol=0)


def test_empirical_denoiser_stays_in_bounded_memory():
    samples, x = torch.randn(40_000, 256), torch.randn(256, 256)
    largest = 0

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    denoiser = EmpiricalDenoiser(samples)
    with Spy():
        denoiser(x, 1.0)
    assert largest <= samples.numel()  # x samples^T alone would be 40,000 x 256; the differences 256 times that
    assert largest < 2**22 + 1 or largest == samples.numel()


def test_empirical_denoiser_tells_its_content(generator):
    samples = torch.randn(10, 4, generator=generator)
    same, other = EmpiricalDenoiser(samples.clone()), EmpiricalDenoiser(samples + 1e-6)
    assert EmpiricalDenoiser(samples).content_key == same.content_key != other.content_key


def test_empirical_denoiser_refuses_nothing_and_nan():
    with pytest.raises(ValueError, match="N >= 1"):
        EmpiricalDenoiser(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="NaN"):
        EmpiricalDenoiser(torch.full((2, 4), math.nan))


def test_nearest_samples_agree_with_a_full_search(generator, monkeypatch):
    images, samples = torch.randn(9, 1, 4, 4, generator=generator), torch.randn(57, 1, 4, 4, generator=generator)
    monkeypatch.setattr("pfd_engine.flow.empirical.BLOCK_ELEMENTS", 16 * 10)
    distances, index = nearest_samples(images, samples, count=3)
    full = torch.cdist(images.flatten(1).double(), samples.flatten(1).double())
    expected, order = full.sort(1)
    torch.testing.assert_close(distances, expected[:, :3])
    assert torch.equal(index, order[:, :3])


def test_preconditioned_network_that_knows_the_gaussian_is_its_denoiser(generator):
    sigma_data, variance = 0.5, 0.3

    def network(x_in, c_noise, condition):
        sigma = (4 * c_noise).exp()[:, None]
        x = x_in * (sigma**2 + sigma_data**2).sqrt()
        target = variance / (variance + sigma**2) * x
        skip = sigma_data**2 / (sigma**2 + sigma_data**2) * x
        return (target - skip) * (sigma**2 + sigma_data**2).sqrt() / (sigma * sigma_data)

    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    exact = GaussianDenoiser(torch.zeros(3), variance * torch.eye(3))
    for sigma in (0.01, 1.0, 80.0):
        torch.testing.assert_close(EDMPrecondition(network, sigma_data, (3,))(x, sigma), exact(x, sigma), rtol=1e-6, atol=1e-9)
