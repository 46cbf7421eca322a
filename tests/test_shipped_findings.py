"""The shipped sweeps say what their data show, and are as large and as exact as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from pfd_engine.analysis import analyze_bias_variance, analyze_scaling
from pfd_engine.findings.sweeps import finding_sentence
from pfd_engine.store.database import Store
from pfd_engine.store.queries.sweeps import sweep_distances, sweep_measurements, sweep_runs
from pfd_engine.workspace import PUBLISHED_DATABASE


@pytest.fixture(scope="module")
def store():
    with Store(None, PUBLISHED_DATABASE) as store:
        yield store


def run_of(store: Store, name: str) -> str:
    experiment = name.removesuffix("-usual")
    return next(sweep["run_id"] for sweep in sweep_runs(store, experiment) if sweep["name"] == name)


@pytest.mark.parametrize("experiment", ["scaling", "training-dynamics", "bias-variance"])
def test_a_shipped_sentence_is_what_the_analysis_says_today(store, experiment):
    sweeps = sweep_runs(store, experiment)
    assert sweeps[0]["name"] == experiment
    for sweep in sweeps:
        said = finding_sentence(store, sweep["run_id"], experiment)
        assert sweep["finding"] in (None, said)  # None where rules that were withdrawn had written it


def test_scaling_spans_memorization_and_generalization(store):
    run = run_of(store, "scaling")
    analysis = analyze_scaling(sweep_measurements(store, run), sweep_distances(store, run))
    cells = analysis.curves.query("metric == 'E_gen'")
    assert cells["size"].nunique() >= 5
    assert (cells.groupby("size")["num_samples"].nunique() >= 9).all()
    assert (cells["seeds"] >= 3).all()
    reached = analysis.ends.set_index("end")["reached"]
    assert reached["small"].sum() >= 3
    assert reached["large"].sum() >= 3
    assert np.isfinite([analysis.exponent.ci_low, analysis.exponent.ci_high]).all()


@pytest.mark.parametrize(("name", "seeds"), [("training-dynamics", 8), ("training-dynamics-usual", 8)])
def test_dynamics_have_the_design_that_verdicts_need_and_bands_that_add_up(store, name, seeds):
    rows = sweep_measurements(store, run_of(store, name))
    errors = rows.query("metric == 'E_gen'")
    assert errors["num_samples"].nunique() >= 5
    assert errors["step"].nunique() == 20
    assert (errors.groupby(["num_samples", "step"])["student_seed"].nunique() >= seeds).all()
    keys = ["student", "step"]
    total = errors.set_index(keys)["value"] ** 2
    bands = rows.query("metric == 'E_gen2' and band.notna()").groupby(keys)["value"].sum()
    np.testing.assert_allclose(bands.loc[total.index], total, rtol=1e-9)


def test_bias_and_variance_add_up_to_the_error(store):
    table = analyze_bias_variance(sweep_measurements(store, run_of(store, "bias-variance"))).table
    assert table["size"].nunique() >= 5
    assert table["num_samples"].nunique() >= 3
    assert (table["residual"] < 1e-9).all()
