"""Students trained together learn what they would have learned alone, and a killed group goes on to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pfd_engine.distill.cohorts.stacked import StudentGroup
from pfd_engine.distill.trainer import TrainConfig, Trainer
from pfd_engine.errors import InputError
from pfd_engine.models.networks.own import build_network

SHAPE, SEEDS, CONFIG = (1, 4, 4), (3, 5, 8), TrainConfig(steps=20, batch_size=16)


def sets() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, *SHAPE, generator=generator).clamp(-1, 1) for count in (4, 32, 100)]


def group(config: TrainConfig = CONFIG) -> StudentGroup:
    return StudentGroup([build_network("mlp", SHAPE, {"width": 24}, seed=seed) for seed in SEEDS], sets(), SEEDS, config)


def drain(work: Iterator[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    return list(work)


def test_twenty_steps_together_agree_with_one_by_one() -> None:
    together = group()
    ((step, losses),) = drain(together.train(20))
    assert step == 20
    for index, (seed, samples) in enumerate(zip(SEEDS, sets(), strict=True)):
        alone = Trainer(build_network("mlp", SHAPE, {"width": 24}, seed=seed), samples, TrainConfig(steps=20, batch_size=16, seed=seed))
        (progress,) = alone.run()
        assert losses[index].item() == pytest.approx(progress.loss, rel=1e-5)
        for name, value in alone.ema.named_parameters():
            torch.testing.assert_close(together.ema[name][index], value, atol=2e-6, rtol=1e-5)


def test_one_student_is_the_same_denoiser_in_the_group_and_on_its_own() -> None:
    trained = group()
    drain(trained.train(20))
    x = torch.randn(6, *SHAPE)
    together = trained.all_denoisers()(x.repeat(3, 1, 1, 1), 0.7)
    for index in range(3):
        torch.testing.assert_close(together[6 * index : 6 * index + 6], trained.denoiser(index)(x, 0.7), atol=1e-6, rtol=1e-5)


def test_a_resumed_group_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = group()
    drain(whole.train(20))
    first = group()
    drain(first.train(7))
    first.save(tmp_path / "state.safetensors")
    second = group()
    assert second.load(tmp_path / "state.safetensors") == 0
    assert (second.step, second.seconds) == (7, first.seconds)
    drain(second.train(20))
    for name, value in whole.ema.items():
        assert torch.equal(value, second.ema[name])
        assert torch.equal(whole.stacked.parameters[name], second.stacked.parameters[name])


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_a_state_that_is_missing_or_damaged_means_starting_anew(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state.safetensors"
    if content is not None:
        path.write_bytes(content)
    fresh = group()
    assert fresh.load(path) is None
    assert fresh.step == 0


def test_a_student_that_diverges_is_named_and_the_others_learn_on() -> None:
    networks = [build_network("mlp", SHAPE, {"width": 24}, seed=seed) for seed in SEEDS]
    with torch.no_grad():
        next(networks[1].parameters()).fill_(float("nan"))
    broken, sound = StudentGroup(networks, sets(), SEEDS, CONFIG), group()
    drain(broken.train(20))
    drain(sound.train(20))
    assert broken.diverged == {1: 20}
    for name, value in sound.ema.items():
        assert torch.equal(broken.ema[name][0], value[0])
        assert torch.equal(broken.ema[name][2], value[2])


def test_a_group_without_samples_is_refused() -> None:
    networks = [build_network("mlp", SHAPE, {"width": 24}, seed=0)]
    with pytest.raises(InputError, match="at least one sample"):
        StudentGroup(networks, [torch.empty(0, *SHAPE)], [0], CONFIG)
