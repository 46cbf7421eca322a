"""The Explore page: table first, everything in the address, a page of rows at most, and one sentence for what a link asks in vain."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from pages.frame.page import EXPLORE
from pfd_engine.store.database import Store
from pfd_engine.store.queries.explore import Selection, rows_query
from pfd_engine.workspace import Workspace
from tests import page_visits
from tests.finding_samples import finished_sweep
from tests.page_visits import address, captions, checked, html, tables
from tests.run_samples import append_raw, finished_run, measurement


@pytest.fixture(autouse=True)
def home(bare_home):
    return bare_home


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A workspace with a sweep and an evaluation; and their run ids."""
    workspace = Workspace(tmp_path_factory.mktemp("measured"))
    return workspace, finished_sweep(workspace, "scaling").id, finished_run(workspace).id


@pytest.fixture
def filled(home, measured):
    shutil.copytree(measured[0].root, home.root)
    return measured[1:]


@pytest.fixture
def numbers(filled, home):
    """All numbers of the workspace, as a frame."""
    with Store(home, None, in_memory=True) as store:
        store.ingest()
        return store.frame("select * from measurements")


def visit(**query):
    return page_visits.visit(EXPLORE, **query)


def warnings(app):
    return [warning.value.replace("\\", "") for warning in app.warning]


def widget(app, kind, name):
    return getattr(app, kind)(key=f"explore-{name}")


def test_an_empty_page_says_where_numbers_come_from(home, monkeypatch):
    assert "Evaluate" in visit().info[0].value
    monkeypatch.setenv("PFD_MODE", "demo")
    assert "Nothing is published" in visit().info[0].value


def test_the_table_comes_first_and_holds_one_page(numbers):
    app = visit()
    assert len(tables(app)[0]) == (numbers["metric"] == "E_gen").sum()
    everything = visit(metric="all")
    assert len(tables(everything)[0]) == 50
    assert f"1 to 50 of {len(numbers)} numbers" in captions(everything)
    kinds = [element.type for element in app.main if element.type in ("bidi_component", "plotly_chart")]
    assert kinds == ["bidi_component", "plotly_chart"]


def test_the_second_page_holds_the_rest(numbers):
    pages = range(1, len(numbers) // 50 + 2)
    shown = pd.concat([tables(visit(metric="all", page=str(page)))[0] for page in pages])
    assert sorted(zip(shown["Student"], shown["Quantity"], strict=True)) == sorted(zip(numbers["student"], numbers["metric"], strict=True))


def test_groups_show_the_mean_of_their_numbers(numbers):
    table = tables(visit(group="size"))[0].set_index("Size")
    groups = numbers[numbers["metric"] == "E_gen"].groupby("size")["value"]
    for size, mean in groups.mean().items():
        shown, error = (float(text) for text in table.loc[size, "Mean ± standard error"].split(" ± "))
        spread = groups.get_group(size).std() / np.sqrt(groups.get_group(size).count())
        assert shown == pytest.approx(mean, abs=spread / 10)
        assert error == pytest.approx(spread, rel=0.06)
        assert table.loc[size, "Numbers"] == str(groups.get_group(size).count())


@pytest.mark.parametrize(("spread", "named"), [("stderr", "mean ± one standard error"), ("range", "smallest to largest"),
                                               ("quantiles", "5 % to 95 % quantile")])  # fmt: skip
def test_the_band_is_named_in_the_table_and_below_the_plot(filled, spread, named):
    app = visit(group="size", spread=spread)
    assert f"[{named}]" in tables(app)[0]
    assert f"Band: {named}" in captions(app)


def test_a_pinned_baseline_sets_every_group_against_it(filled):
    app = visit(group="size", baseline="mlp-32", relation="ratio")
    table = tables(app)[0].set_index("Size")
    assert table.loc["mlp-32", "Ratio to the baseline"].startswith("1.00")
    assert "Pinned: mlp-32" in captions(app)
    widget(app, "selectbox", "relation").select("difference")
    checked(app.run())
    assert address(app) == {"group": "size", "baseline": "mlp-32"}


def test_choices_go_into_the_address_and_a_link_brings_them_back(filled):
    app = visit(size="mlp-32")
    assert address(app) == {"size": "mlp-32"}
    widget(app, "selectbox", "metric").select("E_mem")
    widget(app, "multiselect", "group").set_value(["size", "num_samples"])
    widget(app, "text_input", "student").set_value("seed 1")
    widget(app, "toggle", "log_y").set_value(True)
    checked(app.run())
    link = {"metric": "E_mem", "group": ["size", "num_samples"], "size": "mlp-32", "student": "seed 1", "log_y": "yes"}
    assert address(app) == link
    again = visit(**link)
    pd.testing.assert_frame_equal(tables(again)[0], tables(app)[0])
    assert again.get("plotly_chart")[0].proto.spec == app.get("plotly_chart")[0].proto.spec


def test_groups_that_are_given_up_take_their_baseline_along(filled):
    app = visit(group="size", baseline="mlp-32")
    widget(app, "multiselect", "group").set_value([])
    checked(app.run())
    assert address(app) == {}
    assert warnings(app) == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"metric": "<script>alert(1)</script>"}, "metric '<script>alert(1)</script>'"),
        ({"group": "size; drop table runs"}, "group 'size; drop table runs'"),
        ({"size": "mlp-7"}, "size 'mlp-7'"),
        ({"spread": "guess"}, "spread 'guess'"),
        ({"order": "1; --"}, "order '1; --'"),
        ({"x": "value"}, "x 'value'"),
        ({"color": "key"}, "color 'key'"),
        ({"page": "99"}, "page '99'"),
        ({"page": "two"}, "page 'two'"),
        ({"n_from": "-3"}, "n_from = '-3'"),
        ({"down": "maybe"}, "down = 'maybe'"),
        ({"student": "x" * 100_000}, "100,000 characters"),
        ({"item": "sweep-of-nobody|x"}, "item 'sweep-of-nobody|x'"),
        ({"group": "size", "baseline": "nobody"}, "baseline 'nobody'"),
        ({"behind": "anything"}, "behind 'anything'"),
        ({"unheard_of": "1"}, "nothing of 'unheard_of'"),
    ],
)
def test_what_a_link_asks_in_vain_is_told_in_one_sentence_beside_the_page(filled, query, told):
    app = visit(**query)
    (warning,) = warnings(app)
    assert told in warning
    assert len(tables(app)) == 1
    assert len(app.get("plotly_chart")) == 1


