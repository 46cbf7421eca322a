"""Training sets of students: teacher samples that a few lines of JSON describe, stored samples, or a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfd_engine.errors import InputError
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.hub.resolve import resolve
from pfd_engine.hub.snapshot import Snapshot
from pfd_engine.training_sets.files import (
    DESCRIPTION_FILE,
    SAMPLES_FILE,
    TrainingSetDescription,
    by,
    check_samples,
    read_description,
    read_samples,
    samples_sha256,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pfd_engine.flow.maps import SolverMap
    from pfd_engine.measure.end_points import EndPoints, Progress

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainingSet:
    """The samples `(N, *shape)`, float32 in [-1, 1] (a teacher's may overshoot), that a student learned from.

    `seeds` are the noises they were drawn from, None for stored samples without a description and for images. `content_hash`
    is the sha256 of the samples as first drawn, the same on every machine.
    """

    samples: Tensor
    seeds: range | None
    name: str
    content_hash: str


def check_disjoint(training_seeds: range, evaluation_seeds: range) -> None:
    """Raise InputError where a noise would serve both training and evaluation."""
    first, last = max(training_seeds.start, evaluation_seeds.start), min(training_seeds.stop, evaluation_seeds.stop) - 1
    if first <= last:
        raise InputError(
            f"the student was trained on noises {first} to {last}, which the evaluation would use again: choose evaluation seeds outside "
            f"[{training_seeds.start}, {training_seeds.stop})",
            "seed",
        )


def load_training_set(
    reference: str,
    teacher_reference: str | None = None,
    device: str | torch.device = "cpu",
    report: Report | None = None,
    end_points: EndPoints | None = None,
    evaluation_seeds: range | None = None,
) -> TrainingSet:
    """Load what a student was trained on: a Hub repository (of a model or a data set) or folder, as this module's first line lists.

    With both samples.safetensors and training_set.json, the stored samples are checked against the description; without the
    former they are drawn from the teacher that the description names, relative to its own folder, or from `teacher_reference`
    where that path does not exist here. `end_points` brings a cache. `report` receives progress events (phase "training set").
    A noise that is among `evaluation_seeds` too is an error with the field `seed`.

    Raises InputError with one sentence, where samples are not what their description says too.
    """
    report = report or (lambda event: None)
    snapshot = _find(reference, report)
    description = read_description(snapshot.path / DESCRIPTION_FILE) if DESCRIPTION_FILE in snapshot.files else None
    if description is not None and evaluation_seeds is not None:
        check_disjoint(description.seeds, evaluation_seeds)
    if SAMPLES_FILE in snapshot.files:
        samples = read_samples(snapshot.path / SAMPLES_FILE)
    elif description is not None:
        samples = _redraw(description, snapshot, teacher_reference, device, report, end_points)
    else:
        from pfd_engine.training_sets.images import load_images

        samples = load_images(reference, report=report)
    if description is None:
        return TrainingSet(samples, None, reference.rstrip("/").split("/")[-1].split("@")[0], samples_sha256(samples))
    check_samples(samples, description)
    return TrainingSet(samples, description.seeds, description.name, description.sha256)


def draw_samples(
    flow_map: SolverMap, seeds: range, shape: Sequence[int], end_points: EndPoints | None = None
) -> Generator[Progress, None, Tensor]:
    """Yield progress and return the teacher's samples for `seeds`, `(len(seeds), *shape)`, float32 on the CPU.

    Whole aligned blocks are computed and cut, so that the samples of a nested range are the same bits.
    """
    import torch

    from pfd_engine.measure.end_points import EndPoints, seed_blocks

    end_points = end_points or EndPoints()
    size = len(next(seed_blocks(0, 2**32, shape)))
    rows = []
    for first in range(seeds.start // size * size, seeds.stop, size):
        block = yield from end_points(flow_map, range(first, first + size), shape)
        rows.append(block[max(seeds.start - first, 0) : seeds.stop - first].float().cpu())
    return torch.cat(rows)


def _find(reference: str, report: Report) -> Snapshot:
    """Resolve a folder, a model repository that describes its training set, or a data set repository."""
    allow = (DESCRIPTION_FILE, SAMPLES_FILE)
    try:
        folder = isinstance(parse_reference(reference), FolderReference)
    except ValueError as error:
        raise InputError(str(error), "training_set") from None
    if folder:
        return resolve(reference, allow=allow, report=report)
    try:
        snapshot = resolve(reference, allow=allow, repo_type="model", report=report)
        if snapshot.files:
            return snapshot
    except InputError:
        pass  # no such model: the data set of that name decides
    return resolve(reference, allow=allow, repo_type="dataset", report=report)


def _redraw(
    description: TrainingSetDescription,
    snapshot: Snapshot,
    teacher_reference: str | None,
    device: str | torch.device,
    report: Report,
    end_points: EndPoints | None,
) -> Tensor:
    from pfd_engine.flow.maps import SolverMap
    from pfd_engine.models.families import load_denoiser

    teacher = load_denoiser(_teacher_reference(description, snapshot, teacher_reference), str(device), report)
    if tuple(teacher.shape) != description.shape:
        raise InputError(
            f"the training set holds samples of {by(description.shape)} but its teacher {description.teacher} makes {by(teacher.shape)}: "
            "use the teacher that the student was trained with"
        )
    flow_map = SolverMap(
        teacher, description.solver, description.steps, description.sigma_min, description.sigma_max, description.rho, device
    )
    work, done, total = draw_samples(flow_map, description.seeds, description.shape, end_points), 0, len(description.seeds)
    while True:
        report({"type": "progress", "phase": "training set", "done": min(done, total), "total": total, "unit": "samples"})
        try:
            done += next(work).noises
        except StopIteration as stop:
            samples: Tensor = stop.value
            return samples


def _teacher_reference(description: TrainingSetDescription, snapshot: Snapshot, fallback: str | None) -> str:
    """Return the reference of the described teacher: a path is relative to the description, and never followed from a download."""
    try:
        parsed = parse_reference(description.teacher)
    except ValueError:
        raise InputError(f"{DESCRIPTION_FILE} names the teacher {description.teacher[:80]!r}, which is no reference: correct it") from None
    if not isinstance(parsed, FolderReference):
        return f"{parsed.repository}@{parsed.revision or description.teacher_revision or 'main'}"
    if snapshot.repo_type == "folder":
        path = (snapshot.path / parsed.path).resolve()
        if path.is_dir():
            return str(path)
    if fallback is None:
        raise InputError(f"the training set's teacher {description.teacher} is not here: name the teacher, or store {SAMPLES_FILE}")
    return fallback
