"""The finding pages: the computed sentence on top, choices in the address, images behind a point, and what to do where there is nothing."""

import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from pages.frame.page import BIAS_VARIANCE, DYNAMICS, HOME, RESULT, SCALING, TRADE_OFFS
from pages.reads import findings
from pages.widgets import html as words
from pfd_engine.sharing.selection import publish
from pfd_engine.store.database import read_results
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.finding_samples import finished_sweep
from tests.page_visits import address, captions, checked, html, visit
from tests.run_samples import append_raw, finished_run, measurement

PAGES = {"scaling": SCALING, "training-dynamics": DYNAMICS, "bias-variance": BIAS_VARIANCE, "trade-offs": TRADE_OFFS}
WITH_SWEEPS = ("scaling", "training-dynamics", "bias-variance")


@pytest.fixture(autouse=True)
def home(bare_home):
    return bare_home


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A workspace with a finished sweep of each experiment; and their run ids."""
    workspace = Workspace(tmp_path_factory.mktemp("measured"))
    return workspace, {experiment: finished_sweep(workspace, experiment).id for experiment in WITH_SWEEPS}


@pytest.fixture
def sweeps(home, measured):
    shutil.copytree(measured[0].root, home.root)
    return measured[1]


def test_a_visitor_who_clears_the_servers_caches_does_not_open_the_store_again(sweeps):
    import streamlit as st

    from pages.reads.store import the_store

    store = the_store()
    st.cache_resource.clear()  # what a message of any visitor's browser does
    assert the_store() is store
    assert store.rows("select count(*) as n from runs")[0]["n"] == len(sweeps)


def test_what_was_pulled_is_left_out_of_the_trade_offs_until_it_is_asked_for(sweeps, monkeypatch):
    frame = findings.trade_offs()
    theirs = frame.assign(source="hub:some/body@1234567", E_gen=frame["E_gen"] / 10)
    monkeypatch.setattr(findings, "trade_offs", lambda: pd.concat([frame, theirs], ignore_index=True))
    own, both = (int(re.search(r"(\d+) students, each", captions(visit(TRADE_OFFS, **query)))[1]) for query in ({}, {"pulled": "yes"}))
    assert own > 0
    assert both == 2 * own


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_page_names_the_command_that_fills_it(page, home):
    app = visit(PAGES[page])
    assert len(app.title) == 1
    assert len(app.info) == 1
    assert [code.value.split()[:4] for code in app.code] == [["python", "-m", "pfd_engine", "sweep"]]
    assert not home.runs.exists()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_draws_in_an_empty_demo(page, monkeypatch):
    monkeypatch.setenv("PFD_MODE", "demo")
    assert "Nothing is published" in visit(PAGES[page]).info[0].value


@pytest.mark.parametrize(
    ("page", "sentence", "plots"),
    [
        ("scaling", "training images", 1),
        ("training-dynamics", "overfit", 2),
        ("bias-variance", "the larger part of E_gen²", 2),
        ("trade-offs", "on the Pareto front", 1),
    ],
)
def test_a_page_opens_with_its_sentence_and_names_what_was_measured(page, sentence, plots, sweeps):
    app = visit(PAGES[page])
    assert sentence in html(app)
    assert len(app.get("plotly_chart")) == plots
    assert len(app.get("download_button")) == plots
    for fact in ("M = 64 noises", "Ψ: pixel", "heun, 18 steps", "teacher someone/teacher", "student seed"):
        assert fact in captions(app)


def test_scaling_shows_every_crossing_and_the_collapse_beside_the_papers_exponent(sweeps):
    drawn = html(visit(SCALING))
    for size in ("mlp-32", "mlp-64", "mlp-128"):
        assert f"<td>{size}</td>" in drawn
    assert "the paper&#x27;s</td>" in drawn


def test_the_rescaled_axis_offers_the_fitted_exponent_and_keeps_choices_in_the_address(sweeps):
    app = visit(SCALING, axis="rescaled")
    assert app.slider[0].value == pytest.approx(0.5, abs=0.1)
    app.slider[0].set_value(0.8)
    checked(app.run())
    assert address(app) == {"run": sweeps["scaling"], "axis": "rescaled", "a": "0.8"}
    assert checked(visit(SCALING, axis="rescaled", a="0.8")).slider[0].value == 0.8


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [("scaling", "run", "sweep-of-nobody"), ("scaling", "size", "mlp-7"), ("scaling", "axis", "sideways"), ("training-dynamics", "n", "17"),
     ("bias-variance", "size", "<b>"), ("bias-variance", "n", "many"), ("trade-offs", "cost", "money")],
)  # fmt: skip
def test_a_bad_value_in_the_address_is_told_in_one_sentence(page, name, value, sweeps):
    app = visit(PAGES[page], **{name: value})
    (warning,) = app.warning
    assert warning.value.replace("\\", "").startswith(f"The link asks for {name} '{value}', which does not exist here")
    assert value not in address(app).values()


@pytest.mark.parametrize("value", ["steep", "nan", "inf", "9"])
def test_an_exponent_that_is_none_is_told(value, sweeps):
    app = visit(SCALING, axis="rescaled", a=value)
    assert "no number from" in app.warning[0].value.replace("\\", "")
    assert -0.5 <= app.slider[0].value <= 1.5


def test_the_run_in_the_address_is_shown_and_the_newest_else(home):
    older, newer = finished_sweep(home, "bias-variance"), finished_sweep(home, "bias-variance")
    assert visit(BIAS_VARIANCE).selectbox[0].value == newer.id
    assert visit(BIAS_VARIANCE, run=older.id).selectbox[0].value == older.id


@pytest.mark.parametrize("page", ["scaling", "training-dynamics"])
def test_choosing_a_student_shows_its_images_and_the_way_to_its_run(page, sweeps):
    app = visit(PAGES[page])
    assert 'class="wall-cell"' not in html(app)
    box = app.selectbox(key=f"{'dynamics' if page != 'scaling' else page}-student")
    first = "mlp-32 N=16 seed 0" if page == "scaling" else "mlp-64 N=16 seed 0"
    box.select(first)
    checked(app.run())
    assert html(app).count('class="wall-cell"') == 1
    assert address(app)["student"] == first
    (link,) = [link for link in app.get("page_link") if link.proto.label == "Open its run"]
    assert sweeps[page] in str(link.proto)


def test_a_student_in_the_address_is_shown(sweeps):
    assert 'class="wall-cell"' in html(visit(SCALING, student="mlp-64 N=64 seed 1"))


def test_a_selected_point_chooses_its_first_student(measured):
    import pandas as pd
    import streamlit as st

    from pages.frame.address import Choices
    from pages.widgets.finding import student_of

    students = pd.DataFrame({"student": ["a", "b"], "size": ["s", "m"], "num_samples": [4, 4], "student_seed": [0, 0]})
    choices = Choices("test")
    student_of(choices, students)(["m", 4, 0.1])
    assert st.session_state[choices.key("student")] == "b"
    student_of(choices, students)(["m", 63.5])  # a crossing is nobody's
    assert st.session_state[choices.key("student")] == "b"


def test_trade_offs_say_where_the_coupling_is_lost(home):
    run = finished_run(home)
    append_raw(run, measurement(student="someone/matched", objective="distribution-matching", student_steps=1, value=2.0, parameters=500))
    app = visit(TRADE_OFFS)
    plot = app.get("plotly_chart")[0].proto
    assert "Hollow points" in plot.spec
    assert "do not keep the noise-to-image coupling" in plot.alt


def test_students_are_named_as_n_is_written_everywhere(sweeps):
    for page in (SCALING, TRADE_OFFS):
        (choice,) = [box for box in visit(page).selectbox if box.key.endswith("-student")]
        assert "mlp-64 N = 1,024 seed 1" in choice.options
    assert "N = 16 to 4,096" in words.settings({"kind": "sweep", "num_samples": [16, 4096]})


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_a_student_that_is_not_there_says_so(page, sweeps):
    assert "'nobody', which does not exist here" in visit(PAGES[page], student="nobody").warning[0].value.replace("\\", "")


def test_a_link_to_a_sweep_of_another_experiment_leads_to_its_page(sweeps):
    app = visit(DYNAMICS, run=sweeps["scaling"])
    (said,) = [warning.value.replace("\\", "") for warning in app.warning]
    assert said == "The link asks for a scaling sweep (scaling-small), which has a page of its own."
    (link,) = [link for link in app.get("page_link") if link.proto.label == "See this sweep under Scaling"]
    assert sweeps["scaling"] in str(link.proto)
    assert address(app)["run"] == sweeps["training-dynamics"]


def test_trade_offs_name_the_number_of_noises_where_students_differ_in_it(home):
    run = finished_run(home)
    append_raw(run, measurement(student="someone/other", num_noises=1024, value=2.0, parameters=500))
    assert "someone/other, M = 1,024 has the fewest parameters (500; E_gen 2.00 data units)" in html(visit(TRADE_OFFS))


def test_trade_offs_count_the_calls_of_solvers_and_of_few_steps(home):
    run = finished_run(home)
    append_raw(run, measurement(student="someone/matched", objective="consistency", student_steps=2, value=2.0))
    from pages.reads.findings import trade_offs

    frame = trade_offs().set_index("student")
    assert frame.loc["someone/student", "network_calls"] == 35
    assert frame.loc["someone/matched", "network_calls"] == 2
    assert not frame.loc["someone/matched", "keeps_coupling"]
    assert frame["key"].is_unique


def test_home_states_the_findings_with_links(sweeps):
    app = visit(HOME)
    assert "to lie closer to its teacher than to its training set" in html(app)
    links = {link.proto.label: str(link.proto) for link in app.get("page_link")}
    for experiment, name in (("scaling", "scaling"), ("training-dynamics", "training dynamics"), ("bias-variance", "bias-variance")):
        assert any(label.startswith(f"See {name}") and sweeps[experiment] in link for label, link in links.items())


def test_the_result_page_of_a_sweep_leads_to_its_finding(sweeps):
    app = visit(RESULT, run=sweeps["scaling"])
    (link,) = [link for link in app.get("page_link") if link.proto.label == "See what it found"]
    assert sweeps["scaling"] in str(link.proto)


def test_the_result_page_of_a_sweep_lists_its_students_by_size_and_n(sweeps, monkeypatch):
    drawn = html(visit(RESULT, run=sweeps["scaling"]))
    assert drawn.count("<tr><td>mlp-") == 12
    assert "<td>mlp-32</td><td>30 k</td><td>1,024</td><td>3</td><td>" in drawn
    monkeypatch.setattr("pages.widgets.finding.MOST_ROWS", 5)
    app = visit(RESULT, run=sweeps["scaling"])
    assert html(app).count("<tr><td>mlp-") == 5
    assert "7 rows more" in captions(app)


def test_published_sweeps_are_shown_in_a_demo(measured, tmp_path, monkeypatch):
    with read_results(measured[0], None) as store:
        publish(store, list(measured[1].values()), tmp_path / "published.duckdb")
    monkeypatch.setenv("PFD_MODE", "demo")
    monkeypatch.setenv("PFD_HOME", str(tmp_path / "nobody"))
    assert "to lie closer to its teacher than to its training set" in html(visit(SCALING, student="mlp-64 N=64 seed 1"))


def test_no_finding_page_loads_torch(sweeps, home):
    script = f"""
import sys
from streamlit.testing.v1 import AppTest
for page in {[*PAGES.values()]!r}:
    app = AppTest.from_file({str(REPOSITORY / HOME)!r}, default_timeout=120)
    app.switch_page(page)
    app.run()
    assert not app.exception and not app.error
print("torch" in sys.modules)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=os.environ | {"PFD_HOME": str(home.root)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert answer.stdout.strip().endswith("False")
