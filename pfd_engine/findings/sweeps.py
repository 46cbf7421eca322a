"""What a sweep shows: its analysis and the sentence that it gives, from its rows in a store. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfd_engine.store.database import Store
from pfd_engine.store.queries.runs import run
from pfd_engine.store.queries.sweeps import diagnostic_distances, sweep_baselines, sweep_distances, sweep_facts, sweep_measurements
from pfd_engine.wording import numbers as words

if TYPE_CHECKING:
    import pandas as pd

    from pfd_engine.analysis import BiasVarianceAnalysis, DynamicsAnalysis, ScalingAnalysis


@dataclass(frozen=True)
class Finding:
    """What is shown of one sweep: the sentence, the measured students (`student`, `size`, `num_samples`, `student_seed`) and what
    all its numbers share (`facts`)."""

    sentence: str
    students: pd.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True)
class Scaling(Finding):
    """A scaling sweep with its analysis."""

    analysis: ScalingAnalysis


@dataclass(frozen=True)
class Dynamics(Finding):
    """Also the means over seeds of both losses (`quantity`), of E_gen^2 in each band, and of E_gen^2 itself."""

    analysis: DynamicsAnalysis
    losses: pd.DataFrame
    bands: pd.DataFrame
    totals: pd.DataFrame


@dataclass(frozen=True)
class BiasVariance(Finding):
    """A bias-variance sweep with its analysis."""

    analysis: BiasVarianceAnalysis


def scaling(store: Store, run_id: str) -> Scaling:
    """Analyze a scaling sweep."""
    from pfd_engine.analysis import analyze_scaling, scaling_sentence

    measurements, spread = sweep_measurements(store, run_id), sweep_baselines(store, run_id).get("constant_image")
    analysis = analyze_scaling(measurements, sweep_distances(store, run_id), spread=spread)
    return Scaling(scaling_sentence(analysis), _students(measurements), facts(store, run_id), analysis)


def dynamics(store: Store, run_id: str) -> Dynamics:
    """Analyze a sweep along training."""
    import pandas as pd

    from pfd_engine.analysis import analyze_dynamics, dynamics_sentence, seed_means

    measurements, spread = sweep_measurements(store, run_id), sweep_baselines(store, run_id).get("constant_image")
    analysis = analyze_dynamics(measurements, sweep_distances(store, run_id), spread, diagnostic_distances(store, run_id))
    losses = pd.concat([seed_means(measurements, loss).assign(quantity=loss) for loss in ("train_loss", "held_out_loss")])
    squares = measurements.assign(value=measurements["value"] ** 2)
    bands, totals = seed_means(measurements, "E_gen2"), seed_means(squares, "E_gen")
    return Dynamics(dynamics_sentence(analysis), _students(measurements), facts(store, run_id), analysis, losses, bands, totals)


def bias_variance(store: Store, run_id: str) -> BiasVariance:
    """Analyze a bias-variance sweep."""
    from pfd_engine.analysis import analyze_bias_variance, bias_variance_sentence

    measurements = sweep_measurements(store, run_id)
    analysis = analyze_bias_variance(measurements)
    return BiasVariance(bias_variance_sentence(analysis), _students(measurements), facts(store, run_id), analysis)


ANALYSES: Mapping[str, Callable[[Store, str], Finding]] = {
    "scaling": scaling,
    "training-dynamics": dynamics,
    "bias-variance": bias_variance,
}


def finding_sentence(store: Store, run_id: str, experiment: str) -> str:
    """Analyze a sweep and say in one sentence what its data show; raises KeyError for an unknown experiment."""
    return ANALYSES[experiment](store, run_id).sentence


def facts(store: Store, run_id: str) -> dict[str, Any]:
    """Return what all numbers of a sweep share (`sweep_queries.sweep_facts`), and in words how its students were trained."""
    config = (run(store, run_id) or {}).get("config")
    return sweep_facts(store, run_id) | {"training": words.training(config) if isinstance(config, dict) else ""}


def _students(measurements: pd.DataFrame) -> pd.DataFrame:
    rows = measurements[measurements["student_seed"].notna()]
    return rows[["student", "size", "num_samples", "student_seed"]].drop_duplicates("student").reset_index(drop=True)
