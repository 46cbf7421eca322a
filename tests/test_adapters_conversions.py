"""Every conversion against a closed form: an analytic module stands in the network's place and predicts exactly for a Gaussian."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pfd_engine.flow.denoisers import GaussianDenoiser
from pfd_engine.hub.layout import CheckpointError
from pfd_engine.models import schedules as _schedules
from pfd_engine.models.families import consistency, edm, rectified_flow, score_sde_ve, vp

SHAPE = (2, 4, 4)
MEAN = torch.linspace(-0.8, 0.8, 32, dtype=torch.float64)
VARIANCE = 0.3
EXACT = GaussianDenoiser(MEAN, VARIANCE * torch.eye(32, dtype=torch.float64))
GENERATOR = torch.Generator().manual_seed(0)
Z = torch.randn(5, *SHAPE, generator=GENERATOR, dtype=torch.float64)


def deviation(denoiser, sigmas):
    """Return the largest distance from the closed form over float and per-sample sigmas, divided by 1 + sigma."""
    worst = 0.0
    for sigma in sigmas:
        x = MEAN.view(SHAPE) + (VARIANCE + sigma**2) ** 0.5 * Z
        exact = EXACT(x.flatten(1), sigma).view_as(x)
        for given in (sigma, torch.full((5,), sigma, dtype=torch.float64)):
            worst = max(worst, float((denoiser(x, given) - exact).abs().max()) / (1 + sigma))
    return worst


def column(values):
    return values.double().view(-1, 1, 1, 1)


def vp_network(scheduler, prediction):
    """Predict exactly from the VP sample and its timestep alone; the noise level comes from diffusers' own table."""
    keywords = scheduler.model_dump(include={"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "rescale_betas_zero_snr"})
    abar = DDPMScheduler(**keywords, trained_betas=scheduler.trained_betas).alphas_cumprod.double().numpy()
    steps = np.flatnonzero(abar > 0)
    log_sigma = 0.5 * np.log((1 - abar[steps]) / abar[steps])

    def network(x_vp, time):
        sigma = column(torch.from_numpy(np.exp(np.interp(time.double().numpy(), steps, log_sigma))))
        alpha = (1 + sigma**2).rsqrt()
        x0 = MEAN.view(SHAPE) + VARIANCE / (VARIANCE + sigma**2) * (x_vp / alpha - MEAN.view(SHAPE))
        noise = (x_vp / alpha - x0) / sigma
        return {"epsilon": noise, "sample": x0, "v_prediction": alpha * noise - alpha * sigma * x0}[prediction]

    return network


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(
    "schedule",
    [
        {"beta_schedule": "linear"},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
        {"trained_betas": tuple(float(b) for b in np.linspace(0.001, 0.2, 50)), "num_train_timesteps": 50},
    ],
    ids=["linear", "scaled-linear", "cosine", "zero-snr", "trained"],
)
def test_variance_preserving_models_equal_the_closed_form(prediction, schedule):
    scheduler = vp.Scheduler(**{"beta_start": 0.0001, "beta_end": 0.02, "prediction_type": prediction, **schedule})
    _, sigmas = scheduler.table()
    asked = [float(sigmas[0]), 0.02, 0.1, 1.0, 7.3, float(sigmas[len(sigmas) // 3]), min(float(sigmas[-1]), 80.0)]
    denoiser = vp.VPConversion(vp_network(scheduler, prediction), scheduler)
    assert deviation(denoiser, [s for s in asked if sigmas[0] <= s <= sigmas[-1]]) < 1e-5


@pytest.mark.parametrize(("prediction", "sign"), [("epsilon", 1), ("v_prediction", -1)])
def test_edm_models_equal_the_closed_form(prediction, sign):
    data = 0.7

    def network(scaled_x, time):
        sigma = column(torch.exp(4 * time.double()))
        root = (sigma**2 + data**2).sqrt()
        x = root * scaled_x
        x0 = MEAN.view(SHAPE) + VARIANCE / (VARIANCE + sigma**2) * (x - MEAN.view(SHAPE))
        return sign * (x0 - data**2 / root**2 * x) * root / (sigma * data)

    scheduler = edm.Scheduler(sigma_data=data, prediction_type=prediction)
    assert deviation(edm.EDMConversion(network, scheduler), [0.002, 0.05, 1.0, 9.0, 80.0]) < 1e-5


@pytest.mark.parametrize("prediction", ["score", "epsilon"])
def test_score_networks_equal_the_closed_form(prediction):
    def network(x, sigma):
        sigma = column(sigma)
        score = (MEAN.view(SHAPE) - x) / (VARIANCE + sigma**2)
        return score if prediction == "score" else -sigma * score

    assert deviation(score_sde_ve.ScoreConversion(network, prediction), [0.01, 0.05, 1.0, 9.0, 80.0]) < 1e-5


def test_score_networks_on_data_between_0_and_1_equal_the_closed_form_in_our_units():
    def network(x, sigma):
        return ((MEAN.view(SHAPE) + 1) / 2 - x) / (VARIANCE / 4 + column(sigma) ** 2)

    assert deviation(score_sde_ve.ScoreConversion(network, "score", unit=0.5), [0.02, 0.05, 1.0, 9.0, 80.0]) < 1e-5


@pytest.mark.parametrize("time_scale", [1000, 500])
def test_rectified_flow_equals_the_closed_form(time_scale):
    def network(x_t, time):
        t = column(time) / time_scale
        sigma = t / (1 - t)
        x0 = MEAN.view(SHAPE) + VARIANCE / (VARIANCE + sigma**2) * (x_t / (1 - t) - MEAN.view(SHAPE))
        return (x_t - x0) / t  # v = eps - x0 on x_t = (1 - t) x0 + t eps

    assert deviation(rectified_flow.FlowConversion(network, time_scale), [0.002, 0.05, 1.0, 9.0, 80.0]) < 1e-5


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_a_perfect_consistency_function_equals_the_exact_flow_map(sigma):
    """The exact PF-ODE solution from sigma to sigma_min, put through the inverse of the boundary scalings, comes back."""
    scheduler = consistency.Scheduler(clip_denoised=False, sigma_data=0.6)
    low, data = scheduler.sigma_min, scheduler.sigma_data

    def exact(x, sigma):
        scale = ((VARIANCE + low**2) / (VARIANCE + sigma**2)) ** 0.5
        return MEAN.view(SHAPE) + scale * (x - MEAN.view(SHAPE))

    def network(scaled_x, time):
        sigma = column(torch.exp(time.double() / 250))
        root = (sigma**2 + data**2).sqrt()
        x = root * scaled_x
        above = (sigma - low).clamp_min(1e-12)
        return (exact(x, sigma) - data**2 / (above**2 + data**2) * x) * root / (above * data)

    x = MEAN.view(SHAPE) + (VARIANCE + sigma**2) ** 0.5 * Z
    function = consistency.ConsistencyFunction(network, scheduler)
    assert float((function(x, sigma) - exact(x, sigma)).abs().max()) / (1 + sigma) < 1e-5


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("count", [10, 1000, 777])
def test_schedules_are_those_of_diffusers_to_the_bit(name, count):
    reference = DDPMScheduler(num_train_timesteps=count, beta_schedule=name)
    betas = _schedules.betas(name, 0.0001, 0.02, count)
    assert np.array_equal(betas, reference.betas.numpy())
    assert np.array_equal(_schedules.alphas_cumprod(betas), reference.alphas_cumprod.numpy())


def test_the_step_of_infinite_noise_is_left_out():
    scheduler = vp.Scheduler(beta_start=0.0001, beta_end=0.02, rescale_betas_zero_snr=True)
    steps, sigmas = scheduler.table()
    reference = DDPMScheduler(rescale_betas_zero_snr=True).alphas_cumprod.double().numpy()
    assert steps[-1] == 998
    assert np.isfinite(sigmas).all()
    assert sigmas[-1] == pytest.approx(((1 - reference[998]) / reference[998]) ** 0.5, rel=1e-5)


def test_betas_that_make_no_rising_noise_are_refused():
    with pytest.raises(CheckpointError, match="rises from step to step"):
        vp.Scheduler(beta_start=0.0, beta_end=0.0).table()


def test_a_shift_moves_the_range_of_a_rectified_flow():
    assert rectified_flow.Scheduler().sigma_range() == pytest.approx((1 / 999, 999))
    assert rectified_flow.Scheduler(shift=3).sigma_range() == pytest.approx((3 / 999, 2997))
