"""The tables of the dynamics and bias-variance pages say what is known, and a dash where nothing is."""

import numpy as np
import pandas as pd

from pfd_engine import figures
from pfd_engine.analysis import analyze_bias_variance, analyze_dynamics
from pfd_engine.findings.tables import parts_table, verdicts_table
from tests.sweep_samples import SIZES, dynamics_sweep

STEPS = (100, 400, 1600, 6400)


def test_verdicts_name_the_steps_of_each_move_and_what_is_excluded():
    curves = {16: np.array([3.5, 2.6, 3.0, 3.6]), 1024: np.array([3.4, 2.5, 2.0, 1.7])}
    sweep = dynamics_sweep(np.random.default_rng(0), curves, STEPS, scatter=0.01)
    table = verdicts_table(analyze_dynamics(*sweep), "mlp-64")
    assert table.headings == ["N", "Verdict", "E_gen falls by (steps)", "Rises by (steps)", "Then falls by (steps)", "Students"]
    first, last = table.rows
    assert first[:2] == ["16", "early learning, then overfitting"]
    assert first[2].startswith("0.9")
    assert first[2].endswith(" (100 to 400)")
    assert first[3].endswith(" (400 to 6,400)")
    assert first[4] == "none"
    assert last[:2] == ["1,024", "only falls"]
    assert last[3:] == ["none", "–", "8"]


def test_verdicts_say_which_turns_are_worse_than_a_constant_image():
    sweep = dynamics_sweep(np.random.default_rng(0), {16: np.array([3.5, 2.6, 3.0, 3.6])}, STEPS, scatter=0.01)
    table = verdicts_table(analyze_dynamics(*sweep, spread=3.0), "mlp-64")
    assert table.headings[5] == "Worse than a constant image"
    assert table.rows[0][5] == "dip: no, peak: yes"


def parts_rows(about, low=0.9):
    shared = {"size": "mlp-16", "parameters": SIZES["mlp-16"], "num_samples": 64, "step": 5, "student_seed": None, "band": None}
    parts = {"bias2": 1.0, "variance": 1.0, "E_gen2": 2.0}
    rows = [{**shared, "metric": m, "value": v, "stderr": 0.05, "ci_low": v * low, "ci_high": v / low} for m, v in parts.items()]
    return pd.DataFrame(rows + [{**shared, "metric": metric, "value": value} for metric, value in about.items()])


def test_parts_mark_a_student_that_dominates_only_where_that_is_known():
    marked = parts_table(analyze_bias_variance(parts_rows({"students": 8, "effective_students": 2, "largest_student_share": 0.7})))
    assert (marked.headings[-1], marked.rows[0][-1], marked.rows[0][-2]) == ("One student dominates", "yes", "8")
    older = parts_table(analyze_bias_variance(parts_rows({})))
    assert older.headings[-1] == "Students"


def test_two_students_leave_the_table_and_the_figure_without_intervals():
    analysis = analyze_bias_variance(parts_rows({"students": 2, "effective_students": 2, "largest_student_share": 0.5}))
    (row,) = parts_table(analysis).rows
    assert row[3:7] == ["1.000", "1.000", "2.000", "50 %"]
    figure = figures.parts(figures.parts_frame(analysis.table, "size", 64), "size")
    assert [point[3] for trace in figure.data for point in trace.customdata] == ["1.000", "1.000", "2.000"]


def test_an_outlier_is_a_hollow_diamond():
    analysis = analyze_bias_variance(parts_rows({"students": 8, "effective_students": 2, "largest_student_share": 0.7}))
    figure = figures.parts(figures.parts_frame(analysis.table, "size", 64), "size")
    assert list(figure.data[-1].marker.symbol) == ["diamond-open"]
