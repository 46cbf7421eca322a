"""What the finding pages show: the sweeps of an experiment and their analyses, computed once and kept while a sweep does not grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import BIAS_VARIANCE, DYNAMICS, SCALING
from pages.reads.store import the_store
from pfd_engine.findings import sweeps as analyses
from pfd_engine.findings.sweeps import BiasVariance, Dynamics, Finding, Scaling

if TYPE_CHECKING:
    import pandas as pd

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
    return analyses.scaling(the_store(), run_id)


@st.cache_data(max_entries=KEPT, show_spinner="Analyzing the sweep…")
def dynamics(run_id: str, stamp: str) -> Dynamics:
    """Analyze a sweep along training; `stamp` is part of the key alone."""
    return analyses.dynamics(the_store(), run_id)


@st.cache_data(max_entries=KEPT, show_spinner="Analyzing the sweep…")
def bias_variance(run_id: str, stamp: str) -> BiasVariance:
    """Analyze a bias-variance sweep; `stamp` is part of the key alone."""
    return analyses.bias_variance(the_store(), run_id)


def baselines(run_id: str) -> dict[str, float]:
    """Return what E_gen of a sweep is set beside (`sweep_queries.sweep_baselines`); a floor may be measured after the sweep."""
    return _baselines(run_id, the_store().version)


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
    analyzed: dict[str, Callable[[str, str], Finding]] = {
        "scaling": scaling,
        "training-dynamics": dynamics,
        "bias-variance": bias_variance,
    }
    found = []
    for experiment, analyze in analyzed.items():
        own = [sweep for sweep in sweeps(experiment) if not sweep.is_pulled]
        named = {sweep.name: sweep for sweep in reversed(own)}
        for sweep in list(reversed(named.values()))[:2]:
            found.append((experiment, sweep, sweep.finding or analyze(sweep.run_id, sweep.stamp).sentence))
    return found


@st.cache_data(max_entries=2 * len(PAGES), show_spinner=False)
def _sweeps(experiment: str, version: str) -> list[Sweep]:
    from pfd_engine.store.queries.sweeps import sweep_runs

    return [Sweep(**row) for row in sweep_runs(the_store(), experiment)]


@st.cache_data(max_entries=KEPT, show_spinner=False)
def _baselines(run_id: str, version: str) -> dict[str, float]:
    from pfd_engine.store.queries.sweeps import sweep_baselines

    return sweep_baselines(the_store(), run_id)


@st.cache_resource(max_entries=2, show_spinner=False)  # nobody changes this frame, and copying it takes longer than the page
def _trade_offs(version: str) -> pd.DataFrame:
    from pfd_engine.findings.trade_offs import trade_off_frame

    return trade_off_frame(the_store())
