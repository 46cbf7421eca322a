"""The stated solver error against a converged reference, and the rule by which it is extrapolated or bounded."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from pfd_engine import GaussianDenoiser, SolverMap, load_denoiser, probability_flow_distance
from pfd_engine.evaluation.run import PAIRS
from pfd_engine.flow.empirical import EmpiricalDenoiser
from pfd_engine.measure.convergence import solver_errors
from pfd_engine.measure.descriptors import load_descriptor
from pfd_engine.measure.end_points import EndPoints, drain, seed_blocks
from pfd_engine.measure.solver_error import finer_steps, next_rung, solver_error, subset_size
from pfd_engine.measure.tally import measure, tallied
from pfd_engine.models.bundled import bundled_references
from pfd_engine.seeds import TRAINING_SEEDS
from pfd_engine.training_sets.load import draw_samples
from tests.test_denoisers import random_covariance

NOISES, REFERENCE = 1024, 144


@cache
def denoisers():
    references = bundled_references()
    teacher, student = load_denoiser(references.teacher), load_denoiser(references.student_generalizes)
    seeds = range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + 1024)
    samples = drain(draw_samples(SolverMap(teacher), seeds, teacher.shape))
    return {"teacher": teacher, "student": student, "empirical": EmpiricalDenoiser(samples)}


@cache
def measured(steps):
    maps = {name: SolverMap(denoiser, "heun", steps) for name, denoiser in denoisers().items()}
    blocks = list(seed_blocks(0, NOISES, maps["teacher"].shape))
    tallies = drain(tallied(measure(maps, PAIRS, blocks, maps["teacher"].shape, load_descriptor("pixel"), EndPoints()), PAIRS))
    return maps, blocks, tallies


@pytest.mark.parametrize("steps", [12, 18, 24])
def test_the_stated_error_of_the_bundled_pair_is_within_30_percent_of_a_converged_reference(steps):
    maps, blocks, tallies = measured(steps)
    errors = drain(solver_errors(maps, PAIRS, tallies, blocks, maps["teacher"].shape, load_descriptor("pixel"), EndPoints()))
    converged = measured(REFERENCE)[2]
    for metric in ("PFD", "E_mem"):
        true = tallies[metric].value - converged[metric].value
        assert errors[metric].value == pytest.approx(true, rel=0.3), metric


def test_a_pure_power_is_extrapolated_exactly_and_signed():
    limit = np.full(32, 4.0)
    for sign in (1, -1):
        squared = {n: limit + sign * (n - 1) ** -2.0 for n in (10, 20, 40)}
        value = float(np.sqrt(squared[10].mean()))
        found = solver_error(value, squared, order=2)
        assert found.extrapolated
        assert found.value == pytest.approx(value - 2.0, rel=1e-9)
        assert found.doubled == pytest.approx(abs(value - np.sqrt(squared[20].mean())))


@pytest.mark.parametrize("coarser", [(4.5, 4.2, 4.3), (4.5, 4.4, 4.1)])
def test_steps_that_do_not_show_the_order_give_the_largest_difference_as_a_bound(coarser):
    squared = {n: np.full(16, mean) for n, mean in zip((10, 20, 40), coarser, strict=True)}
    found = solver_error(np.sqrt(coarser[0]), squared, order=2)
    assert not found.extrapolated
    assert found.value == pytest.approx(np.sqrt(max(coarser)) - np.sqrt(min(coarser)))


def test_a_map_that_the_solver_follows_exactly_has_no_error():
    found = solver_error(2.0, {n: np.full(8, 4.0) for n in (18, 36, 72)}, order=2)
    assert (found.value, found.doubled) == (0.0, 0.0)


def test_gaussians_get_the_error_that_they_have():
    generator = torch.Generator().manual_seed(2)
    p, q = (GaussianDenoiser(0.3 * torch.randn(4, generator=generator).double(), random_covariance(4, generator)) for _ in range(2))
    coarse, fine = (probability_flow_distance(p, q, num_noises=512, steps=steps) for steps in (12, 192))
    assert coarse.solver_error == pytest.approx(coarse.value - fine.value, rel=0.3, abs=1e-6)


def test_a_quarter_of_the_noises_is_followed_again():
    assert [subset_size(count) for count in (2, 8, 64, 1024, 10**6)] == [2, 8, 16, 256, 256]
    assert finer_steps(18) == (36, 72)
    assert finer_steps(2**13) == (2**14,)
    assert [next_rung(steps) for steps in (1, 18, 36, 72, 100)] == [18, 36, 72, None, None]
