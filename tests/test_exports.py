"""What every plot offers as a file: numbers that equal those plotted, figures that need no network, tables and citations that compile."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.frame.page import SCALING
from pfd_engine.errors import InputError, RunError
from pfd_engine.figures import export as figure_export
from pfd_engine.figures.style import finish
from pfd_engine.findings.verdicts import judge_stored
from pfd_engine.wording.citation import bibtex, methods_of_finding, methods_of_result
from pfd_engine.wording.latex import escaped, latex_table
from tests.finding_samples import finished_sweep
from tests.judged_samples import details, distances
from tests.page_visits import checked, visit
from tests.run_samples import result

FACTS = {"run": "sweep-1", "teacher": "someone/teacher", "descriptor": "pixel", "num_noises": 64, "solver": "heun"}
HOSTILE = "a_b & 100% {x} $y$ #1 ~ ^ \\input{/etc/passwd} <script>|"


@pytest.fixture(autouse=True)
def home(bare_home):
    return bare_home


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    curves = pd.DataFrame(
        {
            "size": np.repeat(["mlp-32", "mlp-64"], 4),
            "parameters": np.repeat([30_000, 120_000], 4),
            "metric": np.tile(["E_gen", "E_mem"], 4),
            "num_samples": np.tile([16, 16, 64, 64], 2),
            "value": rng.normal(3, 1, 8),
        }
    )
    return curves.assign(ci_low=curves["value"] - 0.1, ci_high=curves["value"] + 0.1, note=None)


@pytest.fixture
def figure() -> go.Figure:
    scatter = go.Scatter(x=[1, 2, 4], y=[0.5, 0.25, 0.125], name="E_gen", mode="lines+markers", line={"color": "#123456"})
    return finish(go.Figure(scatter).update_xaxes(title="N"))


def test_csv_parquet_and_json_hold_every_digit_that_is_plotted(frame):
    plain = figure_export.named(frame, FACTS)
    read = {
        "csv": pd.read_csv(io.BytesIO(figure_export.table(plain, "csv"))),
        "parquet": pd.read_parquet(io.BytesIO(figure_export.table(plain, "parquet"))),
        "json": pd.DataFrame(json.loads(figure_export.table(plain, "json"))),
    }
    for form, again in read.items():
        assert again.columns.tolist() == plain.columns.tolist(), form
        assert again["value"].tolist() == frame["value"].tolist(), form
        assert again["size"].tolist() == frame["size"].tolist(), form


def test_a_file_names_what_it_is_of_and_changes_nothing_that_is_there(frame):
    plain = figure_export.named(frame.assign(descriptor="dinov2"), FACTS)
    assert plain.columns.tolist()[:3] == ["run", "teacher", "num_noises"]
    assert set(plain["run"]) == {"sweep-1"}
    assert set(plain["descriptor"]) == {"dinov2"}
    assert "run" not in figure_export.named(frame.assign(run_id="r"), FACTS)
    assert "run" not in frame


def test_json_and_parquet_take_what_is_not_finite_and_mixed_columns():
    frame = pd.DataFrame({"x": [1.5, np.nan, np.inf], "mixed": ["a", 1, None]})
    assert [row["x"] for row in json.loads(figure_export.table(frame, "json"))] == [1.5, None, None]
    again = pd.read_parquet(io.BytesIO(figure_export.table(frame, "parquet")))
    assert again["mixed"].tolist()[:2] == ["a", "1"]
    with pytest.raises(InputError, match="choose one of csv, parquet, json"):
        figure_export.table(frame, "exe")


def test_html_holds_the_drawing_program_and_fetches_nothing(figure):
    page = figure_export.html(figure, "<script>alert(1)</script>").decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page)
    assert len(page) > 3_000_000
    assert '"y":[0.5,0.25,0.125]' in page
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)", "the page's own figure is as it was"


@pytest.mark.parametrize(("width", "inches"), [("column", 3.4), ("full", 7.0)])
def test_a_figure_for_a_paper_is_as_wide_as_its_column_in_black_on_white(figure, width, inches):
    paper = figure_export.for_paper(figure, width)
    assert paper.layout.width == round(96 * inches)
    assert paper.layout.paper_bgcolor == "white"
    assert paper.layout.font.color == "black"
    assert 7 <= paper.layout.xaxis.tickfont.size * 72 / 96 <= 9
    assert paper.data[0].line.color == "#123456"
    assert list(paper.data[0].y) == [0.5, 0.25, 0.125]
    assert figure.layout.width is None
    with pytest.raises(InputError, match="choose column or full"):
        figure_export.for_paper(figure, "wide")


def test_without_a_browser_an_image_is_refused_in_a_sentence(figure, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    with pytest.raises(InputError, match=r"install Chromium.*HTML file"):
        figure_export.image(figure, "pdf")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    assert figure_export.browser_path() is None
    monkeypatch.setitem(sys.modules, "kaleido", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="package kaleido"):
        figure_export.image(figure, "pdf")


def test_a_browser_that_hangs_is_ended_in_time_with_all_it_started(figure, monkeypatch, tmp_path):
    import psutil

    hanging = tmp_path / "browser"
    hanging.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 300\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(hanging))
    started = time.monotonic()
    with pytest.raises(RunError, match=r"within 4 seconds|could not draw"):
        figure_export.image(figure, "png", seconds=4)
    assert time.monotonic() - started < 20
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.browser
@pytest.mark.skipif(figure_export.browser_path() is None, reason="no browser is installed here: apt-get install chromium")
def test_images_are_drawn_in_the_size_of_the_paper(figure):
    png = Image.open(io.BytesIO(figure_export.image(figure, "png")))
    assert png.width == 4 * round(96 * 3.4)
    assert png.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert figure_export.image(figure, "pdf").startswith(b"%PDF")
    svg = figure_export.image(figure, "svg", "full").decode()
    assert 'width="672"' in svg
    assert "<text" in svg, "text stays text"


def test_latex_prints_every_character_and_runs_none():
    text = escaped(HOSTILE)
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    bare = re.sub(r"\\text[a-z]+\{\}|\\[{}$&#%_]", "", text)
    assert not set(bare) & set("\\{}$&#%_^~<>|"), bare


def test_a_latex_table_has_intervals_with_sensible_digits(frame):
    text = latex_table(frame.assign(value=3.14159, ci_low=3.03, ci_high=3.25), HOSTILE, "tab:a b")
    assert r"$3.142\;[3.030, 3.250]$" in text or r"$3.14\;[3.03, 3.25]$" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + len(frame)
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    assert "note" not in text, "an empty column is left out"
    assert r"\label{tab:a-b}" in text
    for begun in re.findall(r"\\begin\{(\w+)\}", text):
        assert rf"\end{{{begun}}}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    long = latex_table(pd.DataFrame({"x": range(600)}), "Many")
    assert "100 further rows are left out" in long


def test_a_latex_table_says_which_letters_pdflatex_cannot_print(frame):
    own = "Ψ: pixel · ln σ ~ N(0, 1.4²) · −3 ± 1 × 2 → 95 % – N / parametersᵃ (log₂ scale) … √ “é ß ő”"
    assert not re.search(r"[^\x00-\u017f“”]", escaped(own))
    assert "LuaLaTeX" not in latex_table(frame, own)
    for text in ("数字", "đ", "«"):
        assert latex_table(frame, text).startswith("% for LuaLaTeX or XeLaTeX")


def entries(text: str) -> dict[str, dict[str, str]]:
    """Parse BibTeX: each entry's fields; fails where braces do not balance."""
    found: dict[str, dict[str, str]] = {}
    for kind, key, body in re.findall(r"@(\w+)\{(\w+),\n(.*?)\n\}", text, re.DOTALL):
        depth = 0
        for letter in body:
            depth += (letter == "{") - (letter == "}")
            assert depth >= 0
        assert depth == 0, key
        found[f"{kind}:{key}"] = dict(re.findall(r"^\s+(\w+)\s+= \{(.*)\},?$", body, re.MULTILINE))
    return found


