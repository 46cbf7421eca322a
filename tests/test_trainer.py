"""The trainer: exact losses, averaging in closed form, determinism, and that it learns."""

import math

import pytest
import torch
from torch import nn

from pfd_engine.distill.trainer import TrainConfig, Trainer, denoising_loss, ema_decay_at, update_ema
from pfd_engine.errors import InputError, RunError
from pfd_engine.flow.denoisers import GaussianDenoiser
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.models.networks.own import build_network


def trainer(seed: int = 0, **options: object) -> Trainer:
    samples = torch.randn(50, 1, 2, 2, generator=torch.Generator().manual_seed(9)) * 0.5
    config = TrainConfig(**{"steps": 20, "batch_size": 16, "seed": seed} | options)  # type: ignore[arg-type]
    return Trainer(build_network("mlp", (1, 2, 2), {"width": 16}, seed=seed), samples, config)


def weights(network: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(network.parameters())


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    first, second, other = trainer(), trainer(), trainer(seed=1)
    losses = [[progress.loss for progress in t.run(report_every=1)] for t in (first, second, other)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(weights(first.ema), weights(second.ema))
    assert not torch.equal(weights(first.ema), weights(other.ema))


def test_training_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    list(trainer().run())
    assert torch.equal(torch.randn(3), expected)


def test_progress_covers_every_step_and_stopping_early_is_allowed() -> None:
    whole = trainer()
    assert [progress.step for progress in whole.run(report_every=8)] == [8, 16, 20]
    stopped = trainer()
    for progress in stopped.run(report_every=5):
        if progress.step == 10:
            break
    assert stopped.step == 10
    assert [progress.step for progress in stopped.run(report_every=5)] == [15, 20]
    assert torch.equal(weights(stopped.ema), weights(whole.ema))


def test_the_average_follows_its_closed_form() -> None:
    history, subject = [], trainer(ema_decay=0.6)
    history.append(weights(subject.network).clone())
    for _ in subject.run(report_every=1):
        history.append(weights(subject.network).clone())
    decays = [min(0.6, (1 + k) / (10 + k)) for k in range(20)]
    # weight of history[k] (the weights after step k) in the average after step 20; history[0] keeps what no step replaced
    shares = [(1 - decays[k - 1] if k else 1.0) * math.prod(decays[k:]) for k in range(21)]
    assert sum(shares) == pytest.approx(1)
    expected = sum(share * values.double() for share, values in zip(shares, history, strict=True))
    torch.testing.assert_close(weights(subject.ema).double(), expected, rtol=0, atol=1e-6)


def test_the_average_of_constant_weights_is_exact() -> None:
    average, constant = nn.Linear(3, 2), nn.Linear(3, 2)
    for step in range(5000):
        update_ema(average, constant, ema_decay_at(step, 0.99))
    torch.testing.assert_close(weights(average), weights(constant), rtol=0, atol=1e-6)


def test_loss_of_the_exact_denoiser_of_a_gaussian() -> None:
    variance, sigma_data, sigma = 0.25, 0.6, 0.8
    generator = torch.Generator().manual_seed(0)
    clean = math.sqrt(variance) * torch.randn(40_000, 2, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    exact = GaussianDenoiser(torch.zeros(2), variance * torch.eye(2))
    loss = denoising_loss(exact, clean, torch.full((40_000,), sigma), noise, sigma_data).item()
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    assert loss == pytest.approx(weight * variance * sigma**2 / (variance + sigma**2), rel=0.02)


def test_loss_of_a_perfect_prediction_is_zero() -> None:
    samples = torch.tensor([[0.5, -0.5], [0.5, -0.5]])
    point = EmpiricalDenoiser(samples[:1])
    assert denoising_loss(point, samples, torch.tensor([0.1, 3.0]), torch.randn(2, 2), 0.6).item() == 0


def test_training_approaches_the_optimal_denoiser() -> None:
    samples = torch.tensor([[-0.8], [0.8]]).repeat(32, 1)
    subject = Trainer(build_network("mlp", (1,), {"width": 64}), samples, TrainConfig(steps=1000, ema_decay=0.99))
    first, *_, last = [progress.loss for progress in subject.run(report_every=50)]
    assert last < first
    for sigma in (0.3, 1.0, 3.0):
        x = samples[:2, None] + sigma * torch.linspace(-1.5, 1.5, 21)[None, :, None]  # where noised data lie
        x = x.reshape(-1, 1)
        with torch.inference_mode():
            found, exact = subject.denoiser(x, sigma), EmpiricalDenoiser(samples[:2])(x, sigma)
        assert (found - exact).abs().max() < 0.2


def test_a_diverging_loss_is_said_so() -> None:
    with pytest.raises(RunError, match="lower the learning rate"):
        list(trainer(learning_rate=1e38, steps=200).run(report_every=10))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("ema_decay", 1.0),
        ("p_std", math.nan),
        ("sigma_data", -1.0),
        ("seed", -1),
        ("p_mean", math.inf),
    ],
)
def test_impossible_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field) as caught:
        TrainConfig(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_an_empty_training_set_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        Trainer(build_network("mlp", (4,), {"width": 8}), torch.empty(0, 4), TrainConfig())
