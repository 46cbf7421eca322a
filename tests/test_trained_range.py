"""The trained range: against counts of real draws, and what metadata of any origin says of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.sweep_files import bundled_specs, load_spec
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.flow.trained_range import (
    FEWEST_DRAWS,
    LOG_NORMAL_OBJECTIVES,
    common_range,
    trained_range,
    trained_range_of,
    why_no_trained_range,
)
from pfd_engine.models.bundled import bundled_references
from pfd_engine.sweeps.trained_range import trained_range_of_sweep, why_no_sweep_range

TRAINING = {"batch_size": 128, "p_mean": 1.2, "p_std": 0.8}
METADATA: dict[str, Any] = {"objective": "samples", "step": 1000, "training": TRAINING}
SWEEP = {
    "experiment": "scaling", "name": "made", "teacher": "someone/teacher", "sizes": ["mlp-32"], "num_samples": [8], "seeds": [0],
}  # fmt: skip


def test_a_hundred_draws_lie_outside_either_end() -> None:
    found = trained_range(1000, 128, 1.2, 0.8)
    assert found is not None
    drawn = (1.2 + 0.8 * torch.randn(1000 * 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).exp()
    for outside in ((drawn < found[0]).sum(), (drawn > found[1]).sum()):
        assert abs(int(outside) - FEWEST_DRAWS) < 4 * math.sqrt(FEWEST_DRAWS)
    assert math.log(found[0]) + math.log(found[1]) == pytest.approx(2 * 1.2)
    below = 0.5 * math.erfc((1.2 - math.log(found[0])) / (0.8 * math.sqrt(2)))
    assert 1000 * 128 * below == pytest.approx(100)


def test_the_noise_levels_of_the_withdrawn_double_descent_were_hardly_trained_early_on() -> None:
    """MATH.md, section 4: with ln sigma ~ N(1.2, 0.8^2), P(sigma < 0.3) = 0.0013, which is 7 of the first 5,120 draws."""
    early, late = trained_range(40, 128, 1.2, 0.8), trained_range(20_000, 128, 1.2, 0.8)
    assert early is not None
    assert late is not None
    assert early[0] > 0.3 > late[0]


def test_more_training_widens_the_range_and_too_little_leaves_none() -> None:
    assert trained_range(1, 200, 0.0, 1.4) is None
    narrow, wide = trained_range(1, 201, 0.0, 1.4), trained_range(10**7, 65536, 0.0, 1.4)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < 1 < narrow[1] < wide[1]
    assert trained_range(1000, 128, 705.0, 100.0) is None


@pytest.mark.parametrize(
    "settings", [(0, 128, 0.0, 1.0), (10, 0, 0.0, 1.0), (10, 128, math.nan, 1.0), (10, 128, 0.0, 0.0), (1, 1, 0.0, math.inf)]
)
def test_settings_that_no_training_has_are_refused(settings: tuple[int, int, float, float]) -> None:
    with pytest.raises(ValueError, match="give counts of at least 1"):
        trained_range(*settings)


def test_a_checkpoint_s_range_is_what_it_recorded_else_computed() -> None:
    computed = trained_range_of(METADATA)
    assert computed == trained_range(1000, 128, 1.2, 0.8)
    assert trained_range_of(json.loads(json.dumps(METADATA | {"trained_range": computed}))) == computed
    assert trained_range_of(METADATA | {"trained_range": [0.5, 7]}) == (0.5, 7.0)
    assert trained_range_of({"trained_range": [0.5, 7]}) == (0.5, 7.0)
    assert trained_range_of(METADATA | {"trained_range": None}) == computed
    assert why_no_trained_range(METADATA) is None


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "does not say how"),
        ({"size": "S"}, "does not say how"),
        (METADATA | {"training": None}, "does not say how"),
        (METADATA | {"training": TRAINING | {"p_std": 0}}, "does not say how"),
        (METADATA | {"training": TRAINING | {"p_mean": "0"}}, "does not say how"),
        (METADATA | {"training": TRAINING | {"p_mean": math.nan}}, "does not say how"),
        (METADATA | {"step": True}, "does not say how"),
        (METADATA | {"step": 10**400}, "does not say how"),
        (METADATA | {"trained_range": [3.0, 1.0], "training": {}}, "does not say how"),
        (METADATA | {"training": TRAINING | {"p_std": 1e9}}, "beyond all bounds"),
        (METADATA | {"step": 1}, "drew 128 noise levels, and more than 200 are needed"),
        (METADATA | {"objective": "consistency"}, "objective consistency draws its noise levels from a fixed grid"),
        (METADATA | {"objective": "something-else"}, "in a way that is not known"),
    ],
)
def test_a_checkpoint_without_a_range_says_why(metadata: dict[str, Any], reason: str) -> None:
    assert trained_range_of(metadata) is None
    assert reason in str(why_no_trained_range(metadata))


def test_exactly_the_few_step_objectives_have_no_range() -> None:
    assert {name for name, preset in OBJECTIVES.items() if not preset.few_step} | {"data"} == set(LOG_NORMAL_OBJECTIVES)


def test_the_bundled_checkpoints_state_enough_for_a_range() -> None:
    for reference in bundled_references():
        metadata = json.loads((Path(reference) / "config.json").read_text())["metadata"]
        assert trained_range_of(metadata) == trained_range(metadata["step"], 128, 0.0, 1.4)


def test_a_sweep_has_the_range_of_its_first_measured_step() -> None:
    sweep = SweepConfig.parse(SWEEP | {"experiment": "training-dynamics", "steps": 6000, "checkpoints": 10, "first_checkpoint": 100})
    assert trained_range_of_sweep(sweep) == trained_range(100, 128, 0.0, 1.4)
    assert trained_range_of_sweep(SweepConfig.parse(SWEEP | {"steps": 6000})) == trained_range(6000, 128, 0.0, 1.4)
    own = SweepConfig.parse(SWEEP | {"training": {"p_mean": 1.2, "p_std": 0.8, "batch_size": 64}})
    assert trained_range_of_sweep(own) == trained_range(6000, 64, 1.2, 0.8)
    assert why_no_sweep_range(own) is None


def test_a_sweep_of_two_families_has_what_both_were_trained_on() -> None:
    sweep = SweepConfig.parse(SWEEP | {"sizes": ["mlp-32", "unet-24"], "together": False})
    mlp, unet = trained_range(6000, 128, 0.0, 1.4), trained_range(6000, 128, -1.2, 1.2)
    assert mlp is not None
    assert unet is not None
    assert trained_range_of_sweep(sweep) == (mlp[0], unet[1])


def test_a_sweep_measured_too_early_has_no_range_and_says_why() -> None:
    sweep = SweepConfig.parse(SWEEP | {"experiment": "training-dynamics", "checkpoints": 5, "first_checkpoint": 1})
    assert trained_range_of_sweep(sweep) is None
    assert "first measured step, 1, training drew 128 noise levels" in str(why_no_sweep_range(sweep))


def test_every_bundled_sweep_has_a_range() -> None:
    for name in bundled_specs():
        assert trained_range_of_sweep(load_spec(name)) is not None


def test_ranges_with_nothing_in_common_have_none() -> None:
    assert common_range([(0.1, 1.0), (0.5, 3.0)]) == (0.5, 1.0)
    for ranges in ([], [None], [(0.1, 1.0), None], [(0.1, 1.0), (1.0, 3.0)]):
        assert common_range(ranges) is None
