"""What a distillation costs before it starts: exact counts, and seconds that grow with everything that makes it slower."""

import pytest

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.errors import InputError
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.planning.distillation import estimate, flops_per_call
from pfd_engine.planning.evaluation import Model

SHAPE, TEACHER = (1, 8, 8), Model(1_662_016, (1, 8, 8), "mlp")


def config(**changes: object) -> DistillConfig:
    return DistillConfig.parse({"teacher": "someone/teacher", "size": "mlp-128", "device": "cpu"} | changes)


def test_counts_are_exact() -> None:
    cost = estimate(config(num_samples=256, steps=5000), SHAPE, TEACHER)
    assert cost.parameters == 120_640
    assert cost.images_seen == 5000 * 128
    assert cost.training_set_calls == 256 * 35
    assert cost.memory_bytes == find_rung("mlp-128").training_bytes(SHAPE, 128)
    assert cost.seconds > cost.training_seconds + cost.training_set_seconds + cost.evaluation_seconds


@pytest.mark.parametrize(
    "change",
    [{"size": "mlp-512"}, {"steps": 50_000}, {"batch_size": 512}, {"num_samples": 65536}, {"num_noises": 65536}, {"solver_steps": 64}],
)
def test_more_of_anything_takes_longer(change: dict[str, object]) -> None:
    assert estimate(config(**change), SHAPE, TEACHER).seconds > estimate(config(), SHAPE, TEACHER).seconds


def test_a_gpu_is_faster_where_there_is_much_to_do() -> None:
    large = {"size": "unet-128", "steps": 10_000}
    on_cpu, on_gpu = (estimate(config(**large, device=device), (3, 32, 32), TEACHER).training_seconds for device in ("cpu", "cuda"))
    assert on_gpu < on_cpu / 50


def test_presets_are_estimated_within_a_factor_of_three_of_what_was_measured() -> None:
    measured = {"consistency": 185, "progressive": 160, "distribution-matching": 282}  # benchmarks/few_step.py, one thread
    for objective, seconds in measured.items():
        found = estimate(config(objective=objective, size="mlp-512"), SHAPE, TEACHER).training_seconds
        assert seconds / 3 < found < 3 * seconds, objective


def test_a_transformer_uses_its_weights_once_a_patch() -> None:
    rung = find_rung("dit-4x64")
    assert flops_per_call(rung, (3, 32, 32)) == 2 * 396_272 * 64


def test_a_size_that_does_not_fit_has_no_cost() -> None:
    with pytest.raises(InputError, match="16x16"):
        estimate(config(), (3, 32, 32), TEACHER)


def test_every_objective_has_a_cost() -> None:
    for name in OBJECTIVES:
        assert estimate(config(objective=name), SHAPE, TEACHER).seconds > 0
