"""Objectives: teacher steps in closed form, what each student converges to, and the maps of few-step students."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfd_engine.distill.objectives import OBJECTIVES, make_objective
from pfd_engine.distill.objectives._teacher_steps import ddim_step, heun_step
from pfd_engine.distill.objectives.distribution_matching import FAKE_UPDATES
from pfd_engine.distill.trainer import TrainConfig, Trainer
from pfd_engine.errors import InputError
from pfd_engine.flow.denoisers import EDMPrecondition, GaussianDenoiser
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.flow.few_step_map import FewStepMap
from pfd_engine.flow.few_step_sampler import FewStepSampler
from pfd_engine.flow.maps import SolverMap, flow_map
from pfd_engine.flow.noise import noise, noise_of
from pfd_engine.flow.solvers import SOLVERS, sigma_grid
from pfd_engine.measure.pfd import probability_flow_distance
from pfd_engine.models.families import load_denoiser, load_map
from pfd_engine.models.families.own import MLPOptions, OwnConfig, save_denoiser
from pfd_engine.models.networks.own import build_network

RANGE = {"sigma_min": 0.002, "sigma_max": 80.0}
GAUSSIAN = GaussianDenoiser(torch.tensor([0.3, -0.2]), torch.tensor([[0.3, 0.1], [0.1, 0.2]]))
FEW_STEP = ("progressive", "consistency", "distribution-matching")


def gaussian_samples(count: int = 2048) -> Tensor:
    return flow_map(GAUSSIAN, noise(2**30, 2**30 + count, (2,)))


def trained(name: str, steps: int, learning_rate: float = 2e-3, **options: Any) -> Trainer:
    objective = make_objective(name, teacher=GAUSSIAN, **options)
    config = TrainConfig(steps=steps, batch_size=128, learning_rate=learning_rate, schedule="cosine", ema_decay=0.99)
    trainer = Trainer(build_network("mlp", (2,), {"width": 48}), gaussian_samples(), config, objective)
    for _ in trainer.run():
        pass
    return trainer


@pytest.mark.parametrize(("step", "solver"), [(heun_step, "heun"), (ddim_step, "euler")])
def test_teacher_steps_are_those_of_the_solvers(step: Any, solver: str) -> None:
    grid, z = sigma_grid(5, 0.01, 40.0), noise(0, 6, (2,))
    x = by_solver = 40.0 * z
    for sigma, sigma_next in itertools.pairwise(grid):
        x = step(GAUSSIAN, x, torch.full((6,), sigma), torch.full((6,), sigma_next))
    by_solver = SOLVERS[solver](GAUSSIAN, by_solver, grid)
    torch.testing.assert_close(x, by_solver, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [heun_step, ddim_step])
def test_each_sample_takes_its_own_step(step: Any) -> None:
    x = torch.tensor([[3.0, -2.0], [0.5, 0.1], [9.0, 4.0]])
    sigma, sigma_next = torch.tensor([3.0, 0.5, 20.0]), torch.tensor([1.0, 0.0, 7.0])
    together = step(GAUSSIAN, x, sigma, sigma_next)
    alone = torch.cat([step(GAUSSIAN, x[i : i + 1], sigma[i : i + 1], sigma_next[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


def test_a_regressed_denoiser_approaches_its_teacher() -> None:
    student = trained("denoiser", 400).denoiser
    samples = gaussian_samples(256)
    for sigma in (0.3, 1.0, 4.0):
        x = samples + sigma * noise(0, 256, (2,))
        with torch.inference_mode():
            assert (student(x, sigma) - GAUSSIAN(x, sigma)).square().mean().sqrt() < 0.1
    assert make_objective("denoiser", teacher=GAUSSIAN).sampler is None


def test_a_progressive_student_is_closer_than_its_teacher_in_as_few_steps() -> None:
    trainer = trained("progressive", 800, student_steps=2, first_steps=8, **RANGE)
    sampler = trainer.objective.sampler
    assert sampler is not None
    assert (sampler.kind, sampler.steps) == ("progressive", 2)
    converged = SolverMap(GAUSSIAN, steps=64)
    student = FewStepMap(trainer.denoiser, sampler)
    assert student.keeps_coupling
    error = probability_flow_distance(converged, student, 256).value
    assert error < 0.5 * probability_flow_distance(converged, SolverMap(GAUSSIAN, "euler", 2), 256).value


def test_a_consistency_student_is_closer_in_one_step_than_its_teacher() -> None:
    trainer = trained("consistency", 700, levels=8, **RANGE)
    converged = SolverMap(GAUSSIAN, steps=64)
    assert trainer.objective.sampler is not None
    errors = {}
    for steps in (1, 2):
        student = FewStepMap(trainer.denoiser, trainer.objective.sampler, steps)
        assert student.keeps_coupling == (steps == 1)
        errors[steps] = probability_flow_distance(converged, student, 256).value
    assert errors[1] < 0.6 * probability_flow_distance(converged, SolverMap(GAUSSIAN, "euler", 1), 256).value
    assert errors[2] > errors[1]  # re-noising breaks the coupling


def test_a_distribution_matching_student_moves_toward_the_teachers_distribution() -> None:
    trainer = trained("distribution-matching", 400, learning_rate=3e-4, student_steps=1, **RANGE)
    assert trainer.objective.sampler is not None
    student = FewStepMap(trainer.denoiser, trainer.objective.sampler, 1)
    assert not student.keeps_coupling
    made = student(noise(0, 1024, (2,)), range(1024)).double()
    assert (made.mean(0) - GAUSSIAN.mean).norm() < 0.5 * GAUSSIAN.mean.norm()  # an untrained student returns next to nothing
    assert 0.4 < torch.cov(made.T).trace() / GAUSSIAN.covariance.trace() < 1.6


def test_nothing_moves_a_student_whose_outputs_look_right() -> None:
    objective = make_objective("distribution-matching", teacher=GAUSSIAN, fake_updates=0, **RANGE)
    trainer = Trainer(build_network("mlp", (2,), {"width": 8}), gaussian_samples(8), TrainConfig(steps=1, batch_size=4), objective)
    objective.teacher = trainer.precondition(objective.networks["fake"])  # type: ignore[attr-defined]
    objective.loss(trainer).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in trainer.network.parameters())


def test_the_fake_score_is_trained_several_times_for_each_step_of_the_student() -> None:
    objective = make_objective("distribution-matching", teacher=GAUSSIAN, **RANGE)
    trainer = Trainer(build_network("mlp", (2,), {"width": 8}), gaussian_samples(8), TrainConfig(steps=3, batch_size=4), objective)
    list(trainer.run())
    steps = {float(state["step"]) for state in objective.optimizers["fake"].state.values()}
    assert steps == {3.0 * FAKE_UPDATES}
    assert {float(state["step"]) for state in trainer.optimizer.state.values()} == {3.0}


def test_stages_share_the_steps_and_leave_a_student_each() -> None:
    objective = make_objective("progressive", teacher=GAUSSIAN, student_steps=1, first_steps=8, **RANGE)
    students = objective.students(103)
    assert {step: sampler.steps for step, sampler in students.items() if sampler} == {25: 8, 50: 4, 75: 2, 103: 1}
    levels = [sampler.levels for sampler in students.values() if sampler]
    assert all(finer[::2] == coarser for finer, coarser in itertools.pairwise(levels))
    assert [objective.position(step, 103) for step in (0, 24, 25, 75, 102)] == [(0, 25), (24, 25), (0, 25), (0, 28), (27, 28)]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("progressive", {"student_steps": 3}, "student steps is 3"),
        ("progressive", {"student_steps": 32}, "student steps is 32"),
        ("consistency", {"student_steps": 19}, "takes 1 to 18"),
        ("distribution-matching", {"student_steps": 5}, "takes 1 to 4"),
    ],
)
def test_steps_that_an_objective_cannot_give_are_refused(name: str, options: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        make_objective(name, teacher=GAUSSIAN, **RANGE, **options)
    assert caught.value.field == "student_steps"


def test_fewer_training_steps_than_stages_are_refused() -> None:
    objective = make_objective("progressive", teacher=GAUSSIAN, **RANGE)
    with pytest.raises(InputError, match="number of training steps is 2"):
        Trainer(build_network("mlp", (2,), {"width": 8}), gaussian_samples(8), TrainConfig(steps=2), objective)


def test_a_progressive_map_of_an_exact_denoiser_is_eulers() -> None:
    levels = sigma_grid(4, 0.002, 80.0)[:-1]
    sampler = FewStepSampler(kind="progressive", levels=tuple(levels), steps=4)
    z = noise(0, 5, (2,))
    torch.testing.assert_close(FewStepMap(GAUSSIAN, sampler)(z, range(5)), SolverMap(GAUSSIAN, "euler", 4)(z), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["consistency", "distribution-matching"])
def test_re_noising_takes_the_banks_next_draws(kind: Any) -> None:
    calls: list[tuple[Tensor, float]] = []

    def model(x: Tensor, sigma: float, condition: Any = None) -> Tensor:
        calls.append((x, sigma))
        return torch.ones_like(x)

    sampler = FewStepSampler(kind=kind, levels=(80.0, 20.0, 5.0, 1.0), steps=4)
    seeds = [7, 3, 9]
    FewStepMap(model, sampler)(noise_of(seeds, (2,)), seeds)
    assert [sigma for _, sigma in calls] == [80.0, 20.0, 5.0, 1.0]
    for draw, (x, sigma) in enumerate(calls[1:], start=1):
        torch.testing.assert_close(x, 1 + sigma * noise_of(seeds, (2,), draw=draw))
    assert FewStepMap(model, sampler, 2).levels == (80.0, 5.0)
    assert FewStepMap(model, sampler, 3).levels == (80.0, 20.0, 5.0)


def test_a_jump_to_a_point_is_exact_whatever_the_steps() -> None:
    point = EmpiricalDenoiser(torch.tensor([[0.5, -0.5]]))
    for kind, steps in (("consistency", 1), ("consistency", 3), ("distribution-matching", 3)):
        sampler = FewStepSampler(kind=kind, levels=(80.0, 5.0, 0.5), steps=steps)  # type: ignore[arg-type]
        assert torch.equal(FewStepMap(point, sampler)(noise(0, 4, (2,)), range(4)), torch.tensor([[0.5, -0.5]]).expand(4, 2))


def few_step_folder(folder: Path, kind: Any, levels: tuple[float, ...], steps: int) -> Path:
    network = build_network("mlp", (1, 4, 4), {"width": 16})
    nn.init.normal_(network.output.weight, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr, arg-type]
    sampler = FewStepSampler(kind=kind, levels=levels, steps=steps)
    save_denoiser(folder, network, OwnConfig(network=MLPOptions(width=16), sigma_data=0.5, shape=(1, 4, 4), sampler=sampler))
    return folder


def test_a_saved_few_step_student_comes_back_as_its_map(tmp_path: Path) -> None:
    folder = few_step_folder(tmp_path / "student", "consistency", (80.0, 10.0, 1.0), 1)
    loaded, two = load_map(folder), load_map(folder, student_steps=2)
    assert isinstance(loaded, FewStepMap)
    assert isinstance(two, FewStepMap)
    assert (loaded.steps, loaded.network_calls, loaded.keeps_coupling, loaded.sigma_max) == (1, 1, True, 80.0)
    assert (two.steps, two.network_calls, two.keeps_coupling) == (2, 2, False)
    assert loaded.cache_key != two.cache_key
    z = noise(0, 3, (1, 4, 4))
    denoiser = loaded.model.denoise  # type: ignore[attr-defined]
    assert isinstance(denoiser, EDMPrecondition)
    with torch.inference_mode():
        assert torch.equal(loaded(z, range(3)), denoiser(80.0 * z, 80.0))
    torch.testing.assert_close(two(z, range(3))[1:], two(z[1:], range(1, 3)))
    with pytest.raises(InputError, match="few-step map"):
        load_denoiser(folder)
    for steps in (0, 4):
        with pytest.raises(InputError, match=f"student steps is {steps}"):
            load_map(folder, student_steps=steps)
    with pytest.raises(InputError, match="sigma_max"):
        load_map(folder, sigma_max=40.0)


def test_a_progressive_student_takes_its_own_steps_only(tmp_path: Path) -> None:
    folder = few_step_folder(tmp_path / "student", "progressive", (80.0, 1.0), 2)
    assert load_map(folder, student_steps=2).network_calls == 2  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="was distilled to 2"):
        load_map(folder, student_steps=1)


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        ({"kind": "consistency", "levels": [1.0, 80.0], "steps": 1}, "do not fall"),
        ({"kind": "consistency", "levels": [80.0], "steps": 2}, "2 steps but has 1 levels"),
        ({"kind": "progressive", "levels": [80.0, 1.0], "steps": 1}, "1 steps but has 2 levels"),
        ({"kind": "consistency", "levels": [40.0, 1.0], "steps": 1}, "sigma_max 80"),
        ({"kind": "consistency", "levels": [80.0, 0.001], "steps": 1}, "down to at least 0.002"),
        ({"kind": "magic", "levels": [80.0], "steps": 1}, "sampler.kind is 'magic'"),
        ({"kind": "consistency", "levels": [80.0] * 2000, "steps": 1}, "sampler.levels"),
        ({"kind": "consistency", "levels": [math.inf], "steps": 1}, "sampler.levels.0 is inf"),
    ],
)
def test_a_sampler_that_makes_no_sense_is_refused(tmp_path: Path, sampler: dict[str, Any], sentence: str) -> None:
    folder = few_step_folder(tmp_path / "student", "consistency", (80.0,), 1)
    values = json.loads((folder / "config.json").read_text()) | {"sampler": sampler}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=sentence) as caught:
        load_map(folder)
    assert "\n" not in str(caught.value)


def test_the_table_names_classes_that_exist() -> None:
    for name, preset in OBJECTIVES.items():
        options = RANGE if preset.few_step else {}
        objective = make_objective(name, **({"teacher": GAUSSIAN} if preset.needs_teacher else {}), **options)
        assert (objective.sampler is not None) == preset.few_step == (name in FEW_STEP)
        if objective.sampler is not None:
            assert objective.sampler.kind == name
