"""Prepare an evaluation: load and check both models and the training set, and put them on one sigma range.

`prepare` raises InputError for whatever cannot start; `Evaluation.run` then yields events, plain JSON objects, of which the last is the
result. Running the same evaluation again costs almost nothing and gives the same bits: end points are cached by content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.devices import resolve_device
from pfd_engine.errors import InputError
from pfd_engine.evaluation.report import Event
from pfd_engine.evaluation.run import Evaluation, cached_end_points
from pfd_engine.flow.maps import FlowMap, SolverMap
from pfd_engine.flow.outside_range import InsideRange
from pfd_engine.flow.trained_range import trained_range_of, why_no_trained_range
from pfd_engine.hub.layout import no_teacher
from pfd_engine.measure.descriptors import load_descriptor
from pfd_engine.measure.pfd import common_shape, pair_of_maps
from pfd_engine.models.families import load_map, map_model
from pfd_engine.training_sets.load import TrainingSet, load_training_set
from pfd_engine.workspace import Workspace

Report = Callable[[Event], None]


def prepare(config: EvaluateConfig, workspace: Workspace, report: Report | None = None) -> Evaluation:
    """Download, load and check everything that the evaluation needs; `report` receives progress events meanwhile.

    Raises InputError with one sentence for what cannot start.
    """
    report = report or (lambda event: None)
    device = resolve_device(config.device)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # states and sums are float32 throughout
    loaded: dict[str, FlowMap] = {}
    for role, reference in (("teacher", config.teacher), ("student", config.student)):
        report({"type": "progress", "phase": "load", "done": len(loaded), "total": 2, "unit": "models"})
        with _naming(role, reference):
            loaded[role] = load_map(
                reference,
                str(device),
                config.solver,
                config.first_steps,
                student_steps=config.student_steps if role == "student" else None,
                report=report,
            )
            if role == "teacher" and not isinstance(loaded[role], SolverMap):
                raise no_teacher(str(map_model(loaded[role]).reference))
    teacher, student = loaded["teacher"], loaded["student"]
    shape = common_shape(teacher, student)
    maps = pair_of_maps(
        teacher.denoiser if isinstance(teacher, SolverMap) else teacher,
        student.denoiser if isinstance(student, SolverMap) else student,
        config.solver,
        config.first_steps,
        config.sigma_min,
        config.sigma_max,
    )
    if config.outside_range == "teacher":
        maps["student"] = _inside_range(maps)
    psi = load_descriptor(config.descriptor, device, config.descriptor_file, config.descriptor_sha256, config.allow_torchscript)
    evaluation = Evaluation(config, workspace, maps, shape, psi, None, device)
    named = config.training_set or getattr(map_model(student), "training_set_reference", None)
    if named is not None and config.outside_range == "student":
        try:
            evaluation.training_set = _training_set(named, evaluation, report)
        except InputError as error:
            if config.training_set is not None or error.field == "seed":
                raise  # noises used twice concern the PFD itself, whoever named the set
            evaluation.notes.append(f"E_mem is left out, because the training set that the student names cannot be used: {error}")
    return evaluation


def _inside_range(maps: dict[str, FlowMap]) -> SolverMap:
    """Return the diagnostic map of a pair; raises InputError where the student's trained range is not known."""
    teacher, student = maps["teacher"], maps["student"]
    metadata = getattr(map_model(student), "metadata", {})
    found = trained_range_of(metadata)
    if not isinstance(student, SolverMap) or not isinstance(teacher, SolverMap) or found is None:
        reason = why_no_trained_range(metadata) if isinstance(student, SolverMap) else "it takes a few steps of its own"
        raise InputError(f"outside_range is teacher, but no trained range of the student is known: {reason}; leave it out", "outside_range")
    return student.of(InsideRange(student.denoiser, teacher.denoiser, *found))


@contextmanager
def _naming(field_name: str, reference: str) -> Iterator[None]:
    """Name the field at fault, and the reference, in an InputError of a loader that does not."""
    try:
        yield
    except InputError as error:
        if error.field not in EvaluateConfig.model_fields:
            error.field = field_name
        if error.field == field_name and reference.split("@")[0] not in str(error):
            error.args = (f"{field_name.replace('_', ' ')} {reference}: {error}",)
        raise


def _training_set(reference: str, evaluation: Evaluation, report: Report) -> TrainingSet:
    """Load the student's training set; raises InputError where its shape or its seeds do not fit."""
    config, shape = evaluation.config, evaluation.shape
    with _naming("training_set", reference), cached_end_points(config, evaluation.workspace) as end_points:
        end_points.notes = evaluation.notes
        training_set = load_training_set(
            reference,
            config.teacher,
            evaluation.device,
            report,
            end_points=end_points,
            evaluation_seeds=range(config.seed, config.seed + config.num_noises),
        )
    found = tuple(training_set.samples.shape[1:])
    if found != shape:
        raise InputError(
            f"the training set holds samples of {'x'.join(map(str, found))} but the models make {'x'.join(map(str, shape))}: "
            "name the set that the student was trained on",
            "training_set",
        )
    return training_set
