"""What an evaluation costs beside its raw network calls, and what a second student against the same teacher costs.

Prints, for the bundled MLPs and a small U-Net, the median over interleaved pairs of

- evaluation time / time of the same network calls made bare, in the same batches (all calls counted, those for the discretization
  error too); loading excluded; at most 1.10;
- time of a second student against a cached teacher / time of the first; at most 0.55.

    python benchmarks/evaluate.py [--noises 1024] [--pairs 5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.evaluation.prepare import Evaluation, prepare
from pfd_engine.models.families import map_model
from pfd_engine.workspace import ASSETS, Workspace


def networks(evaluation):
    """Return the bare torch modules behind both maps."""
    calls = [map_model(flow_map).denoise.network for flow_map in evaluation.maps.values()]
    return [call if isinstance(call, torch.nn.Module) else call.network for call in calls]


@contextmanager
def recorded(modules):
    """Record every network call: the module and its arguments' shapes, so that it can be made again bare."""
    calls = []
    handles = [
        module.register_forward_pre_hook(lambda m, args, kwargs: calls.append((m, args, kwargs)), with_kwargs=True) for module in modules
    ]
    yield calls
    for handle in handles:
        handle.remove()


def seconds_of(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run(evaluation: Evaluation, cache: Path | None = None):
    """Run an evaluation to its end with a fresh cache, or with the one given."""
    with tempfile.TemporaryDirectory() as folder:
        evaluation.workspace = Workspace(cache or Path(folder))
        for _ in evaluation.run("benchmark"):
            pass


def measure(name: str, first: Evaluation, second: Evaluation, pairs: int):
    with recorded(networks(first)) as calls:
        run(first)
    batches = [(module, args, kwargs) for module, args, kwargs in calls]

    @torch.inference_mode()
    def bare():
        for module, args, kwargs in batches:
            module(*args, **kwargs)

    run(second)  # the warm-up of the other student's network
    overhead, reuse = [], []
    for _ in range(pairs):
        whole, raw = seconds_of(lambda: run(first)), seconds_of(bare)
        overhead.append(whole / raw)
        with tempfile.TemporaryDirectory() as folder:
            paid = seconds_of(lambda: run(first, Path(folder)))
            cached = seconds_of(lambda: run(second, Path(folder)))
            reuse.append(cached / paid)
    for label, ratios, limit in (("evaluation / raw network calls", overhead, 1.10), ("second student / first", reuse, 0.55)):
        print(f"{name:6} {label:32} {median(ratios):5.3f}  ({min(ratios):.3f} to {max(ratios):.3f}; limit {limit})")
    print(f"{name:6} {len(batches)} network calls in {raw:.2f} s of {whole:.2f} s")


def small_unet(folder: Path, seed: int) -> str:
    """Write a random DDPM U-Net of 16x16 images; its weights do not matter to the time."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder / f"unet-{seed}")
    return str(folder / f"unet-{seed}")


def prepared(teacher: str, student: str, noises: int) -> Evaluation:
    """Load a pair without a training set, whose closed-form denoiser makes no network calls."""
    with tempfile.TemporaryDirectory() as folder:
        evaluation = prepare(EvaluateConfig(teacher=teacher, student=student, num_noises=noises), Workspace(Path(folder)))
    evaluation.training_set = None
    return evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noises", type=int, default=1024, help="noises of the MLP pair; the U-Net takes an eighth (default: 1024)")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    teacher, first, second = (str(ASSETS / f"digits-{n}") for n in ("teacher", "student-memorizes", "student-generalizes"))
    measure("MLP", prepared(teacher, first, options.noises), prepared(teacher, second, options.noises), options.pairs)
    with tempfile.TemporaryDirectory() as folder:
        teacher, first, second = (small_unet(Path(folder), seed) for seed in range(3))
        noises = options.noises // 8
        measure("U-Net", prepared(teacher, first, noises), prepared(teacher, second, noises), options.pairs)


if __name__ == "__main__":
    main()
