"""Small real U-Nets against diffusers' own schedulers and pipelines, read back from one folder by both."""

import diffusers
import pytest
import torch

from pfd_engine.flow.noise import noise
from pfd_engine.flow.solvers import SOLVERS
from pfd_engine.models.families import load_denoiser, load_map
from tests.hub_server import make_family_folder

RGB = (3, 8, 8)
CHANNELS = {"in_channels": 3, "out_channels": 3}


def relative(value, reference):
    return float((value - reference).abs().max() / reference.abs().max())


def parts(folder):
    """Return diffusers' network and scheduler of a folder."""
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet").eval().requires_grad_(False)
    name = (folder / "scheduler" / "scheduler_config.json").read_text().split('"_class_name": "')[1].split('"')[0]
    return unet, getattr(diffusers, name).from_pretrained(folder / "scheduler")


def generators(count):
    """Return one generator a seed, as the noise bank draws."""
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("family", ["ddpm", "ddim-v", "ddpm-sample"])
@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_the_denoiser_is_diffusers_pred_original_sample(tmp_path, family, kind):
    folder = make_family_folder(family, tmp_path / "model", **CHANNELS)
    unet, scheduler = parts(folder)
    scheduler = getattr(diffusers, kind).from_config(scheduler.config)
    scheduler.set_timesteps(1000)
    denoiser = load_denoiser(str(folder))
    x = noise(0, 4, RGB)
    for step in (0, 1, 37, 500, 900, 998):
        abar = scheduler.alphas_cumprod[step].double()
        expected = scheduler.step(unet(x, step).sample, step, x).pred_original_sample
        found = denoiser(x / abar.sqrt().float(), float(((1 - abar) / abar).sqrt()))
        assert relative(found, expected) < 1e-5, step


def test_the_edm_denoiser_is_diffusers_pred_original_sample_and_its_euler_steps_are_ours(tmp_path):
    folder = make_family_folder("edm", tmp_path / "model", **CHANNELS)
    unet, scheduler = parts(folder)
    scheduler.set_timesteps(8)
    denoiser = load_denoiser(str(folder))
    start = scheduler.sigmas[0] * noise(0, 4, RGB)
    x = start
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        step = scheduler.step(unet(scheduler.scale_model_input(x, time), time).sample, time, x)
        assert relative(denoiser(x, float(sigma)), step.pred_original_sample) < 1e-5
        x = step.prev_sample
    assert relative(SOLVERS["euler"](denoiser, start, scheduler.sigmas.tolist()), x) < 1e-5


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_euler_over_the_same_noise_levels_makes_the_images_of_the_ddim_pipeline(tmp_path, prediction):
    """100 timesteps end at sigma 1.3, so that a random network's images are not clipped to black and white."""
    settings = {"prediction_type": prediction, "rescale_betas_zero_snr": False, "num_train_timesteps": 100}
    folder = make_family_folder("ddim-v", tmp_path / "model", scheduler=settings, **CHANNELS)
    pipeline = diffusers.DDIMPipeline(*parts(folder))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=3, generator=generators(3), num_inference_steps=10, output_type="np").images
    abar = pipeline.scheduler.alphas_cumprod[pipeline.scheduler.timesteps].double()
    sigmas = [*((1 - abar) / abar).sqrt().tolist(), 0.0]
    end_points = SOLVERS["euler"](load_denoiser(str(folder)), noise(0, 3, RGB) / abar[0].sqrt().float(), sigmas)
    found = (end_points / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    assert ((found > 0) & (found < 1)).float().mean() > 0.3
    assert float((found - torch.from_numpy(images)).abs().max()) < 1e-5


def test_euler_over_the_same_noise_levels_makes_the_samples_of_the_flow_matching_scheduler(tmp_path):
    folder = make_family_folder("rectified-flow", tmp_path / "model", **CHANNELS)
    unet, scheduler = parts(folder)
    times = [0.98, 0.8, 0.5, 0.2, 0.05]
    scheduler.set_timesteps(sigmas=times)
    start = noise(0, 4, RGB) / (1 - times[0])
    x = (1 - times[0]) * start
    for time in scheduler.timesteps:
        x = scheduler.step(unet(x, time).sample, time, x).prev_sample
    sigmas = [*(t / (1 - t) for t in times), 0.0]
    assert relative(SOLVERS["euler"](load_denoiser(str(folder)), start, sigmas), x) < 1e-5


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("clip", [True, False])
def test_a_consistency_map_makes_the_images_of_the_consistency_pipeline(tmp_path, steps, clip):
    """With one generator a seed the pipeline draws the noise bank's start and re-noisings, so even several steps agree."""
    folder = make_family_folder("consistency", tmp_path / "model", scheduler={"clip_denoised": clip}, **CHANNELS)
    pipeline = diffusers.ConsistencyModelPipeline(*parts(folder))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=3, generator=generators(3), num_inference_steps=steps, output_type="pt").images
    flow_map = load_map(str(folder), student_steps=steps)
    end_points = flow_map(noise(0, 3, RGB), range(3))
    assert (flow_map.steps, flow_map.network_calls, flow_map.keeps_coupling) == (steps, steps, steps == 1)
    assert end_points.std() > 0.1
    assert float(((end_points / 2 + 0.5).clamp(0, 1) - images).abs().max()) < 1e-5


@pytest.mark.parametrize("center", [False, True])
def test_a_score_network_is_called_as_its_pipeline_calls_it(tmp_path, center):
    folder = make_family_folder("score-sde-ve", tmp_path / "model", center_input_sample=center)
    unet, _ = parts(folder)
    denoiser = load_denoiser(str(folder))
    unit = 0.5 if center else 1.0
    assert (denoiser.sigma_min, denoiser.sigma_max) == (0.01 / unit, 100.0 / unit)
    for sigma in (0.01, 1.0, 50.0):
        own = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + sigma * noise(0, 4, (1, 8, 8))
        expected = own + sigma**2 * unet(own, torch.full((4,), sigma)).sample
        x = 2 * own - 1 if center else own
        found = denoiser(x, sigma / unit)
        assert relative(found, 2 * expected - 1 if center else expected) < 1e-5


def test_a_learned_variance_behind_the_prediction_is_ignored(tmp_path):
    folder = make_family_folder("ddpm", tmp_path / "model", scheduler={"variance_type": "learned_range"}, out_channels=2)
    unet, _ = parts(folder)
    x = noise(0, 2, (1, 8, 8))
    denoiser = load_denoiser(str(folder))
    sigma = denoiser.sigma_min
    own = x / (1 + sigma**2) ** 0.5
    assert relative(denoiser(x, sigma), x - sigma * unet(own, 0).sample[:, :1]) < 1e-6


def test_attention_names_of_old_checkpoints_are_read(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_family_folder("ddpm", tmp_path / "model")
    before = load_denoiser(str(folder))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(weights).items():
        for new, previous in old.items():
            name = name.replace(f".{new}.", f".{previous}.")
        state[name] = value
    save_file(state, weights)
    x = noise(0, 2, (1, 8, 8))
    assert torch.equal(load_denoiser(str(folder))(x, 1.0), before(x, 1.0))
