"""What is measured of the students of a group, all together, at one training step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfd_engine.denoisers import Denoiser
from pfd_engine.descriptors import Descriptor
from pfd_engine.distill.trainer import denoising_losses
from pfd_engine.empirical import EmpiricalDenoiser, nearest_samples
from pfd_engine.endpoints import EndPoints, drain, seed_blocks
from pfd_engine.evaluate import MEMORIZED_BELOW
from pfd_engine.flow_maps import SolverMap
from pfd_engine.measurement import Tally, pair_block
from pfd_engine.noise_bank import noise_of
from pfd_engine.noise_ranges import HELD_OUT_SEEDS
from pfd_engine.training_sets import draw_samples

LOSS_SAMPLES = 1024
BASIS_SAMPLES = 2048
LOSS_SEED = HELD_OUT_SEEDS.stop - 1
SHOWN = 8


@dataclass
class Measured:
    """One student at one step: tallies of E_gen, E_mem and E_emp, how many images were memorized (None: N = 1), losses, end points.

    A student whose numbers are not all finite is not `sound`, and has no tallies that are worth a look.
    """

    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in ("E_gen", "E_mem", "E_emp")})
    sound: bool = True
    memorized: int | None = 0
    train_loss: float = 0.0
    held_out_loss: float = 0.0
    bands: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    images: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)


class Ruler:
    """Measures students of one teacher over the noises `[seed, seed + num_noises)`, with everything shared computed once.

    `sets` are the students' training sets in order. The empirical maps use the teacher map's solver, steps and sigma range; of their
    images the first ones are kept, for the wall.
    """

    def __init__(
        self, teacher: SolverMap, sets: Sequence[Tensor], psi: Descriptor, noises: range, end_points: EndPoints, *, with_bands: bool
    ) -> None:
        assert teacher.shape is not None
        self.empirical: list[list[Tensor]] = []
        self.empirical_images: list[Tensor] = []
        self.teacher, self.psi, self.shape = teacher, psi, teacher.shape
        self.sets = list(sets)
        self.blocks = list(seed_blocks(noises.start, noises.stop, self.shape))
        self.images = [drain(end_points(teacher, block, self.shape)) for block in self.blocks]
        self.features = [self._features(images) for images in self.images]
        for samples in self.sets:
            blocks = (drain(end_points(self._empirical(samples), block, self.shape)) for block in self.blocks)
            first = next(blocks)
            self.empirical_images.append(first[:SHOWN].cpu())
            self.empirical.append([self._features(first), *(self._features(images) for images in blocks)])
        held_out = drain(draw_samples(teacher, _held_out(BASIS_SAMPLES), self.shape, end_points))
        self.held_out = held_out[:LOSS_SAMPLES]
        self.basis = principal_components(held_out) if with_bands and psi.name == "pixel" else None

    def measure(self, denoiser: Denoiser, sigma_data: float, p_mean: float, p_std: float) -> list[Measured]:
        """Measure all students at once; `denoiser` takes `(K B, *shape)`, student by student (`StudentGroup.all_denoisers`)."""
        count = len(self.sets)
        students = self._like_the_teacher(denoiser)
        measured = [Measured(memorized=0 if len(samples) > 1 else None) for samples in self.sets]
        for number, block in enumerate(self.blocks):
            z = noise_of(block, self.shape)
            with torch.inference_mode():
                images = students(z.repeat(count, *[1] * len(self.shape)), ()).unflatten(0, (count, -1))
            for index, (found, samples) in enumerate(zip(measured, self.sets, strict=True)):
                self._add(found, images[index], samples, number, self.empirical[index][number])
        losses = self._losses(denoiser, sigma_data, p_mean, p_std)
        for found, (train, held_out) in zip(measured, losses, strict=True):
            found.train_loss, found.held_out_loss = train, held_out
            found.sound &= math.isfinite(train) and math.isfinite(held_out)
            if self.basis is not None and found.sound:
                found.bands = self._bands(found)
        return measured

    def _add(self, found: Measured, images: Tensor, samples: Tensor, number: int, empirical: Tensor) -> None:
        block, teacher, student = self.blocks[number], self.features[number], self._features(images)
        if not student.isfinite().all():
            found.sound = False
        if not found.sound:
            return
        found.tallies["E_gen"].add(pair_block(block, teacher, student))
        found.tallies["E_mem"].add(pair_block(block, student, empirical))
        found.tallies["E_emp"].add(pair_block(block, teacher, empirical))
        if found.memorized is not None:
            distances, _ = nearest_samples(images, samples.to(images.device))
            found.memorized += int((distances[:, 0] < MEMORIZED_BELOW * distances[:, 1]).sum())
        found.images.append(images.cpu())
        found.features.append(student)

    def _bands(self, found: Measured) -> dict[str, NDArray[np.float64]]:
        """Return each band's squared distance a noise, `(M,)`: over all bands they sum to `d_m`."""
        assert self.basis is not None
        difference = (torch.cat(found.features) - torch.cat(self.features)) @ self.basis
        return {f"pc {low + 1}-{high}": difference[:, low:high].square().sum(1).numpy() for low, high in band_edges(self.basis.shape[1])}

    def _losses(self, denoiser: Denoiser, sigma_data: float, p_mean: float, p_std: float) -> Iterator[tuple[float, float]]:
        """Yield each student's denoising loss on its own samples and on held-out ones, with the same noise for all and at every step."""
        generator = torch.Generator().manual_seed(LOSS_SEED)
        log_sigma = p_mean + p_std * torch.randn(LOSS_SAMPLES, generator=generator)
        noise = torch.randn(LOSS_SAMPLES, *self.shape, generator=generator)
        own = torch.cat([samples[torch.arange(LOSS_SAMPLES) % len(samples)] for samples in self.sets])
        count, device = len(self.sets), self.teacher.device
        with torch.inference_mode():
            losses = [
                denoising_losses(
                    denoiser,
                    clean.to(device),
                    log_sigma.exp().repeat(count).to(device),
                    noise.repeat(count, *[1] * len(self.shape)).to(device),
                    sigma_data,
                )
                .double()
                .unflatten(0, (count, -1))
                .mean(1)
                .tolist()
                for clean in (own, self.held_out.repeat(count, *[1] * len(self.shape)))
            ]
        yield from zip(*losses, strict=True)

    def _features(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.psi(images).double().cpu()

    def _empirical(self, samples: Tensor) -> SolverMap:
        return self._like_the_teacher(EmpiricalDenoiser(samples.to(self.teacher.device)))

    def _like_the_teacher(self, denoiser: Denoiser) -> SolverMap:
        """Return a denoiser's map with the teacher's solver, steps and sigma range."""
        t = self.teacher
        return SolverMap(denoiser, t.solver.name, t.steps, t.sigma_min, t.sigma_max, t.rho, t.device)


def principal_components(samples: Tensor) -> Tensor:
    """Return the orthonormal principal components of samples `(n, *shape)` as columns `(d, d)`, float64, of falling variance."""
    flat = samples.flatten(1).double()
    _, vectors = torch.linalg.eigh((flat - flat.mean(0)).T @ (flat - flat.mean(0)) / len(flat))
    return vectors.flip(1)


def band_edges(dimension: int) -> list[tuple[int, int]]:
    """Return the bands `[low, high)` of principal components: 4, then four times as many each time, up to all of them."""
    edges, low, high = [], 0, 4
    while low < dimension:
        edges.append((low, min(high, dimension)))
        low, high = high, 4 * high
    return edges


def _held_out(count: int) -> range:
    return range(HELD_OUT_SEEDS.start, HELD_OUT_SEEDS.start + count)
