"""Every family, from the Hub server to a map."""

import pytest
import torch

from pfd_engine.errors import InputError
from pfd_engine.flow.noise import noise
from pfd_engine.models.families import load_denoiser, load_map, map_model
from pfd_engine.models.inspect import inspect
from tests.hub_server import FAMILIES, FEW_STEP, SHAPE

pytestmark = pytest.mark.hub


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_from_the_hub_and_maps_noise_to_finite_end_points(hub, family):
    flow_map = load_map(hub.reference(family), solver="euler", steps=4)
    model = map_model(flow_map)
    end_points = flow_map(noise(0, 3, SHAPE), range(3))
    assert end_points.shape == (3, *SHAPE)
    assert torch.isfinite(end_points).all()
    assert flow_map.few_step if family in FEW_STEP else not getattr(flow_map, "few_step", False)
    assert model.reference == hub.reference(family)
    assert len(model.revision) == 40
    assert model.license == "apache-2.0"
    assert not any(parameter.requires_grad for parameter in _network(model).parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_inspection_states_what_loading_finds(hub, family):
    info = inspect(hub.reference(family))
    model = map_model(load_map(hub.reference(family)))
    assert (info.loadable, info.reason) == (True, None)
    names = ("revision", "family", "shape", "sigma_min", "sigma_max", "license", "weights", "few_step", "steps", "reference")
    assert {name: getattr(info, name) for name in names} == {name: getattr(model, name) for name in names}
    assert info.parameters == model.num_parameters


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in FEW_STEP])
def test_a_denoiser_keeps_dtype_and_takes_one_sigma_a_sample(hub, family):
    denoiser = load_denoiser(hub.reference(family))
    x = noise(0, 2, SHAPE).double()
    both = denoiser(x, torch.tensor([0.5, 3.0]))
    each = torch.cat([denoiser(x[:1], 0.5), denoiser(x[1:], 3.0)])
    assert both.dtype == torch.float64
    torch.testing.assert_close(both, each, rtol=1e-5, atol=1e-5)


def test_a_consistency_model_is_no_denoiser(hub):
    with pytest.raises(InputError, match="few-step map"):
        load_denoiser(hub.reference("consistency"))


def _network(model):
    denoise = model.denoise.network
    return getattr(denoise, "network", denoise)
