"""What the finding pages show: the sweeps of an experiment and their analyses, computed once and kept while a sweep does not grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.common.data import the_store
from pages.common.layout import BIAS_VARIANCE, DYNAMICS, SCALING

if TYPE_CHECKING:
    import pandas as pd

    from pfd_engine.analysis import BiasVarianceAnalysis, DynamicsAnalysis, ScalingAnalysis

PAGES = {"scaling": SCALING, "training-dynamics": DYNAMICS, "bias-variance": BIAS_VARIANCE}
TITLES = {"scaling": "Scaling", "training-dynamics": "Training dynamics", "bias-variance": "Bias-variance"}
KEPT = 8


@dataclass(frozen=True)
class Sweep:
    """One sweep that has rows; `stamp` changes whenever it grows; `finding` is the sentence that a published one brings along."""

    run_id: str
    source: str
    state: str
    name: str | None
    created: float | None
    students: int
    teacher: str
    stamp: str
    finding: str | None = None

    @property
    def is_pulled(self) -> bool:
        """Whether somebody else published it."""
        return self.source not in ("workspace", "published")


@dataclass(frozen=True)
class Finding:
    """What a page needs of one sweep: the sentence, the measured students (`student`, `size`, `num_samples`, `student_seed`) and what
    all its numbers share (`sweep_queries.sweep_facts`)."""

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


def sweeps(experiment: str) -> list[Sweep]:
    """Return the sweeps of an experiment that have rows, in the order of `sweep_queries.sweep_runs`."""
    return _sweeps(experiment, the_store().version)


def find_sweep(run_id: str) -> tuple[str, Sweep] | None:
    """Return the experiment and the sweep of a run, None where it is no sweep that has rows."""
    found = ((experiment, sweep) for experiment in PAGES for sweep in sweeps(experiment) if sweep.run_id == run_id)
    return next(found, None) if run_id.startswith("sweep-") else None


@st.cache_data(max_entries=KEPT, show_spinner="Analyzing the sweep…")
def scaling(run_id: str, stamp: str) -> Scaling:
    """Analyze a scaling sweep; `stamp` is part of the key alone."""
    from pfd_engine.analysis import analyze_scaling, scaling_sentence
    from pfd_engine.sweep_queries import sweep_distances, sweep_measurements

    measurements = sweep_measurements(the_store(), run_id)
    analysis = analyze_scaling(measurements, sweep_distances(the_store(), run_id))
    return Scaling(scaling_sentence(analysis), _students(measurements), _facts(run_id), analysis)


@st.cache_data(max_entries=KEPT, show_spinner="Analyzing the sweep…")
def dynamics(run_id: str, stamp: str) -> Dynamics:
    """Analyze a sweep along training; `stamp` is part of the key alone."""
    import pandas as pd

    from pfd_engine.analysis import analyze_dynamics, dynamics_sentence, seed_means
    from pfd_engine.sweep_queries import sweep_distances, sweep_measurements

    measurements = sweep_measurements(the_store(), run_id)
    analysis = analyze_dynamics(measurements, sweep_distances(the_store(), run_id))
    losses = pd.concat([seed_means(measurements, loss).assign(quantity=loss) for loss in ("train_loss", "held_out_loss")])
    squares = measurements.assign(value=measurements["value"] ** 2)
    students = _students(measurements)
    bands, totals = seed_means(measurements, "E_gen2"), seed_means(squares, "E_gen")
    return Dynamics(dynamics_sentence(analysis), students, _facts(run_id), analysis, losses, bands, totals)


@st.cache_data(max_entries=KEPT, show_spinner="Analyzing the sweep…")
def bias_variance(run_id: str, stamp: str) -> BiasVariance:
    """Analyze a bias-variance sweep; `stamp` is part of the key alone."""
    from pfd_engine.analysis import analyze_bias_variance, bias_variance_sentence
    from pfd_engine.sweep_queries import sweep_measurements

    measurements = sweep_measurements(the_store(), run_id)
    analysis = analyze_bias_variance(measurements)
    return BiasVariance(bias_variance_sentence(analysis), _students(measurements), _facts(run_id), analysis)


def trade_offs() -> pd.DataFrame:
    """Return every student's error with its costs: the columns of `sweep_queries.trade_off_rows`, and `network_calls`,
    `keeps_coupling`, `name`, `key` (unique) and `group` (teacher and descriptor: what can be compared)."""
    return _trade_offs(the_store().version)


def version() -> str:
    """Return what changes whenever rows are written."""
    return the_store().version


def newest_findings() -> list[tuple[str, Sweep, str]]:
    """Return experiment, sweep and sentence of each finding that has data: the first sweep of each name, two an experiment at most,
    none of others."""
    analyses: dict[str, Callable[[str, str], Finding]] = {"scaling": scaling, "training-dynamics": dynamics, "bias-variance": bias_variance}
    found = []
    for experiment, analyze in analyses.items():
        own = [sweep for sweep in sweeps(experiment) if not sweep.is_pulled]
        named = {sweep.name: sweep for sweep in reversed(own)}
        for sweep in list(reversed(named.values()))[:2]:
            found.append((experiment, sweep, sweep.finding or analyze(sweep.run_id, sweep.stamp).sentence))
    return found


@st.cache_data(max_entries=2 * len(PAGES), show_spinner=False)
def _sweeps(experiment: str, version: str) -> list[Sweep]:
    from pfd_engine.sweep_queries import sweep_runs

    return [Sweep(**row) for row in sweep_runs(the_store(), experiment)]


@st.cache_resource(max_entries=2, show_spinner=False)  # nobody changes this frame, and copying it takes longer than the page
def _trade_offs(version: str) -> pd.DataFrame:
    from pfd_engine.trade_off_table import trade_off_frame

    return trade_off_frame(the_store())


def _students(measurements: pd.DataFrame) -> pd.DataFrame:
    rows = measurements[measurements["student_seed"].notna()]
    return rows[["student", "size", "num_samples", "student_seed"]].drop_duplicates("student").reset_index(drop=True)


def _facts(run_id: str) -> dict[str, Any]:
    from pages.common import words
    from pfd_engine.store_queries import run
    from pfd_engine.sweep_queries import sweep_facts

    config = (run(the_store(), run_id) or {}).get("config")
    return sweep_facts(the_store(), run_id) | {"training": words.training(config) if isinstance(config, dict) else ""}
