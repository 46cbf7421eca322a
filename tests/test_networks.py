"""The MLP network: sizes, shapes, dtype, determinism."""

import pytest
import torch

from pfd_engine.models.families.own import MLPOptions
from pfd_engine.models.networks.own import build_network, count_parameters


@pytest.mark.parametrize(("width", "parameters"), [(64, 35_776), (128, 120_640), (256, 437_824), (512, 1_662_016)])
def test_sizes_are_those_of_the_ladder(width: int, parameters: int) -> None:
    assert count_parameters(build_network("mlp", (1, 8, 8), {"width": width})) == parameters


@pytest.mark.parametrize("options", [{"width": 7}, {"width": 12, "blocks": 0, "embedding": 2}, {"width": 5, "blocks": 2, "embedding": 10}])
def test_parameters_are_counted_without_building(options: dict[str, int]) -> None:
    shape = (3, 4, 5)
    assert MLPOptions(**options).count_parameters(shape) == count_parameters(build_network("mlp", shape, options))


@pytest.mark.parametrize("shape", [(5,), (1, 8, 8), (3, 4, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_has_the_shape_and_dtype_of_the_input(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    network = build_network("mlp", shape, {"width": 8})
    torch.nn.init.normal_(network.output.weight)
    x = torch.randn(6, *shape, dtype=dtype)
    output = network(x, torch.linspace(-1.5, 1.1, 6, dtype=dtype))
    assert output.shape == x.shape
    assert output.dtype == dtype
    assert output.abs().sum() > 0


def test_an_untrained_network_predicts_zero() -> None:
    assert not build_network("mlp", (4,), {"width": 8})(torch.randn(3, 4), torch.zeros(3)).any()


def test_every_noise_level_gives_another_output() -> None:
    network = build_network("mlp", (4,), {"width": 32})
    torch.nn.init.normal_(network.output.weight)
    levels = torch.tensor([0.002, 0.0021, 0.5, 0.52, 80.0]).log() / 4
    outputs = network(torch.ones(5, 4), levels)
    assert (torch.cdist(outputs, outputs) + torch.eye(5) > 1e-4).all()


def test_the_seed_alone_decides_the_initial_weights() -> None:
    torch.manual_seed(5)
    expected_next = torch.randn(3)
    torch.manual_seed(5)
    first = build_network("mlp", (4,), {"width": 8}, seed=3)
    assert torch.equal(torch.randn(3), expected_next)  # the caller's own generator is left alone
    second, other = build_network("mlp", (4,), {"width": 8}, seed=3), build_network("mlp", (4,), {"width": 8}, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.input.weight, other.input.weight)
