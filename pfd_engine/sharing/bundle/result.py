"""The strict form of a stranger's `result` object: every field that pages read, with its type; whatever else it holds is dropped."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pfd_engine.sharing.bundle.format import Count, Name, Text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Numbers(_Strict):
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


class _Model(_Strict):
    reference: Name | None = None
    revision: Name | None = None
    parameters: Count | None = None
    family: Name | None = None
    weights: Name | None = None
    license: Name | None = None


class _Memorization(_Numbers):
    e_mem: float | None = None
    e_emp: float | None = None
    e_emp_ci_low: float | None = None
    e_emp_ci_high: float | None = None
    spread: float | None = None
    solver_error: float | None = None
    solver_error_extrapolated: bool | None = None
    num_distinct_samples: Count | None = None
    memorization_ratio: float | None = None
    memorization_ratio_ci_low: float | None = None
    memorization_ratio_ci_high: float | None = None
    num_samples: Count | None = None
    training_set: Name | None = None


class _Floor(_Numbers):
    value: float | None = None
    num_noises: Count | None = None
    twin: Name | None = None


class _Short(_Numbers):
    student: Name | None = None
    student_steps: Count | None = None
    value: float | None = None
    coupling_note: Text | None = None
    network_calls: dict[Name, Count] | None = None
    memorization: _Memorization | None = None


class _Distillation(_Strict):
    size: Name | None = None
    objective: Name | None = None
    steps: Count | None = None
    num_samples: Count | None = None
    initialized: Name | None = None
    student: Name | None = None
    training_set: Name | None = None
    evaluations: Annotated[list[_Short], Field(max_length=100)] | None = None


class Result(_Numbers):
    """The result of an evaluation, a distillation or a sweep."""

    value: float | None = None
    interval_method: Name | None = None
    confidence: float | None = None
    shuffled: float | None = None
    spread: float | None = None
    student_spread: float | None = None
    tail_share: float | None = None
    not_ruled_out: float | None = None
    rho: float | None = None
    outside_range: Name | None = None
    trained_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    range_note: Text | None = None
    solver_error: float | None = None
    solver_error_extrapolated: bool | None = None
    verdict: Name | None = None
    verdict_rule: Count | None = None
    verdict_reason: Text | None = None
    below_spread: bool | None = None
    retrained_floor: _Floor | None = None
    rms_per_coordinate: float | None = None
    num_noises: Count | None = None
    noise_seed: Count | None = None
    descriptor: Name | None = None
    descriptor_sha256: Name | None = None
    solver: Name | None = None
    steps: Count | None = None
    student_steps: Count | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    network_calls: dict[Name, Count] | None = None
    network_calls_made: dict[Name, Count] | None = None
    discretization_error: float | None = None
    teacher: _Model | None = None
    student: _Model | None = None
    shape: Annotated[list[Count], Field(max_length=8)] | None = None
    memorization: _Memorization | None = None
    coupling_note: Text | None = None
    distillation: _Distillation | None = None
    experiment: Name | None = None
    name: Name | None = None
    students: Count | None = None
    failed: Annotated[dict[Name, Text], Field(max_length=10_000)] | None = None
    diverged: Annotated[list[Name], Field(max_length=10_000)] | None = None
    warnings: Annotated[list[Text], Field(max_length=1000)] | None = None
    seconds: float | None = None
    run_id: Name | None = None
    device: Name | None = None
    device_name: Name | None = None
    git_commit: Name | None = None
    versions: Annotated[dict[Name, Name], Field(max_length=100)] | None = None


def strict_result(values: Any) -> dict[str, Any]:
    """Return what is known of a result as plain values, what was left out still missing; raises ValueError where a type is wrong."""
    return Result.model_validate(values).model_dump(mode="json", exclude_unset=True)
