"""The Methods page: its example answers to the sliders and to a link, with numbers of the formulas."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pfd_engine.flow.gaussian_example import Gaussian, exact_pfd
from pfd_engine.workspace import REPOSITORY


@pytest.fixture
def visit(tmp_path, monkeypatch):
    monkeypatch.setenv("PFD_HOME", str(tmp_path))
    monkeypatch.chdir(REPOSITORY)

    def visit(**parameters: str) -> AppTest:
        app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=30).run()
        for name, value in parameters.items():
            app.query_params[name] = value
        return app.switch_page("pages/methods.py").run()

    return visit


def numbers(app: AppTest) -> str:
    return next(element.proto.body for element in app.get("html") if "PFD by formula" in element.proto.body)


def test_the_example_shows_the_formula_and_follows_a_slider(visit):
    app = visit()
    assert not app.exception
    assert f"{exact_pfd(Gaussian(0, 0.5), Gaussian(0.3, 0.7)):.4g}" in numbers(app)
    app.slider(key="methods-shift").set_value(0.8).run()
    assert f"{exact_pfd(Gaussian(0, 0.5), Gaussian(0.8, 0.7)):.4g}" in numbers(app)
    assert "0.8" in app.query_params["shift"]


def test_a_link_sets_the_example_and_what_it_cannot_have_is_said(visit):
    app = visit(spread="0.5", shift="nonsense")
    assert not app.exception
    assert f"{exact_pfd(Gaussian(0, 0.5), Gaussian(0.3, 0.5)):.4g}" in numbers(app)
    assert any("shift" in warning.value and "nonsense" in warning.value for warning in app.warning)


def test_every_word_that_marks_a_number_is_explained(visit):
    app = visit()
    text = "\n".join([*(element.value for element in app.markdown), *(element.proto.body for element in app.get("html"))])
    for word in (
        "Constant image",
        "Retrained floor",
        "Solver error",
        "Tail share",
        "Not ruled out",
        "Generalizes.",
        "Undetermined.",
        "older rule",
    ):
        assert word in text, word
