"""One distillation from its configuration to its events: draw the training set, train with checkpoints, save the student, measure it."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.configs.training import TrainConfig, log_spaced_steps
from pfd_engine.devices import resolve_device
from pfd_engine.distill.objectives import make_objective
from pfd_engine.distill.objectives.objective import Objective
from pfd_engine.distill.setup import free_memory, initial_network, reference_of, relative_reference, train_config
from pfd_engine.distill.trainer import Trainer
from pfd_engine.errors import Cancelled, InputError, RunError
from pfd_engine.evaluation import prepare as evaluate
from pfd_engine.evaluation.report import Event, checkpoint_event, training_set_event
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.maps import SolverMap
from pfd_engine.flow.trained_range import trained_range_of
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.measure.end_points import EndPointCache, EndPoints
from pfd_engine.models.families import LoadedDenoiser, load_denoiser
from pfd_engine.models.families.own import CARD_FILE, CONFIG_FILE, OwnConfig, save_denoiser
from pfd_engine.models.networks.sizes import Rung, find_rung
from pfd_engine.models.student_card import CardFacts, write_card
from pfd_engine.planning.distillation_checks import check_memory, check_output, check_samples
from pfd_engine.runs.folder import replace_file
from pfd_engine.training_sets.files import TrainingSetDescription, describe_samples
from pfd_engine.training_sets.load import TrainingSet, draw_samples
from pfd_engine.workspace import Workspace

Report = Callable[[Event], None]
Finished = tuple[Path, FewStepSampler | None]

REPORT_STEPS = {"mlp": 50, "unet": 5, "dit": 5}
CURVE_POINTS = 200
SAVE_SECONDS = 20.0
MEASURED_STEPS = (1, 2, 4)
ANEW = "the saved state is damaged, of an earlier version or of another training: the student is trained from its first step"


def prepare(config: DistillConfig, workspace: Workspace, report: Report) -> Distillation:
    """Load and check everything that the distillation needs; raises InputError with one sentence for what cannot start."""
    device = resolve_device(config.device)
    report({"type": "progress", "phase": "load", "done": 0, "total": 1, "unit": "models"})
    try:
        teacher = load_denoiser(config.teacher, str(device), report)
    except InputError as error:
        error.field = error.field or "teacher"
        raise
    rung = find_rung(config.size)
    rung.check_shape(teacher.shape)
    teacher_map = SolverMap(teacher, config.solver, config.solver_steps, device=device)
    training = train_config(config, rung, teacher, device.type)
    options: dict[str, Any] = {"teacher": teacher} if config.preset.needs_teacher else {}
    if config.preset.few_step:
        options |= {"sigma_min": teacher_map.sigma_min, "sigma_max": teacher_map.sigma_max}
        options["student_steps"] = config.student_steps or config.preset.student_steps
    objective = make_objective(config.objective, **options)
    objective.check(training)
    num_samples = config.num_samples or config.preset.num_samples
    check_samples(num_samples, teacher.shape)
    check_memory(config, rung, teacher.shape, free_memory(device), str(device))
    check_output(config)
    network, initialized = initial_network(config, rung, teacher, training)
    return Distillation(config, workspace, rung, teacher_map, training, objective, network.to(device), initialized, num_samples)


@dataclass
class Distillation:
    """A distillation that can start. Running it again, with the same run id, goes on from what its folder holds, to the same bits."""

    config: DistillConfig
    workspace: Workspace
    rung: Rung
    teacher_map: SolverMap
    training: TrainConfig
    objective: Objective
    network: nn.Module
    initialized: str
    num_samples: int

    @property
    def teacher(self) -> LoadedDenoiser:
        teacher = self.teacher_map.denoiser
        assert isinstance(teacher, LoadedDenoiser)
        return teacher

    def run(self, run_id: str, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Yield the events, the result last; raises Cancelled once `should_stop()` and RunError for what fails."""
        started = time.monotonic()
        for event in self._events(run_id, started):
            if should_stop():
                raise Cancelled("the run was cancelled")
            yield event

    def _events(self, run_id: str, started: float) -> Iterator[Event]:
        folder = self.workspace.runs / run_id
        yield checkpoint_event("teacher", self.teacher_map)
        samples = yield from self._draw()
        seeds = range(self.config.first_seed, self.config.first_seed + self.num_samples)
        description = describe_samples(samples, self.teacher_map, seeds, self.config.teacher, self.teacher.revision)
        yield training_set_event(TrainingSet(samples, seeds, description.name, description.sha256))
        identity = self.config.model_copy(update={"teacher": self.teacher.content_key, "output": None}).canonical  # whatever their names
        trainer = Trainer(self.network, samples.to(self.teacher_map.device), self.training, self.objective, identity)
        students = self._students(folder)
        yield from self._train(trainer, folder, description, students)
        results: list[tuple[Path, dict[str, Any]]] = []
        for target, steps in self._measurements(students):
            results.append((target, (yield from self._measure(run_id, target, steps, main=not results))))
        for step, (target, _) in students.items():
            measured = [result for reference, result in results if reference == target]
            replace_file(target / CARD_FILE, self._card(description, step, measured).encode(), durable=True)
        yield {"type": "result", "result": self._result(results, description) | {"run_id": run_id, "seconds": time.monotonic() - started}}

    def _draw(self) -> Generator[Event, None, Tensor]:
        """Yield progress and return the teacher's samples for the training noises, `(N, *shape)`, from the cache where it has them."""
        seeds = range(self.config.first_seed, self.config.first_seed + self.num_samples)
        try:
            cache = EndPointCache(self.workspace.cache / "endpoints")
        except (OSError, sqlite3.Error) as error:
            raise RunError(
                f"the cache in {self.workspace.cache} cannot be opened ({error}): free space, or set PFD_HOME elsewhere"
            ) from None
        done, end_points = 0, EndPoints("auto", cache)
        try:
            work = draw_samples(self.teacher_map, seeds, self.teacher.shape, end_points)
            while True:
                done = min(done, len(seeds))
                yield {"type": "progress", "phase": "training set", "done": done, "total": len(seeds), "unit": "samples"}
                done += next(work).noises
        except StopIteration as stop:
            samples: Tensor = stop.value
        finally:
            cache.close()
        yield from end_points.warnings()
        if not samples.isfinite().all():
            raise RunError("the teacher's samples hold NaN or infinite values: choose an intact teacher, or another solver")
        return samples

    def _students(self, folder: Path) -> dict[int, Finished]:
        """Return the training steps at which a student is finished, with its folder and how it samples; the last one's is `output`."""
        last = Path(self.config.output).expanduser().absolute() if self.config.output else folder / "student"
        found: dict[int, Finished] = {}
        for step, sampler in self.objective.students(self.training.steps).items():
            if step == self.training.steps:
                found[step] = (last, sampler)
            elif sampler is not None and sampler.steps in MEASURED_STEPS:
                found[step] = (folder / f"student-{sampler.steps}-steps", sampler)
        return found

    def _train(
        self, trainer: Trainer, folder: Path, description: TrainingSetDescription, students: Mapping[int, Finished]
    ) -> Iterator[Event]:
        """Train to the end from wherever an earlier attempt came to, saving state, kept steps and finished students on the way."""
        state, steps = folder / "checkpoints" / "training.safetensors", self.training.steps
        resumed = trainer.load(state)
        if not resumed and state.exists():
            yield {"type": "warning", "message": ANEW}
        kept = log_spaced_steps(steps, self.config.checkpoints) if self.config.checkpoints else []
        report_every = min(REPORT_STEPS[self.rung.family], steps)
        curve_every = math.ceil(steps / CURVE_POINTS / report_every) * report_every
        losses, since, saved = 0.0, trainer.step, -math.inf  # the first state is saved early: a full disk is noticed soon
        yield {"type": "progress", "phase": "train", "done": trainer.step, "total": steps, "unit": "steps"}
        if resumed and trainer.step == steps and not all((target / CONFIG_FILE).is_file() for target, _ in students.values()):
            raise RunError("a finished student was removed from its folder: start the distillation again as a new run")
        before = trainer.step
        for progress in trainer.run(report_every, {*students, *kept}):
            step = progress.step
            losses, before = losses + progress.loss * (step - before), step
            if step in students:
                self._save(*students[step], trainer, description)
            elif step in kept:
                self._save(folder / "checkpoints" / f"step-{step:08d}", self.objective.sampler_at(step, steps), trainer, description)
            if step % curve_every == 0 or step == steps:
                yield {**self._curve(step), "metric": "train_loss", "value": losses / (step - since)}
                losses, since = 0.0, step
                if time.monotonic() - saved > SAVE_SECONDS or step == steps:
                    trainer.save(state)
                    saved = time.monotonic()
            yield {"type": "progress", "phase": "train", "done": step, "total": steps, "unit": "steps"}

    def _curve(self, step: int) -> Event:
        return {"type": "training_curve", "student": self.config.size, "student_seed": self.config.seed, "step": step}

    def _save(self, target: Path, sampler: FewStepSampler | None, trainer: Trainer, description: TrainingSetDescription) -> None:
        """Write a student, whole or not at all, with its training set's description and a card without errors yet."""
        metadata = {
            "size": self.rung.name,
            "objective": self.config.objective,
            "training_set": description.name,
            "num_samples": self.num_samples,
            "student_seed": self.config.seed,
            "step": trainer.step,
            "initialized": self.initialized,
            "training": self.training.recorded(),
        }
        own = OwnConfig(
            family=self.rung.family,  # type: ignore[arg-type]
            network=self.rung.options,
            sigma_data=self.training.sigma_data,
            sigma_min=self.teacher_map.sigma_min,
            sigma_max=self.teacher_map.sigma_max,
            shape=self.teacher.shape,
            sampler=sampler,
            metadata=metadata | {"trained_range": trained_range_of(metadata)},
            license=self.teacher.license,
        )
        here = description.model_copy(update={"teacher": relative_reference(self.config.teacher, self.teacher.revision, target)})
        save_denoiser(target, trainer.ema, own, card=self._card(description, trainer.step), training_set=here.model_dump(mode="json"))

    def _measurements(self, students: Mapping[int, Finished]) -> list[tuple[Path, int | None]]:
        """Return the student and the number of its own steps of each evaluation, the one that was asked for first."""
        last, sampler = students[self.training.steps]
        if sampler is None:
            return [(last, None)]
        others = [] if sampler.kind == "progressive" else [k for k in MEASURED_STEPS if k != sampler.steps]
        stages = [(target, found.steps) for step, (target, found) in students.items() if step != self.training.steps and found is not None]
        return [(last, sampler.steps), *((last, k) for k in others), *sorted(stages, key=lambda stage: stage[1])]

    def _measure(self, run_id: str, target: Path, steps: int | None, *, main: bool) -> Generator[Event, None, dict[str, Any]]:
        """Evaluate a saved student as `evaluate` does, and return the result; only the main evaluation keeps distances and images."""
        config = self.config
        asked = EvaluateConfig(
            teacher=self._pinned_teacher(), student=reference_of(target), num_noises=config.num_noises, solver=config.solver,
            steps=config.solver_steps, descriptor=config.descriptor, device=config.device, student_steps=steps,
        )  # fmt: skip
        kept = ("progress", "warning", "measurement", *(("checkpoint", "distances", "pair") if main else ("checkpoint",)))
        result: dict[str, Any] = {}
        try:
            evaluation = evaluate.prepare(asked, self.workspace)
        except InputError as error:
            raise RunError(f"the student was trained and lies in {target}, but cannot be measured: {error}") from None
        try:
            for event in evaluation.run(run_id):
                if event["type"] == "result":
                    result = event["result"]
                elif event["type"] == "warning" and not main:
                    yield {**event, "message": f"with {steps} of its own steps: {event['message']}"}
                elif event["type"] in kept and not (event["type"] == "checkpoint" and event["role"] == "teacher"):
                    yield event
        except RunError as error:
            rate = self.training.learning_rate
            raise RunError(f"{error}; perhaps its training diverged: lower the learning rate {rate:g} and distil anew") from None
        return result

    def _pinned_teacher(self) -> str:
        """Return the teacher's reference, on the Hub with the commit that the student was trained against."""
        if isinstance(parse_reference(self.config.teacher), FolderReference):
            return self.config.teacher
        return f"{self.teacher.reference}@{self.teacher.revision}"

    def _card(self, description: TrainingSetDescription, step: int, evaluations: Sequence[Mapping[str, Any]] = ()) -> str:
        name = self.config.teacher.rstrip("/").split("/")[-1].split("@")[0]
        facts = CardFacts(
            title=f"{self.rung.name} distilled from {name}",
            teacher=name if isinstance(parse_reference(self.config.teacher), FolderReference) else self.teacher.reference,
            teacher_revision=str(self.teacher.revision),
            license=self.teacher.license,
            objective=self.config.objective,
            what=self.config.preset.what,
            training_set=description.name,
            num_samples=self.num_samples,
            parameters=self.rung.count_parameters(self.teacher.shape),
            initialized=self.initialized,
            seed=self.config.seed,
            steps=step,
            training=self.training.recorded(),
        )
        return write_card(facts, evaluations)

    def _result(self, results: Sequence[tuple[Path, dict[str, Any]]], description: TrainingSetDescription) -> dict[str, Any]:
        """Return the main evaluation's result with what was distilled, and the other evaluations in short."""
        short = ("value", "stderr", "ci_low", "ci_high", "student_steps", "network_calls", "coupling_note", "memorization")
        # Without the calls made: estimates would take the seconds of training for those of an evaluation.
        main = {name: value for name, value in results[0][1].items() if name != "network_calls_made"}
        evaluations = [{name: result[name] for name in short} | {"student": reference_of(target)} for target, result in results]
        return main | {
            "distillation": {
                "student": reference_of(results[0][0]),
                "size": self.rung.name,
                "objective": self.config.objective,
                "num_samples": self.num_samples,
                "training_set": description.name,
                "steps": self.training.steps,
                "initialized": self.initialized,
                "evaluations": evaluations,
            }
        }