@pytest.mark.parametrize("text", ["' or 1=1 --", "'); drop table measurements; --", "%", "<b>"])
def test_a_filter_of_hostile_text_finds_nothing_and_changes_nothing(filled, text):
    app = visit(student=text, page="2", item="a|b")
    assert [info.value for info in app.info] == ["No number fits these filters: take one away."]
    assert warnings(app) == []
    widget(app, "text_input", "student").set_value("")
    checked(app.run())
    assert len(tables(app)) == 1


def test_all_quantities_make_a_table_and_ask_for_one_to_plot(filled):
    app = visit(metric="all")
    assert "Choose one quantity" in app.info[0].value
    assert not app.get("plotly_chart")


def test_the_numbers_behind_a_point_of_the_plot_are_listed(numbers):
    app = visit(behind="point|16|mlp-32|E_gen|pixel|–")
    rows = numbers.query("metric == 'E_gen' and num_samples == 16 and size == 'mlp-32'")
    assert sorted(tables(app)[1]["Student"]) == sorted(rows["student"])
    gone = visit(behind="point|17|mlp-32|E_gen|pixel|–")
    assert "Nothing here lies behind it" in gone.info[0].value
    grouped = visit(group="size", behind="group|mlp-32|E_gen|pixel|–")
    assert len(tables(grouped)[1]) == (numbers.query("metric == 'E_gen'")["size"] == "mlp-32").sum()


def test_a_ticked_row_chooses_its_student_and_an_unticked_one_lets_it_go(filled):
    from pages.frame.address import Choices
    from pages.widgets.explore import MOST_COMPARED, choose

    choices = Choices("explore")
    st.session_state[choices.key("item")] = ["elsewhere"]

    def ticked(item, on):
        choose(choices, item, on)
        return st.session_state[choices.key("item")]

    assert ticked("a", True) == ["elsewhere", "a"]
    assert ticked("b|c", True) == ["elsewhere", "a", "b|c"]
    assert ticked("a", True) == ["elsewhere", "a", "b|c"]
    assert ticked("elsewhere", False) == ["a", "b|c"]
    assert ticked("never", False) == ["a", "b|c"]
    for number in range(MOST_COMPARED):
        ticked(str(number), True)
    assert st.session_state[choices.key("item")] == ["a", "b|c", "0", "1", "2", "3"]


def test_a_link_to_more_students_than_can_be_compared_shows_the_first_six(filled):
    sweep, _ = filled
    names = tables(visit())[0]["Student"].drop_duplicates().tolist()
    asked = [f"{sweep}|{name}" for name in names[:9]]
    app = visit(item=["nobody", *asked])
    assert address(app)["item"] == asked[:6]
    assert "6 are allowed" in " ".join(warnings(app))
    assert tables(app)[0]["ticked"].sum() == 6


