"""The rows of a sweep: measurements, per-noise distances, curves and image pairs as events, with every identifying column."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from pfd_engine.analysis.intervals import CONFIDENCE, Interval, proportion_interval, tail_share
from pfd_engine.configs.sweep import Student, SweepConfig
from pfd_engine.distill.setup import relative_reference
from pfd_engine.evaluation.image_pairs import pairs_as_events
from pfd_engine.evaluation.report import NOISES, numbers_of
from pfd_engine.measure.bias_variance import BiasVariance
from pfd_engine.measure.solver_error import SolverError
from pfd_engine.measure.tally import Tally
from pfd_engine.sweeps.measure import DIAGNOSTIC, SHOWN, Measured
from pfd_engine.sweeps.trained_range import trained_range_of_sweep

if TYPE_CHECKING:
    from pfd_engine.sweeps.task import Setting

Event = dict[str, Any]
PAIRS_PER_GROUP = 2


class Rows:
    """Writes the events of one sweep's students, all of `parameters` values each."""

    def __init__(self, config: SweepConfig, setting: Setting, parameters: int) -> None:
        self.config, self.setting = config, setting
        teacher, measuring = setting.teacher, setting.measuring
        self._shared: Event = {
            "type": "measurement",
            "experiment": config.experiment,
            "teacher": teacher.reference,
            "teacher_revision": teacher.revision,
            "student_revision": None,
            "parameters": parameters,
            "objective": config.objective,
            "student_steps": None,
            "band": None,
            "noise_seed": config.evaluation.seed,
            "num_noises": config.evaluation.num_noises,
            "descriptor": setting.psi.name,
            "descriptor_sha256": setting.psi.sha256,
            "solver": measuring.solver.name,
            "solver_steps": measuring.steps,
            "sigma_min": measuring.sigma_min,
            "sigma_max": measuring.sigma_max,
            "rho": measuring.rho,
            "outside_range": "student" if trained_range_of_sweep(config) else None,
        }

    def of_student(self, student: Student, measured: Measured, step: int, seconds: float) -> Iterator[Event]:
        """Yield what was measured of one student at one step; per-noise distances to the empirical map at the last step only."""
        row = self._row(student, step)
        for metric, tally in measured.tallies.items():
            yield row | _distance(metric, tally, measured.errors.get(metric))
        if measured.memorized is not None:
            yield (
                row
                | {"metric": "memorization_ratio", "covers": NOISES}
                | numbers_of(Interval(*proportion_interval(measured.memorized, self.config.evaluation.num_noises), "Wilson"))
            )
        for band, squares in measured.bands.items():
            mean, stderr = float(squares.mean()), float(squares.std(ddof=1) / math.sqrt(len(squares)))
            half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * stderr
            numbers = {"value": mean, "stderr": stderr, "ci_low": max(0.0, mean - half), "ci_high": mean + half}
            yield row | {"metric": "E_gen2", "band": band} | numbers
        curve = {"type": "training_curve", "student": student.name, "student_seed": student.seed, "step": step}
        for metric, value in (("train_loss", measured.train_loss), ("held_out_loss", measured.held_out_loss)):
            yield row | {"metric": metric, "value": value}
            yield curve | {"metric": metric, "value": value}
        yield row | {"metric": "seconds", "value": seconds}
        yield row | {"metric": "images_seen", "value": step * self.config.training.batch_size}
        for metric in ("E_gen", "E_mem", "E_emp"):
            if metric == "E_gen" or step == self.config.steps:
                yield self._distances(student, step, metric, measured.tallies[metric].distances)
        if measured.diagnostic.blocks:
            theirs = {"outside_range": "teacher"}
            yield row | _distance("E_gen", measured.diagnostic, measured.errors.get(DIAGNOSTIC)) | theirs
            yield self._distances(student, step, "E_gen", measured.diagnostic.distances) | theirs

    def pairs(
        self, student: Student, measured: Measured, teacher: Tensor, empirical: Tensor, samples: Tensor, step: int
    ) -> Iterator[Event]:
        """Yield a few same-noise pairs of a student's end points, those of the first noises with the empirical map's."""
        tally = measured.tallies["E_gen"]
        images = torch.cat(measured.images)
        events = pairs_as_events(tally.distances, tally.seeds, teacher, images, empirical, samples, PAIRS_PER_GROUP, SHOWN)
        for event in events:
            yield event | {"student": student.name, "step": step}

    def decomposition(self, student: Student, found: BiasVariance, count: int) -> Iterator[Event]:
        """Yield bias^2, variance and squared error over all `count` students of one size and N, without intervals for fewer than 4.

        What the intervals rest on comes with them: the number of students, how many of them carry the variance, and the largest share that
        one of them has in it.
        """
        name = f"{student.size} N={student.num_samples} all"
        row = self._row(student, self.config.steps) | {"student": name, "student_seed": None}
        for metric, number in (("bias2", found.bias2), ("variance", found.variance), ("E_gen2", found.error2)):
            interval = {"ci_low": _known(number.ci_low), "ci_high": _known(number.ci_high), "covers": number.covers}
            yield row | {"metric": metric, "value": number.value, "stderr": number.stderr} | interval
        yield row | {"metric": "students", "value": float(count)}
        if found.largest_share == found.largest_share:
            yield row | {"metric": "effective_students", "value": found.effective_students}
            yield row | {"metric": "largest_student_share", "value": found.largest_share}

    def _row(self, student: Student, step: int) -> Event:
        return self._shared | {
            "student": student.name,
            "family": student.size.split("-")[0],
            "size": student.size,
            "training_set": training_set_name(self.setting, student),
            "num_samples": student.num_samples,
            "student_seed": student.seed,
            "step": step,
        }

    def _distances(self, student: Student, step: int, metric: str, distances: NDArray[np.float64]) -> Event:
        start = self.config.evaluation.seed
        return {
            "type": "distances",
            "metric": metric,
            "student": student.name,
            "student_seed": student.seed,
            "num_samples": student.num_samples,
            "size": student.size,
            "step": step,
            "outside_range": self._shared["outside_range"],
            "seeds_start": start,
            "seeds_stop": start + len(distances),
            "values": distances.tolist(),
        }


def _distance(metric: str, tally: Tally, error: SolverError | None) -> Event:
    """Return what is stored of a distance: its interval, and what it is compared with."""
    teacher_or_student, empirical = tally.spreads
    return {
        "metric": metric,
        "covers": NOISES,
        **numbers_of(tally.interval()),
        "shuffled": tally.shuffled,
        "spread": empirical if metric == "E_mem" else teacher_or_student,
        "solver_error": None if error is None else error.value,
        "tail_share": tail_share(tally.distances),
    }


def training_set_name(setting: Setting, student: Student) -> str:
    """Return the name of a student's training set, as `TrainingSetDescription.name` has it: with the revision that was used."""
    teacher = Path(relative_reference(setting.config.teacher, str(setting.teacher.revision), Path.cwd())).name
    return f"{teacher} seeds {student.samples.start}-{student.samples.stop - 1}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
