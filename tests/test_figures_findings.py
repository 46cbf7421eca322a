"""The figures of the findings draw their frame, no more and no less, and the frame survives a round through CSV."""

import io

import numpy as np
import pandas as pd
import pytest

from pfd_engine import figures
from pfd_engine.analysis import analyze_bias_variance, analyze_dynamics, analyze_scaling, pareto_front, seed_means
from pfd_engine.figures.style import SEQUENCE, sequence
from tests import sweep_samples
from tests.finding_samples import BANDS, SAMPLES, SIZES, STEPS, bias_variance_events


@pytest.fixture(scope="module")
def scaling():
    rng = np.random.default_rng(0)
    crossings = sweep_samples.true_crossings(0.5, sizes=SIZES)
    return analyze_scaling(*sweep_samples.scaling_sweep(rng, crossings, SAMPLES, sizes=SIZES))


@pytest.fixture(scope="module")
def dynamics():
    curves = {16: np.array([3.5, 2.6, 3.0, 3.6]), 1024: np.array([3.4, 2.5, 2.0, 1.7])}
    return analyze_dynamics(*sweep_samples.dynamics_sweep(np.random.default_rng(1), curves, STEPS, seeds=4, scatter=0.01))


@pytest.fixture(scope="module")
def parts():
    return analyze_bias_variance(pd.DataFrame(bias_variance_events())).table


@pytest.fixture
def students():
    frame = pd.DataFrame(
        {
            "key": list("abcd"), "name": ["A", "B", "C", "D"], "objective": ["samples", "samples", "distribution-matching", None],
            "keeps_coupling": [True, True, False, True], "parameters": [1e4, 1e5, 1e5, 1e6], "E_gen": [3.0, 2.0, 2.5, 2.2],
            "ci_low": [2.9, 1.9, 2.4, 2.1], "ci_high": [3.1, 2.1, 2.6, 2.3],
        }
    )  # fmt: skip
    return pareto_front(frame, "parameters", "E_gen")


def through_csv(frame):
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)), keep_default_na=True, dtype={"band": str, "mark": str})


def points(figure, axis="y"):
    """Every coordinate that a figure draws as a point, its filled bands and legend keys left out."""
    traces = [trace for trace in figure.data if trace.type == "bar" or (trace.fill != "toself" and trace.x[0] is not None)]
    return [float(value) for trace in traces for value in trace[axis]]


def losses():
    rows = [("mlp-64", n, step, 1 / step, metric) for n in (16, 1024) for step in STEPS for metric in ("train_loss", "held_out_loss")]
    frame = pd.DataFrame(rows, columns=["size", "num_samples", "step", "value", "quantity"])
    return frame.assign(ci_low=frame["value"] * 0.9, ci_high=frame["value"] * 1.1, seeds=4)


def test_scaling_csv_holds_exactly_what_is_drawn(scaling):
    frame = figures.scaling_frame(scaling.curves, scaling.crossings, 0.5)
    figure = figures.scaling(frame, 0.5)
    parsed = through_csv(frame)
    pd.testing.assert_frame_equal(parsed, frame, check_dtype=False, check_exact=True)
    assert sorted(points(figure)) == sorted(parsed["value"])
    assert sorted(points(figure, "x")) == sorted(parsed["abscissa"])
    assert figures.scaling(parsed, 0.5).to_json() == figure.to_json()


def test_scaling_rescales_the_abscissa_and_the_crossings_interval(scaling):
    plain = figures.scaling_frame(scaling.curves, scaling.crossings)
    rescaled = figures.scaling_frame(scaling.curves, scaling.crossings, 0.5)
    np.testing.assert_allclose(rescaled["abscissa"], plain["num_samples"] / np.sqrt(plain["parameters"]), rtol=1e-12)
    marks = rescaled[rescaled["metric"] == "N*"]
    assert len(marks) == len(SIZES)
    assert marks["abscissa"].max() < 1.25 * marks["abscissa"].min()  # the truth is an exponent of 1/2
    assert (marks["abscissa_low"] < marks["abscissa"]).all()
    assert (marks["abscissa"] < marks["abscissa_high"]).all()


def test_a_crossing_lies_on_both_curves(scaling):
    row = figures.scaling_frame(scaling.curves, scaling.crossings, size="mlp-32").query("metric == 'N*'").iloc[0]
    for metric in ("E_gen", "E_mem"):
        curve = scaling.curves[(scaling.curves["size"] == "mlp-32") & (scaling.curves["metric"] == metric)]
        assert np.interp(np.log(row["num_samples"]), np.log(curve["num_samples"]), curve["value"]) == pytest.approx(row["value"], rel=1e-9)


def test_a_censored_crossing_is_not_drawn(scaling):
    censored = scaling.crossings.assign(censored="above", crossing=np.nan)
    assert "N*" not in set(figures.scaling_frame(scaling.curves, censored)["metric"])


