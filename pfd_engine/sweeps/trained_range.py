"""The one trained range of a sweep, with which its diagnostic map is drawn (MATH.md, section 4). No torch."""

from __future__ import annotations

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.errors import InputError
from pfd_engine.flow.trained_range import FEWEST_DRAWS, Range, common_range, trained_range
from pfd_engine.models.networks.sizes import NOISE_LEVELS, find_rung


def trained_range_of_sweep(config: SweepConfig) -> Range | None:
    """Return one range `(sigma_low, sigma_high)` for all students and all measured steps of a sweep, None where there is none.

    It is the range of the first measured step, which has the fewest draws, and of all families where a sweep has several. Inside it every
    point of every curve was trained; outside it at least the first point extrapolates. A range that grew along training would mix
    what a student learned with which part of the map is the student's, so that curves could not be compared with themselves.
    """
    steps = min(config.measured_steps())
    return common_range(trained_range(steps, config.training.batch_size, *levels) for levels in _noise_levels(config))


def why_no_sweep_range(config: SweepConfig) -> str | None:
    """Return, as a clause that can follow a colon, why a sweep has no trained range; None where it has one."""
    if trained_range_of_sweep(config) is not None:
        return None
    steps = min(config.measured_steps())
    draws = steps * config.training.batch_size
    if draws <= 2 * FEWEST_DRAWS:
        return (
            f"by its first measured step, {steps:,}, training drew {draws:,} noise levels, and more than {2 * FEWEST_DRAWS} are needed "
            "for a range"
        )
    return "its families of networks are trained on noise levels that have no range in common"


def check_diagnostic_map(config: SweepConfig) -> None:
    """Raise InputError where a sweep asks for the diagnostic map and has no trained range to draw it with."""
    if config.diagnostic_map and (reason := why_no_sweep_range(config)):
        raise InputError(
            f"the diagnostic map needs a trained range: {reason}, so train longer before the first checkpoint or leave the map out",
            "diagnostic_map",
        )


def _noise_levels(config: SweepConfig) -> list[tuple[float, float]]:
    """Return the `(p_mean, p_std)` that each family of a sweep is trained with."""
    training = config.training
    families = dict.fromkeys(find_rung(size).family for size in config.sizes)
    return [
        (mean if training.p_mean is None else training.p_mean, deviation if training.p_std is None else training.p_std)
        for mean, deviation in (NOISE_LEVELS[family] for family in families)
    ]
