"""The trainer's settings: exact resume for every objective, averages in closed form, learning rates, kept steps, and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfd_engine.configs.training import TrainConfig, learning_rate_at, log_spaced_steps
from pfd_engine.distill.checkpoint import load_state, save_state
from pfd_engine.distill.ema import decay_at, power_decay_at, power_exponent, power_width
from pfd_engine.distill.objectives import OBJECTIVES, make_objective
from pfd_engine.distill.trainer import Trainer
from pfd_engine.errors import InputError, RunError
from pfd_engine.flow.denoisers import GaussianDenoiser
from pfd_engine.models.networks.own import build_network

SHAPE = (1, 4, 4)
TEACHER = GaussianDenoiser(torch.zeros(16), 0.3 * torch.eye(16))
BARE = TrainConfig(steps=24, batch_size=8)
RICH = TrainConfig(
    steps=24, batch_size=8, ema="power", ema_width=0.1, warmup_steps=3, schedule="cosine", clip_norm=0.5, dropout=0.2, flips=True, seed=4
)  # fmt: skip


def teacher(x: Tensor, sigma: Any, condition: Any = None) -> Tensor:
    return TEACHER(x.flatten(1), sigma).view_as(x)


def trainer(name: str = "samples", config: TrainConfig = BARE) -> Trainer:
    options: dict[str, Any] = {"teacher": teacher} if OBJECTIVES[name].needs_teacher else {}
    if OBJECTIVES[name].few_step:
        options |= {"sigma_min": 0.002, "sigma_max": 80.0}
    samples = torch.randn(30, *SHAPE, generator=torch.Generator().manual_seed(9)) * 0.5
    network = build_network("mlp", SHAPE, {"width": 12, "blocks": 1, "dropout": config.dropout}, seed=config.seed)
    return Trainer(network, samples, config, make_objective(name, **options))


def weights(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters())


@pytest.mark.parametrize("config", [BARE, RICH], ids=["bare", "rich"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_resumed_equals_uninterrupted_to_the_bit(name: str, config: TrainConfig, tmp_path: Path) -> None:
    whole = trainer(name, config)
    losses = [progress.loss for progress in whole.run(report_every=1)]
    parts: list[float] = []
    for until in (5, 10, 17, 24):  # 10 lies inside a stage of progressive distillation
        part = trainer(name, config)
        assert part.load(tmp_path / "state") == (until > 5)
        for progress in part.run(report_every=1):
            parts.append(progress.loss)
            if progress.step == until:
                break
        part.save(tmp_path / "state")
    assert parts == losses
    assert torch.equal(weights(part.ema), weights(whole.ema))
    assert torch.equal(weights(part.network), weights(whole.network))
    for mine, others in zip(part.objective.networks.values(), whole.objective.networks.values(), strict=True):
        assert torch.equal(weights(mine), weights(others))
    assert not torch.equal(weights(whole.ema), weights(trainer(name, config).ema))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_training_with_dropout_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    list(trainer(config=RICH).run())
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("change", [{"dropout": 0.5}, {"flips": True}, {"clip_norm": 0.01}, {"warmup_steps": 5}, {"schedule": "cosine"}])
def test_each_setting_moves_the_student(change: dict[str, Any]) -> None:
    plain, changed = trainer(), trainer(config=TrainConfig(**{"steps": 24, "batch_size": 8} | change))
    for subject in (plain, changed):
        list(subject.run())
    assert not torch.equal(weights(plain.ema), weights(changed.ema))


def test_half_of_the_batches_images_are_mirrored() -> None:
    subject = trainer(config=TrainConfig(steps=1, batch_size=400, flips=True))
    subject.samples = torch.arange(16.0).reshape(1, *SHAPE)
    clean = subject.draw_clean()
    mirrored = (clean == subject.samples.flip(-1)).flatten(1).all(1)
    straight = (clean == subject.samples).flatten(1).all(1)
    assert (mirrored ^ straight).all()
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "one bit", "foreign", "other size", "other samples", "other settings"])
def test_a_state_that_does_not_fit_is_not_taken(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    if damage in ("cut", "one bit", "other size", "other samples", "other settings"):
        trainer().save(path)
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "one bit":
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    elif damage == "foreign":
        save_state(path, {"x": torch.zeros(2)}, {"step": 3})
    subject = trainer("consistency") if damage == "other size" else trainer()
    if damage == "other settings":
        subject = trainer(config=RICH)
    if damage == "other samples":
        subject.samples = subject.samples + 1
    before = weights(subject.network).clone()
    assert not subject.load(path)
    assert subject.step == 0
    assert torch.equal(weights(subject.network), before)


def test_a_state_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path / "state", {"x": torch.zeros(2)}, {"step": 3})

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pfd_engine.distill.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_state(tmp_path / "state", {"x": torch.ones(2)}, {"step": 4})
    found = load_state(tmp_path / "state")
    assert found is not None
    assert (found[0]["x"].tolist(), found[1]) == ([0, 0], {"step": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.25])
def test_the_power_average_has_its_width(width: float) -> None:
    assert power_width(power_exponent(width)) == pytest.approx(width, rel=1e-9)
    steps = 4000
    shares, kept = [], 1.0
    for step in reversed(range(steps)):
        decay = power_decay_at(step, width)
        shares.append(kept * (1 - decay))
        kept *= decay
    assert kept == 0  # the first update forgets the initial weights
    times = [(steps - index) / steps for index in range(steps)]
    mean = sum(share * time for share, time in zip(shares, times, strict=True))
    deviation = math.sqrt(sum(share * (time - mean) ** 2 for share, time in zip(shares, times, strict=True)))
    assert sum(shares) == pytest.approx(1)
    assert deviation == pytest.approx(width, rel=0.02)


def test_the_average_asked_for_is_the_one_used() -> None:
    assert decay_at(TrainConfig(ema="power", ema_width=0.1), 99) == power_decay_at(99, 0.1)
    assert decay_at(TrainConfig(ema_decay=0.9), 99) == 0.9


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(steps=100, learning_rate=1.0, warmup_steps=10, schedule="cosine")
    rates = [learning_rate_at(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0, abs=1e-3)
    constant = TrainConfig(steps=100, learning_rate=1.0)
    assert {learning_rate_at(constant, step, 100) for step in range(100)} == {1.0}


def test_kept_steps_are_evenly_spaced_in_their_logarithm() -> None:
    assert log_spaced_steps(1000, 4) == [1, 10, 100, 1000]
    assert log_spaced_steps(1000, 3, first=10) == [10, 100, 1000]
    assert log_spaced_steps(3, 50) == [1, 2, 3]
    assert log_spaced_steps(7, 1) == [7]
    for steps, count, first in ((10, 0, 1), (10, 3, 11), (10, 3, 0)):
        with pytest.raises(InputError, match="checkpoints"):
            log_spaced_steps(steps, count, first)


def test_training_also_stops_where_it_is_asked_to() -> None:
    assert [progress.step for progress in trainer().run(report_every=10, stops={3, 10, 17})] == [3, 10, 17, 20, 24]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_divergence_is_noticed_for_every_objective(name: str) -> None:
    subject = trainer(name, TrainConfig(steps=200, batch_size=8, learning_rate=1e38))
    with pytest.raises(RunError, match="lower the learning rate"):
        list(subject.run(report_every=10))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ema", "double"), ("ema_width", 0.0), ("ema_width", 0.29), ("ema_width", math.nan), ("schedule", "linear"), ("warmup_steps", -1),
        ("warmup_steps", 5000), ("clip_norm", 0.0), ("clip_norm", math.inf), ("dropout", 1.0), ("dropout", -0.1), ("precision", "float16"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field) as caught:
        TrainConfig(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(("field", "value"), [("precision", "bfloat16"), ("compile", True)])
def test_what_is_for_gpus_is_refused_on_the_cpu(field: str, value: Any) -> None:
    with pytest.raises(InputError, match="that is for GPUs") as caught:
        trainer(config=TrainConfig(**{field: value}))
    assert caught.value.field == field


def test_a_checkpoint_records_what_was_changed() -> None:
    first = {"batch_size": 128, "learning_rate": 1e-3, "ema_decay": 0.999, "p_mean": 0.0, "p_std": 1.4, "sigma_data": 0.6}
    assert TrainConfig(seed=3, steps=9).recorded() == first
    assert TrainConfig(ema="power").recorded() == first | {"ema": "power", "ema_width": 0.05}
    assert TrainConfig(dropout=0.1, flips=True).recorded() == first | {"dropout": 0.1, "flips": True}
