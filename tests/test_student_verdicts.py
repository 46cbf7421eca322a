"""The verdicts on a sweep's students, from rows as a store returns them."""

import numpy as np
import pandas as pd
import pytest

from pfd_engine.analysis import judge_student, student_verdicts
from pfd_engine.findings.tables import students_table

SPREADS = {"E_gen": 4.2, "E_mem": 4.0}
ERRORS = {  # E_gen, E_mem, E_emp
    16: (3.9, 0.3, 3.9),
    64: (4.6, 4.1, 3.5),
    1024: (0.8, 2.8, 2.9),
}


def rows(errors=ERRORS, spreads=SPREADS, noises=128):
    """Return measurements and distances of two students of each N at two steps, their E_mem and E_emp at the last one alone."""
    rng = np.random.default_rng(0)
    measurements, distances = [], []
    for n, values in errors.items():
        for seed in (0, 1):
            for step in (10, 20):
                row = {"student": f"mlp-32 N={n} seed {seed}", "size": "mlp-32", "num_samples": n, "student_seed": seed, "step": step}
                for metric, value in zip(("E_gen", "E_mem", "E_emp"), values, strict=True):
                    told = {"parameters": 10_000, "metric": metric, "band": None, "value": value, "spread": spreads.get(metric)}
                    measurements.append({**row, **told})
                    if step == 20 or metric == "E_gen":
                        distances.append({**row, "metric": metric, "squared": value**2 * (1 + 0.1 * rng.standard_normal(noises))})
                if n > 1:
                    measurements.append({**row, "metric": "memorization_ratio", "band": None, "value": 0.5, "spread": None})
    as_stored = {"num_samples": float, "student_seed": float, "step": float}
    return pd.DataFrame(measurements).astype(as_stored), pd.DataFrame(distances).astype(as_stored)


def test_each_student_is_judged_by_the_one_rule_at_its_last_step():
    measurements, distances = rows()
    found = student_verdicts(measurements, distances)
    assert found.groupby("num_samples")["verdict"].agg(list).to_dict() == {
        16: ["memorizes", "memorizes"],
        64: ["neither", "neither"],
        1024: ["generalizes", "generalizes"],
    }
    assert set(found["step"]) == {20}
    last = distances[(distances["step"] == 20) & (distances["num_samples"] == 1024) & (distances["student_seed"] == 1)]
    squared = {row.metric: row.squared for row in last.itertuples()}
    judged = judge_student(
        squared["E_gen"], squared["E_mem"], squared["E_emp"], spread_teacher=4.2, spread_empirical=4.0, distinct_samples=1024
    )
    assert (found.iloc[-1]["verdict"], found.iloc[-1]["sentence"]) == (judged.word, judged.sentence)


def test_a_student_with_one_distinct_sample_or_at_the_floor_is_undetermined():
    found = student_verdicts(*rows({1: (3.9, 0.1, 3.9)}))
    assert found[["verdict", "reason"]].drop_duplicates().to_numpy().tolist() == [["undetermined", "one sample"]]
    found = student_verdicts(*rows({1024: ERRORS[1024]}), floor=3.0)
    assert found["reason"].unique().tolist() == ["floor"]


def test_sweeps_from_before_baselines_were_measured_have_no_verdicts():
    measurements, distances = rows(spreads={})
    assert student_verdicts(measurements, distances).empty
    assert student_verdicts(measurements.drop(columns="spread"), distances).empty
    assert "Verdicts" not in students_table(measurements, distances).headings


@pytest.mark.parametrize("part", ["E_mem", "E_emp"])
def test_a_student_that_lacks_a_distance_is_left_out(part):
    measurements, distances = rows()
    lost = (distances["metric"] == part) & (distances["student_seed"] == 0)
    assert set(student_verdicts(measurements, distances[~lost])["student_seed"]) == {1}


def test_the_table_counts_the_verdicts_of_each_size_and_n():
    measurements, distances = rows()
    table = students_table(measurements, distances)
    assert table.headings[-1] == "Verdicts"
    assert [row[-1] for row in table.rows] == ["memorizes: 2", "neither: 2", "generalizes: 2"]
    assert "Verdicts" not in students_table(measurements).headings