def test_bibtex_names_the_paper_and_this_software_with_its_commit():
    parsed = entries(bibtex({"git_commit": "0123456789abcdef", "versions": {"pfd_engine": "0.1.0"}}))
    assert set(parsed) == {"article:zhang2025pfd", "software:pfd_dashboard"}
    assert "2505.20123" in parsed["article:zhang2025pfd"]["journal"]
    assert parsed["software:pfd_dashboard"]["version"] == "0.1.0"
    assert parsed["software:pfd_dashboard"]["note"] == "commit 0123456789abcdef"


@pytest.mark.parametrize("hostile", ["}\n@comment{", "x" * 10_000, "\\input{a}", None, 3, {"a": 1}])
def test_bibtex_believes_no_stranger(hostile):
    parsed = entries(bibtex({"git_commit": hostile, "versions": {"pfd_engine": hostile}}))
    assert "note" not in parsed["software:pfd_dashboard"]
    assert re.fullmatch(r"[\d.]+", parsed["software:pfd_dashboard"]["version"])
    assert methods_of_result({"teacher": hostile, "student": {"reference": hostile}, "versions": hostile, "num_noises": hostile})


def test_methods_say_what_was_done_with_its_numbers():
    details = result("evaluate-1") | {
        "ci_low": 1.3, "ci_high": 1.7, "noise_seed": 5, "solver": "heun", "steps": 18, "student_steps": 2, "sigma_min": 0.002,
        "sigma_max": 80.0, "descriptor": "pixel", "interval_method": "normal",
        "memorization": {"e_mem": 2.0, "ci_low": 1.9, "ci_high": 2.1, "num_samples": 64},
        "coupling_note": "measures coupling and distribution together",
    }  # fmt: skip
    text = methods_of_result(details)
    for part in (
        "someone/student (revision aaaaaaa)", "teacher someone/teacher", "128 noises (seeds 5 to 132)", "heun in 18 steps",
        "sigma = 80 to 0.002", "2 steps of its own", "pixel by pixel", "1.50 [1.30, 1.70]", "64 training samples",
        "coupling and distribution together", "torch 2.13.0",
    ):  # fmt: skip
        assert part in text, part
    shared = {
        "teacher": "someone/teacher",
        "num_noises": 64,
        "noise_seed": 0,
        "student_seeds": [0, 1, 2],
        "objective": "samples",
        "step": 100,
    }
    text = methods_of_finding("scaling", shared)
    for part in ("3 training seeds", "objective samples, 100 training steps", "seeds 0 to 63", "N* is where"):
        assert part in text, part