def test_forged_ticks_change_nothing(monkeypatch):
    from pages.widgets.ticked_table import ticked_table

    done, callbacks = [], {}
    monkeypatch.setattr("pages.widgets.ticked_table._draw", lambda **options: callbacks.update(options))
    ticked_table(pd.DataFrame({"x": ["1", "2"]}), ["a", "b"], [], "forged", lambda *tick: done.append(tick), telling=1)
    for told in (
        None,
        "x",
        3,
        {"sent": "x", "ticks": "ab"},
        {"ticks": [["a"], ["b", True, 1], [["a"], True], "a", None, ["unknown", True]]},
    ):
        st.session_state["forged"] = {"ticked": told}
        callbacks["on_ticked_change"]()
    assert done == []
    st.session_state["forged"] = {"ticked": {"sent": 7, "ticks": [["a", True], ["b", "maybe"]]}}
    callbacks["on_ticked_change"]()
    assert done == [("a", True), ("b", False)]
    assert st.session_state["forged-answered"] == 7


def test_groups_that_are_given_up_take_what_lies_behind_one_along(filled):
    app = visit(group="size", behind="group|mlp-32|E_gen|pixel|–")
    widget(app, "multiselect", "group").set_value([])
    checked(app.run())
    assert address(app) == {}
    assert len(tables(app)) == 1


def test_the_box_of_filters_stays_open_while_its_last_filter_changes(filled):
    app = visit(student="N=64")
    assert "Filters (1 in use)" in [box.label for box in app.expander]
    for text, label in (("", "Filters"), ("N=16 seed 1", "Filters (1 in use)")):
        widget(app, "text_input", "student").set_value(text)
        checked(app.run())
        assert label in [box.label for box in app.expander]
    assert address(app) == {"student": "N=16 seed 1"}
    assert set(tables(app)[0]["N"]) == {"16"}


def test_the_rows_of_the_chosen_students_are_ticked_and_no_seventh_can_be(filled):
    sweep, _ = filled
    student = "mlp-64 N=64 seed 1"
    table = tables(visit(item=[f"{sweep}|{student}"]))[0]
    assert set(table["Student"][table["ticked"]]) == {student}
    data = json.loads(visit(item=[f"{sweep}|{name}" for name in table["Student"][:6]]).get("bidi_component")[0].proto.json)
    assert "6 students are chosen" in data["full"]
    grouped = tables(visit(group="size", behind="group|mlp-32|E_gen|pixel|–"))[0]
    assert grouped["Size"][grouped["ticked"]].tolist() == ["mlp-32"]


def test_chosen_students_show_their_wall_and_lead_to_run_finding_and_comparison(filled):
    sweep, evaluation = filled
    student = f"{sweep}|mlp-64 N=64 seed 1"
    app = visit(item=[student, evaluation])
    assert 'class="wall-cell"' in html(app)
    links = {link.proto.label: str(link.proto) for link in app.get("page_link")}
    assert sweep in links["Open its run"]
    assert sweep in links["See its sweep under Scaling"]
    compare = links["Compare the 2 students"]
    assert f"item={sweep}%7Cmlp-64+N%3D64+seed+1&item={evaluation}" in compare
    widget(app, "selectbox", "wall").select(evaluation)
    checked(app.run())
    assert address(app) == {"item": [student, evaluation], "wall": evaluation}
    assert "See its sweep under Scaling" not in [link.proto.label for link in app.get("page_link")]


def test_names_of_strangers_are_shown_as_they_stand(home):
    name = "<img src=x onerror=alert(1)> **bold** | $x$"
    append_raw(finished_run(home), measurement(student=name, metric="E_gen", size="<i>", num_samples=4))
    app = visit(group="size", baseline="<i>", item=[], behind="group|<i>|E_gen|pixel|–")
    assert tables(app)[1]["Student"].tolist() == [name]
    assert "<img" not in html(app)
    assert "<i>" not in html(app)


def test_the_csv_holds_all_pages_of_the_table(numbers):
    from pages.reads.explore import csv
    from pages.reads.store import the_store

    selection = Selection((("metric", ("E_gen",)),))
    data = csv(rows_query(selection, "value", descending=True))().decode()
    the_store().close()
    values = [float(line.split(",")[16]) for line in data.splitlines()[1:]]
    assert values == sorted(numbers.loc[numbers["metric"] == "E_gen", "value"], reverse=True)
