"""Figures carry the numbers they were given, with axis titles, bands and fixed colors; the analysis behind them is right."""

from itertools import pairwise

import numpy as np
import pytest

from pfd_engine import figures
from pfd_engine.analysis import convergence
from pfd_engine.analysis.intervals import pfd_interval


@pytest.fixture
def squared():
    return np.random.default_rng(3).gamma(4.0, 0.5, 512)


def test_convergence_shows_what_the_first_noises_alone_would_say(squared):
    frame = convergence({"PFD": squared})
    assert frame["num_noises"].iloc[-1] == 512
    for row in frame.iloc[[0, 10, -1]].itertuples():
        alone = pfd_interval(squared[: row.num_noises])
        assert (row.value, row.ci_low, row.ci_high) == (alone.value, alone.ci_low, alone.ci_high)


def test_convergence_keeps_its_digits_where_distances_are_large_and_nearly_equal():
    squared = 1e8 + np.random.default_rng(0).normal(0, 1e-3, 256)
    last = convergence({"PFD": squared}).iloc[-1]
    half = 1.97 * squared.std(ddof=1) / (2 * np.sqrt(squared.mean()) * 16)
    assert last["ci_high"] - last["value"] == pytest.approx(half, rel=0.02)


def test_convergence_of_equal_models_is_zero_without_width():
    frame = convergence({"PFD": np.zeros(64)})
    assert (frame[["value", "ci_low", "ci_high"]] == 0).all(axis=None)


def test_convergence_of_one_noise_is_empty():
    assert convergence({"PFD": np.ones(1)}).empty


def test_convergence_figure_draws_a_band_and_names_its_axes(squared):
    frame = convergence({"PFD": squared, "E_mem": squared / 4})
    figure = figures.convergence(frame)
    assert len(figure.data) == 4
    assert figure.layout.xaxis.title.text == "Number of noises M"
    assert "data units" in figure.layout.yaxis.title.text
    assert figure.data[1].line.color == figures.COLORS["PFD"]
    assert figure.data[3].line.color == figures.COLORS["E_mem"]
    np.testing.assert_allclose(figure.data[1].y, frame[frame["metric"] == "PFD"]["value"], rtol=1e-5)


@pytest.mark.parametrize("count", [16, 96, 512, 2048])
def test_convergence_figure_has_ticks_at_its_first_and_last_number_of_noises(count):
    ticks = figures.convergence(convergence({"PFD": np.arange(1.0, count + 1)})).layout.xaxis.tickvals
    assert (ticks[0], ticks[-1]) == (8, count)
    assert all(later >= 2 * earlier for earlier, later in pairwise(ticks))


def test_histogram_counts_every_noise(squared):
    figure = figures.histogram({"PFD": squared}, {"PFD": 1.4})
    assert sum(figure.data[0].y) == len(squared)


def test_histogram_of_equal_distances_has_a_bar():
    figure = figures.histogram({"PFD": np.full(16, 4.0)}, {"PFD": 2.0})
    assert sum(figure.data[0].y) == 16


def test_figures_leave_background_and_text_to_the_theme(squared):
    layout = figures.histogram({"PFD": squared}, {}).layout
    assert layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert layout.font.color is None


def test_colors_differ_and_stand_out_on_both_backgrounds():
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for name, color in figures.COLORS.items():
        assert contrast(color, "#ffffff") >= 3, name
        assert contrast(color, "#14161b") >= 3, name
    assert len({figures.COLORS[name] for name in ("teacher", "student", "empirical map", "E_gen", "E_mem")}) == 5
