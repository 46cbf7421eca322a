"""What a student can learn from its teacher: one file an objective, and this table of them. Importing the table needs no torch.

To add an objective, write a module with a class that follows `objective.Objective` and add its row here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfd_engine.distill.objectives.objective import Objective


@dataclass(frozen=True)
class ObjectivePreset:
    """One row: where the objective lives, what it does in a few words, and the training that suits it.

    `student_steps` is a few-step student's number of steps unless asked otherwise (None: the student is followed along its PF-ODE);
    `student_passes` and `teacher_passes` are what a training step costs a sample, in forward passes (a backward pass counts as two) of
    networks of the student's and of the teacher's size.
    """

    name: str
    class_name: str
    what: str
    student_steps: int | None = None
    student_passes: float = 3
    teacher_passes: float = 0
    num_samples: int = 1024
    steps: int = 5000
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_steps: int = 0

    @property
    def few_step(self) -> bool:
        return self.student_steps is not None

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's network is called in training."""
        return self.teacher_passes > 0

    @property
    def module(self) -> str:
        return f"pfd_engine.distill.objectives.{self.name.replace('-', '_')}"


_FEW_STEP: dict[str, Any] = {
    "num_samples": 4096,
    "steps": 3000,
    "batch_size": 256,
    "learning_rate": 5e-4,
    "schedule": "cosine",
    "warmup_steps": 50,
}

OBJECTIVES: dict[str, ObjectivePreset] = {
    preset.name: preset
    for preset in (
        ObjectivePreset("samples", "Samples", "denoising score matching on stored teacher samples"),
        ObjectivePreset("denoiser", "DenoiserRegression", "regression on the teacher's denoiser at noised samples", teacher_passes=1),
        ObjectivePreset(
            "progressive",
            "Progressive",
            "halving the steps: one student step for two of its teacher",
            student_steps=1,
            student_passes=5,
            teacher_passes=1,
            **_FEW_STEP,
        ),
        ObjectivePreset(
            "consistency",
            "Consistency",
            "one jump to the end, the same along each teacher trajectory",
            student_steps=1,
            student_passes=4,
            teacher_passes=3,
            **_FEW_STEP,
        ),
        ObjectivePreset(
            "distribution-matching",
            "DistributionMatching",
            "matching the distribution of outputs, without keeping the teacher's noise-to-image coupling",
            student_steps=4,
            student_passes=33,
            teacher_passes=1,
            **{**_FEW_STEP, "steps": 1000, "learning_rate": 1e-4},
        ),
    )
}


def make_objective(name: str, **options: Any) -> Objective:
    """Build an objective by name with its own options; imports torch."""
    preset = OBJECTIVES[name]
    made: Objective = getattr(importlib.import_module(preset.module), preset.class_name)(**options)
    return made