def test_methods_name_the_baselines_the_solver_error_and_the_verdict():
    told = details(solver_error=-0.02, solver_error_extrapolated=True, retrained_floor={"value": 1.2})
    text = methods_of_result(told, judge_stored(told, distances()))
    for part in (
        "the best constant image lies 4.200 from the teacher", "paired at random lie 6.000 apart", "another seed lies 1.200 from it",
        "own part of this PFD is about −0.02, extrapolated",
        "The student generalizes, by 95 % intervals paired by noise: it is closer to its",
    ):  # fmt: skip
        assert part in text, part
    assert "judged" not in methods_of_result(details(), None)


def test_a_finding_offers_its_frame_and_says_how_to_cite_it(home):
    finished_sweep(home, "scaling")
    app = visit(SCALING)
    [button] = app.get("download_button")
    assert button.proto.label == "Download what is plotted (CSV)"
    assert [expander.label for expander in app.expander] == ["Methods and citation"]
    assert not app.code  # what draws it is 1.5 MB of script
    app.session_state["citation"] = True
    methods, cited = (code.value for code in checked(app.run()).code)
    assert "someone/teacher" in methods
    assert entries(cited)


def a_panel(form: str) -> None:
    import pandas as pd
    import plotly.graph_objects as go
    import streamlit as st

    from pages.widgets.exports import panel

    st.session_state["format-a/b <c>"] = form
    panel(pd.DataFrame({"x": [1.5]}), go.Figure(go.Scatter(y=[1])), "a/b <c>", {"run": "r"}, "Title & more")


@pytest.mark.parametrize(
    ("form", "name"), [("html", "a-b-c.html"), ("parquet", "a-b-c.parquet"), ("json", "a-b-c.json"), ("tex", "a-b-c.tex")]
)
def test_each_format_is_one_button(form, name):
    app = AppTest.from_function(a_panel, kwargs={"form": form}).run()
    assert not app.exception
    assert [button.proto.label for button in app.get("download_button")] == [f"Download {name}"]


def test_an_image_is_drawn_when_asked_and_a_missing_browser_is_told(monkeypatch):
    monkeypatch.setattr("pfd_engine.figures.export.obstacle", lambda: "no browser is installed here")
    app = AppTest.from_function(a_panel, kwargs={"form": "pdf"}).run()
    assert "no browser is installed here" in "".join(element.proto.body for element in app.get("html"))
    assert not app.button
    drawn: list[Any] = []
    monkeypatch.setattr("pfd_engine.figures.export.obstacle", lambda: None)
    monkeypatch.setattr("pfd_engine.figures.export.image", lambda figure, form, width: drawn.append((form, width)) or b"%PDF")
    app = AppTest.from_function(a_panel, kwargs={"form": "pdf"}).run()
    assert not drawn
    assert not app.get("download_button")
    app.button[0].click().run()
    assert drawn == [("pdf", "column")]
    assert [button.proto.label for button in app.get("download_button")] == ["Download a-b-c-column.pdf"]


def test_no_other_format_is_made_before_it_is_asked_for(home, monkeypatch):
    def fail(*args: object, **more: object) -> None:
        raise AssertionError("a file was made while the page was drawn")

    for name in ("pfd_engine.figures.export.table", "pfd_engine.figures.export.html", "pfd_engine.wording.latex.latex_table"):
        monkeypatch.setattr(name, fail)
    finished_sweep(home, "scaling")
    app = visit(SCALING)
    assert not app.error
    assert len(app.get("download_button")) == 1
