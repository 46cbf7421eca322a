"""Ladders: the table says the truth about its networks, spans what it must, and refuses what does not fit."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch

from pfd_engine.errors import InputError
from pfd_engine.models.networks.options import DiTOptions, NetworkOptions, UNetOptions
from pfd_engine.models.networks.own import NETWORKS, build_network, count_parameters
from pfd_engine.models.networks.sizes import LADDER_BATCH, LADDER_SHAPES, LADDERS, MIB, RUNGS, Rung, find_rung
from pfd_engine.workspace import REPOSITORY


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_the_table_counts_parameters_and_memory(rung: Rung) -> None:
    shape = LADDER_SHAPES[rung.family]
    assert rung.parameters == rung.count_parameters(shape)
    assert rung.memory_mib == round(rung.training_bytes(shape, LADDER_BATCH) / MIB)


@pytest.mark.parametrize("name", ["mlp-32", "mlp-512", "unet-24", "unet-192", "dit-4x64", "dit-12x384"])
def test_counts_are_those_of_the_networks(name: str) -> None:
    rung = find_rung(name)
    with torch.device("meta"):
        built = NETWORKS[rung.family](LADDER_SHAPES[rung.family], **rung.options.model_dump())
    assert count_parameters(built) == rung.parameters


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (UNetOptions(width=16, multipliers=(1, 2, 3), layers=1, attention=(0, 2)), (1, 16, 8)),
        (UNetOptions(width=24, multipliers=(2,), attention=()), (3, 8, 8)),
        (DiTOptions(layers=2, heads=3, head_width=16, patch=2), (2, 8, 8)),
    ],
)
def test_parameters_are_counted_without_building(options: NetworkOptions, shape: tuple[int, ...]) -> None:
    family = "unet" if isinstance(options, UNetOptions) else "dit"
    network = build_network(family, shape, options.model_dump())
    assert options.count_parameters(shape) == count_parameters(network)
    x, c_noise = torch.randn(3, *shape, dtype=torch.float64), torch.tensor([-1.5, 0.0, 1.1])
    assert not network(x, c_noise).any()  # an untrained network predicts 0
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    output = network(x[:1].expand(3, *shape), c_noise)
    assert (output.shape, output.dtype) == (x.shape, x.dtype)
    assert (output[0] - output[1]).abs().max() > 1e-4  # the noise level matters


@pytest.mark.parametrize("family", LADDERS)
def test_each_ladder_climbs_forty_times(family: str) -> None:
    parameters = [rung.parameters for rung in LADDERS[family].values()]
    assert parameters == sorted(parameters)
    assert parameters[-1] >= 40 * parameters[0]
    assert len(parameters) >= 8


def test_the_u_nets_are_as_large_as_the_papers() -> None:
    sizes = [rung.parameters / 1e6 for rung in LADDERS["unet"].values()]
    assert len(sizes) == 10
    assert math.isclose(sizes[0], 1, rel_tol=0.1)
    assert math.isclose(sizes[-1], 56, rel_tol=0.1)


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("mlp-128", (3, 32, 32), "mlp-128 is for inputs of up to 16x16 but the teacher makes 3x32x32"),
        ("unet-24", (1, 6, 6), "sides that 4 divides"),
        ("unet-24", (64,), "takes images"),
        ("dit-4x64", (3, 32, 16), "square images"),
        ("dit-4x64", (3, 30, 30), "a side that 4 divides"),
    ],
)
def test_a_size_that_does_not_fit_the_teacher_is_refused(name: str, shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        find_rung(name).check_shape(shape)
    assert caught.value.field == "size"


@pytest.mark.parametrize(("name", "offered"), [("mlp-100", "mlp-96, mlp-128"), ("resnet-50", "mlp-32"), ("", "mlp-32")])
def test_an_unknown_size_is_refused_with_what_there_is(name: str, offered: str) -> None:
    with pytest.raises(InputError, match=f"choose one of .*{offered}") as caught:
        find_rung(name)
    assert caught.value.field == "size"


def test_ladders_and_settings_need_no_torch() -> None:
    modules: list[Any] = ["models.networks.sizes", "distill.objectives", "configs.training", "planning.distillation", "jobs.kinds"]
    modules += ["models.student_card"]
    script = f"import importlib, sys\nfor m in {modules}: importlib.import_module('pfd_engine.' + m)\nprint('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


@pytest.mark.parametrize("name", ["mlp-256", "unet-24", "dit-4x64"])
def test_memory_is_that_of_a_real_backward_pass(name: str) -> None:
    rung, saved = find_rung(name), dict[int, int]()
    shape = LADDER_SHAPES[rung.family]
    network = build_network(rung.family, shape, rung.options.model_dump())
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.randn(2, *shape), torch.zeros(2)).sum()
    kept = sum(size for pointer, size in saved.items() if pointer not in weights) / 4 / 2
    assert rung.options.count_activations(shape) == pytest.approx(kept, rel=0.15)