def test_a_crossing_whose_interval_leaves_the_grid_is_drawn_to_the_grids_edge(scaling):
    open_ended = scaling.crossings.assign(ci_low=0.0, ci_high=np.inf)
    figure = figures.scaling(figures.scaling_frame(scaling.curves, open_ended, size="mlp-64"))
    (trace,) = [trace for trace in figure.data if trace.error_x.array is not None]
    assert trace.x[0] + trace.error_x.array[0] == pytest.approx(max(SAMPLES))
    assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(min(SAMPLES))


def test_one_size_has_the_colors_of_its_errors(scaling):
    figure = figures.scaling(figures.scaling_frame(scaling.curves, scaling.crossings, size="mlp-64"))
    drawn = {trace.name: trace.line.color for trace in figure.data if trace.showlegend and trace.mode == "lines+markers"}
    assert set(drawn.values()) == {figures.COLORS["E_gen"], figures.COLORS["E_mem"]}


def test_dynamics_csv_holds_exactly_what_is_drawn(dynamics):
    frame = figures.dynamics_frame(dynamics.curves, dynamics.verdicts, losses(), "mlp-64")
    figure = figures.dynamics(frame)
    parsed = through_csv(frame).assign(mark=lambda f: f["mark"].fillna(""))
    assert figures.dynamics(parsed).to_json() == figure.to_json()
    marked = frame.loc[frame["mark"] != "", "value"]
    assert sorted(points(figure)) == sorted([*parsed["value"], *marked])


def test_dynamics_marks_dip_and_peak_of_the_verdict(dynamics):
    frame = figures.dynamics_frame(dynamics.curves, dynamics.verdicts, losses(), "mlp-64")
    marks = frame[(frame["num_samples"] == 16) & (frame["mark"] != "")].set_index("mark")["step"]
    assert dict(marks) == {"dip": 400, "peak": 6400}
    assert (frame.loc[frame["num_samples"] == 1024, "mark"] == "").all()


def test_stacked_bands_reach_the_squared_error_exactly():
    shared = [{"size": "mlp-64", "parameters": 1e5, "num_samples": 16, "student_seed": k, "step": step} for k in (0, 1) for step in STEPS]
    rows = [{**row, "metric": "E_gen", "band": None, "value": np.sqrt(6 + row["student_seed"])} for row in shared]
    for k, band in enumerate(BANDS):
        rows += [{**row, "metric": "E_gen2", "band": band, "value": k + 1 + row["student_seed"] / 3} for row in shared]
    students = pd.DataFrame(rows)
    totals = seed_means(students.assign(value=students["value"] ** 2), "E_gen")
    frame = figures.bands_frame(seed_means(students, "E_gen2"), totals, "mlp-64", 16)
    figure = figures.bands(frame)
    stacked = [trace for trace in figure.data if trace.stackgroup]
    (top,) = [trace for trace in figure.data if not trace.stackgroup]
    assert [trace.name for trace in stacked] == ["components 1–4", "components 5–16", "components 17–64"]
    np.testing.assert_allclose(np.sum([trace.y for trace in stacked], axis=0), top.y, rtol=1e-12)
    assert figures.bands(through_csv(frame)).to_json() == figure.to_json()


@pytest.mark.parametrize(("along", "at"), [("size", 16), ("num_samples", "mlp-128")])
def test_bias_and_variance_stack_up_to_the_squared_error(parts, along, at):
    frame = figures.parts_frame(parts, along, at)
    figure = figures.parts(frame, along)
    bias, variance, error = figure.data
    base = np.array(variance.base, dtype=np.float64)
    np.testing.assert_allclose(base + variance.y, error.y, rtol=1e-12)
    np.testing.assert_array_equal(base, bias.y)  # below 0 too
    assert figures.parts(through_csv(frame), along).to_json() == figure.to_json()
    assert len(error.y) == (3 if along == "size" else 2)


def test_trade_offs_csv_holds_exactly_what_is_drawn(students):
    figure = figures.trade_offs(students, "parameters")
    drawn = [value for trace in figure.data if trace.customdata is not None for value in trace.y]
    assert sorted(drawn) == sorted(students["E_gen"])
    assert figures.trade_offs(through_csv(students), "parameters").to_json() == figure.to_json()


def test_trade_offs_draw_the_front_as_a_line_and_lost_coupling_hollow(students):
    figure = figures.trade_offs(students, "parameters", note="Hollow: no coupling.")
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["Pareto front"].x) == [1e4, 1e5]
    assert by_name["distribution-matching, coupling not kept"].marker.symbol.endswith("-open")
    assert not by_name["samples"].marker.symbol.endswith("-open")
    assert figure.layout.annotations[0].text == "Hollow: no coupling."


def test_empty_frames_draw_empty_figures(scaling, students):
    figures.scaling(figures.scaling_frame(scaling.curves.iloc[:0], scaling.crossings.iloc[:0]))
    figures.trade_offs(students.iloc[:0], "parameters")


def test_sequential_colors_run_along_their_anchors_and_stand_out_on_both_backgrounds():
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    colors = sequence(9)
    assert (colors[0], colors[4], colors[-1]) == SEQUENCE
    assert len(set(colors)) == 9
    for color in colors:
        assert 1.05 / (luminance(color) + 0.05) >= 3, color
        assert (luminance(color) + 0.05) / (luminance("#14161b") + 0.05) >= 3, color
