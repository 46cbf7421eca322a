"""What is measured of the students of a group, all together, at one training step."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfd_engine.distill.trainer import denoising_losses
from pfd_engine.flow.denoisers import Denoiser
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.flow.maps import FlowMap, SolverMap
from pfd_engine.flow.outside_range import InsideRange
from pfd_engine.flow.together import Repeated, Together
from pfd_engine.flow.trained_range import Range
from pfd_engine.measure.convergence import solver_errors
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.end_points import EndPoints, Progress, drain, seed_blocks
from pfd_engine.measure.memorization import count_memorized, distinct_samples
from pfd_engine.measure.solver_error import SolverError
from pfd_engine.measure.tally import BlockMeasurement, Pairs, Remembered, Tally, measure
from pfd_engine.seeds import HELD_OUT_SEEDS
from pfd_engine.training_sets.load import draw_samples

LOSS_SAMPLES = 1024
BASIS_SAMPLES = 2048
LOSS_SEED = HELD_OUT_SEEDS.stop - 1
SHOWN = 8

METRICS = ("E_gen", "E_mem", "E_emp")
DIAGNOSTIC = "diagnostic E_gen"


@dataclass
class Measured:
    """One student at one step: tallies of E_gen, E_mem and E_emp, how many images were memorized (None: fewer than two distinct training
    samples), losses, end points.

    `diagnostic` is the E_gen of the diagnostic map, which has no blocks where it was not asked for. `errors` are the solver errors of all
    of these, found at the last step only. A student whose numbers are not all finite is not `sound`, and has no tallies that are worth a
    look.
    """

    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in METRICS})
    diagnostic: Tally = field(default_factory=Tally)
    errors: dict[str, SolverError] = field(default_factory=dict)
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
    images the first ones are kept, for the wall. With `inside`, a range of noise levels, E_gen is also measured with the student inside
    this range and the teacher outside (the diagnostic map).
    """

    def __init__(
        self,
        teacher: SolverMap,
        sets: Sequence[Tensor],
        psi: Descriptor,
        noises: range,
        end_points: EndPoints,
        *,
        with_bands: bool,
        inside: Range | None = None,
    ) -> None:
        assert teacher.shape is not None
        self.teacher, self.psi, self.shape, self.end_points = teacher, psi, teacher.shape, end_points
        self.inside = inside
        self.sets = list(sets)
        self.distinct = [distinct_samples(samples.to(teacher.device)) for samples in self.sets]
        self.blocks = list(seed_blocks(noises.start, noises.stop, self.shape))
        self._teacher = Remembered(teacher, shown=len(noises))
        self._empirical = [Remembered(teacher.of(EmpiricalDenoiser(samples.to(teacher.device))), SHOWN) for samples in self.sets]
        drain(self._follow(self._shared(), {}))
        held_out = drain(draw_samples(teacher, _held_out(BASIS_SAMPLES), self.shape, end_points))
        self.held_out = held_out[:LOSS_SAMPLES]
        self.basis = principal_components(held_out) if with_bands and psi.name == "pixel" else None

    @property
    def images(self) -> Tensor:
        """The teacher's end points `(M, *shape)`."""
        return torch.cat([self._teacher.blocks[block][0] for block in self.blocks])

    @property
    def features(self) -> Tensor:
        """Psi of the teacher's end points `(M, dim Psi)`, float64."""
        return torch.cat([self._teacher.blocks[block][1] for block in self.blocks])

    def empirical_images(self, index: int) -> Tensor:
        """Return the first end points of a student's empirical map."""
        return self._empirical[index].blocks[self.blocks[0]][0]

    def measure(self, denoiser: Denoiser, sigma_data: float, p_mean: float, p_std: float, *, with_errors: bool = False) -> list[Measured]:
        """Measure all students at once; `denoiser` takes `(K B, *shape)`, student by student (`StudentGroup.all_denoisers`)."""
        measured = [Measured(memorized=0 if len(samples) > 1 else None) for samples in self.distinct]
        maps, pairs = self._shared() | self._students(denoiser), self._pairs()
        for block in self._follow(maps, {f"{i} {metric}": pair for (i, metric), pair in pairs.items()}):
            if isinstance(block, BlockMeasurement):
                for index, found in enumerate(measured):
                    self._add(found, block, index)
        losses = self._losses(denoiser, sigma_data, p_mean, p_std)
        for found, (train, held_out) in zip(measured, losses, strict=True):
            found.train_loss, found.held_out_loss = train, held_out
            found.sound &= math.isfinite(train) and math.isfinite(held_out)
            if self.basis is not None and found.sound:
                found.bands = self._bands(found)
        if with_errors:
            sound = {(i, m): pair for (i, m), pair in pairs.items() if measured[i].sound}
            named = {f"{i} {m}": pair for (i, m), pair in sound.items()}
            tallies = {f"{i} {m}": measured[i].diagnostic if m == DIAGNOSTIC else measured[i].tallies[m] for i, m in sound}
            errors = drain(solver_errors(maps, named, tallies, self.blocks, self.shape, self.psi, self.end_points))
            for i, metric in pairs:
                if (error := errors.get(f"{i} {metric}")) is not None:
                    measured[i].errors[metric] = error
        return measured

    def _students(self, denoiser: Denoiser) -> dict[str, FlowMap | Remembered]:
        """Return the maps of the students that a denoiser of `(K B, *shape)` holds, and their diagnostic maps where these are measured."""
        count = len(self.sets)
        maps = {"student": denoiser}
        if self.inside is not None:
            maps["diagnostic"] = InsideRange(denoiser, Repeated(self.teacher.denoiser, count), *self.inside)
        return {
            f"{name} {i}": part
            for name, batched in maps.items()
            for i, part in enumerate(Together(self.teacher.of(batched), count).parts())
        }

    def _pairs(self) -> dict[tuple[int, str], tuple[str, str]]:
        """Return which maps each metric of each student compares."""
        pairs: dict[tuple[int, str], tuple[str, str]] = {}
        for i in range(len(self.sets)):
            student, empirical = f"student {i}", f"empirical {i}"
            pairs |= {(i, "E_gen"): ("teacher", student), (i, "E_mem"): (student, empirical), (i, "E_emp"): ("teacher", empirical)}
            if self.inside is not None:
                pairs[i, DIAGNOSTIC] = ("teacher", f"diagnostic {i}")
        return pairs

    def _shared(self) -> dict[str, FlowMap | Remembered]:
        return {"teacher": self._teacher, **{f"empirical {i}": empirical for i, empirical in enumerate(self._empirical)}}

    def _follow(self, maps: Mapping[str, FlowMap | Remembered], pairs: Pairs) -> Generator[Progress | BlockMeasurement, None, None]:
        yield from measure(maps, pairs, self.blocks, self.shape, self.psi, self.end_points)

    def _add(self, found: Measured, block: BlockMeasurement, index: int) -> None:
        """Add one block of a student, unless it has diverged."""
        features = block.features[f"student {index}"]
        found.sound = found.sound and bool(features.isfinite().all())
        if not found.sound:
            return
        images = block.end_points[f"student {index}"]
        for metric in METRICS:
            found.tallies[metric].add(block.pairs[f"{index} {metric}"])
        if self.inside is not None:
            found.diagnostic.add(block.pairs[f"{index} {DIAGNOSTIC}"])
        if found.memorized is not None:
            found.memorized += count_memorized(images, self.distinct[index])
        found.images.append(images.cpu())
        found.features.append(features)

    def _bands(self, found: Measured) -> dict[str, NDArray[np.float64]]:
        """Return each band's squared distance a noise, `(M,)`: over all bands they sum to `d_m`."""
        assert self.basis is not None
        difference = (torch.cat(found.features) - self.features) @ self.basis
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
