"""The SQL page: a link fills the query in and runs nothing, a result comes with its downloads, and every failure is one sentence."""

import io
import json

import duckdb
import pandas as pd
import pytest
import streamlit as st

from pages.frame.page import HOME, SQL
from pages.reads import sql as sql_data
from pfd_engine.store.database import Store, TooLarge
from pfd_engine.store.schema import TABLES
from pfd_engine.store.sql import query as sql_query
from pfd_engine.store.sql.query import Answer, run_query
from pfd_engine.store.sql.tables import EXAMPLES
from pfd_engine.workspace import REPOSITORY
from tests import page_visits
from tests.page_visits import address, captions, checked
from tests.run_samples import append_raw, finished_run, measurement

FIRST, SECOND = list(EXAMPLES.values())[:2]
COUNT = "select metric, count(*) as numbers from measurements group by all order by all"


@pytest.fixture(autouse=True)
def home(bare_home, monkeypatch):
    """A workspace with one evaluation, and nothing published."""
    monkeypatch.setattr("pages.reads.store.INGEST_EVERY_SECONDS", 0.0)
    return finished_run(bare_home)


@pytest.fixture
def asked(monkeypatch):
    """The queries that reached the engine."""
    queries = []

    def noted(path, query):
        queries.append(query)
        return run_query(path, query)

    monkeypatch.setattr(sql_query, "run_query", noted)
    return queries


def visit(**query):
    return page_visits.visit(SQL, **query)


def run(app, query=None):
    if query is not None:
        app.text_area[0].input(query)
    app.button(key="sql-run").click()
    return checked(app.run())


def alerts(app):
    return [element.proto.body for element in app.get("html") if 'role="alert"' in element.proto.body]


def test_a_first_visit_offers_examples_and_explains_every_table(asked):
    app = visit()
    assert app.text_area[0].value == FIRST
    assert address(app) == {}
    assert {button.label for button in app.main.button} == {*EXAMPLES, "Run"}
    assert {expander.label.partition(": ")[0].strip("*") for expander in app.expander} == set(TABLES)
    assert "95 % interval" in "\n".join(element.proto.body for element in app.get("html"))
    assert asked == []


def test_a_link_fills_the_query_in_and_runs_nothing(asked):
    app = visit(query=COUNT)
    assert app.text_area[0].value == COUNT
    assert "only fills the query in" in captions(app)
    assert asked == []
    run(app)
    assert asked == [COUNT]
    assert address(app) == {"query": COUNT}


def test_an_example_fills_the_query_and_the_address(asked):
    app = visit()
    app.button(key=f"sql-example-{list(EXAMPLES)[1]}").click()
    checked(app.run())
    assert app.text_area[0].value == SECOND
    assert address(app) == {"query": SECOND}
    assert asked == []


def test_a_result_is_a_table_and_the_same_in_every_download(monkeypatch):
    made = {}
    monkeypatch.setattr(st, "download_button", lambda label, data, **more: made.update({label.split()[-1]: data()}))
    app = run(visit(), COUNT)
    shown = app.dataframe[0].value
    assert dict(zip(shown["metric"], shown["numbers"], strict=True)) == {"PFD": 1}
    assert "1 row in 0." in captions(app)
    assert json.loads(made["JSON"]) == [{"metric": "PFD", "numbers": 1}]
    for found in (pd.read_csv(io.BytesIO(made["CSV"])), pd.read_parquet(io.BytesIO(made["Parquet"]))):
        assert found.to_dict("list") == {"metric": ["PFD"], "numbers": [1]}


def test_a_result_cut_at_its_limit_says_so():
    app = run(visit(), "from range(10001)")
    assert len(app.dataframe[0].value) == 10_000
    assert "These are the first 10,000 rows, and there are more" in captions(app)


def test_the_same_query_is_answered_once_for_all_visitors_until_data_changed(asked, home, monkeypatch):
    monkeypatch.setattr(sql_query, "WRITING_SHARE", 0)
    first = run(visit(), COUNT)
    run(visit(), COUNT)
    checked(first.run())
    assert asked == [COUNT]
    append_raw(home, measurement(metric="E_gen", step=1))
    sql_data.the_store().ingest()
    assert "run it again for newer ones" in captions(checked(first.run()))
    again = run(visit(), COUNT)
    assert list(again.dataframe[0].value["metric"]) == ["E_gen", "PFD"]
    assert asked == [COUNT, COUNT]


def test_an_answer_that_was_given_up_is_asked_for_again(asked):
    app = run(visit(), COUNT)
    sql_data._answer.clear()
    checked(app.run())
    assert len(app.dataframe[0].value) == 1
    assert asked == [COUNT, COUNT]


@pytest.mark.parametrize(("query", "said"), [
    ("drop table runs", "a query here is one SELECT"), ("from read_text('/etc/passwd')", "a query here is one SELECT"),
    ("select <script>alert(1)</script>", "Parser Error"), ("", "there is no query in this text"),
    ("select no_such_column from runs", "Binder Error"),
])  # fmt: skip
def test_what_is_refused_is_one_sentence_and_is_not_tried_again(asked, query, said):
    app = run(visit(), query)
    (sentence,) = alerts(app)
    assert said in sentence
    assert "<script" not in sentence
    before = len(asked)
    checked(app.run())
    assert alerts(app) == [sentence]
    assert len(asked) == before


def test_results_that_cannot_be_copied_are_one_sentence(monkeypatch):
    def too_large(store, path):
        raise TooLarge("this asks for more memory than the database may take")

    monkeypatch.setattr(Store, "snapshot", too_large)
    app = run(visit(), COUNT)
    assert "more memory than the database may take" in alerts(app)[0]
    assert app.expander


def test_a_query_without_end_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sql_query, "run_query", lambda path, query: run_query(path, query, 0.6))
    app = run(visit(), "select sleep_ms(8000)")
    assert "was stopped" in alerts(app)[0]
    assert not app.dataframe


def test_a_link_with_too_long_a_query_is_left_out():
    app = visit(query="x" * 100_000)
    assert "100,000 characters, and 4,000 are allowed" in app.warning[0].value.replace("\\", "")
    assert app.text_area[0].value == FIRST
    assert address(app) == {}


def test_the_query_survives_a_visit_to_another_page():
    app = run(visit(), COUNT)
    app.switch_page(HOME)
    checked(app.run())
    app.switch_page(SQL)
    for name in list(app.query_params):
        del app.query_params[name]
    assert checked(app.run()).text_area[0].value == COUNT


def test_the_demo_answers_without_a_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("PFD_MODE", "demo")
    monkeypatch.setenv("PFD_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr("pages.reads.store.PUBLISHED_DATABASE", REPOSITORY / "results.duckdb")
    app = run(visit(), "select source, count(*) as rows from runs group by all")
    shown = app.dataframe[0].value
    assert list(shown["source"]) == ["published"]
    with duckdb.connect(REPOSITORY / "results.duckdb", read_only=True) as connection:
        assert list(shown["rows"]) == list(connection.execute("select count(*) from runs").fetchone())
    assert not (tmp_path / "nowhere").exists()


def test_snapshots_lie_in_the_cache_of_the_workspace(home):
    run(visit(), COUNT)
    assert [path.suffix for path in (home.workspace.cache / "sql").iterdir()] == [".duckdb"]


def test_answers_that_are_kept_are_bounded():
    assert sql_data.KEPT * sql_query.BYTES <= 64 * 2**20
    assert Answer(b"", 0, 0.0, "bytes").cut_note.startswith("These are the first 4 MiB")
