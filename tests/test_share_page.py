"""The page of shared results, driven without a browser: pulling, removing, publishing, and what is refused or only shown as text."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from pfd_engine.sharing.pull import list_pulled, pull
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.finding_samples import a_bundle
from tests.hub_write_stub import HubWriteStub
from tests.page_visits import visit
from tests.run_samples import a_config, finished_run

SCRIPT = "<script>alert(1)</script>"
TOKEN = "hf_" + "right" * 5
PAGE = "pages/shared.py"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import streamlit as st

    from pages.reads.store import forget

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("pages.reads.store.PUBLISHED_DATABASE", tmp_path / "nothing-published.duckdb")
    yield Workspace(Path(os.environ["PFD_HOME"]))
    forget()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle by somebody else, whose student has a script for a name."""
    folder = a_bundle(tmp_path_factory.mktemp("theirs"))
    for table, column in (("measurements", "student"), ("runs", "student")):
        found = pq.read_table(folder / f"{table}.parquet")
        rows = [row | ({column: SCRIPT} if row["run_id"].startswith("evaluate") else {}) for row in found.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=found.schema), folder / f"{table}.parquet")
    return folder


@pytest.fixture
def bundle(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "bundle"))


def text_of(app: AppTest) -> str:
    kinds = ("title", "header", "markdown", "caption", "info", "warning", "success", "error", "code")
    parts = [element.value for kind in kinds for element in app.get(kind)]
    links = [element.proto.label for element in app.get("page_link")]
    return "\n".join([*parts, *links, *(element.proto.body for element in app.get("html"))])


def assert_drawn(app: AppTest) -> None:
    assert not app.exception, app.exception
    assert not app.error, [error.value for error in app.error]
    assert len(app.title) == 1


def test_a_reference_is_pulled_listed_and_removed(home: Workspace, bundle: Path) -> None:
    app = visit(PAGE)
    assert_drawn(app)
    assert "Nothing has been pulled yet" in text_of(app)
    app.text_input(key="shared-reference").set_value(str(bundle)).run()
    assert list_pulled(home) == [], "a reference alone pulls nothing"
    app.button(key="pull").click().run()
    assert_drawn(app)
    assert [pulled.source for pulled in list_pulled(home)] == ["folder:bundle"]
    shown = text_of(app).replace("\\", "")
    for part in ("folder:bundle is open now, with 2 runs", "2 runs", "license cc-by-4.0", "revision "):
        assert part in shown, part
    app.button(key="remove-0").click().run()
    assert_drawn(app)
    assert list_pulled(home) == []
    assert "folder:bundle was removed" in text_of(app).replace("\\", "")


def test_a_link_fills_the_field_and_pulls_nothing(home: Workspace, bundle: Path) -> None:
    app = visit(PAGE, reference=str(bundle))
    assert_drawn(app)
    assert app.text_input(key="shared-reference").value == str(bundle)
    assert list_pulled(home) == []


@pytest.mark.parametrize(("reference", "part"), [("", "is no reference"), (SCRIPT, "is no reference"), ("./nowhere", "there is no folder")])
def test_what_cannot_be_pulled_is_said_beside_the_field(home: Workspace, reference: str, part: str) -> None:
    app = visit(PAGE, reference=reference)
    app.button(key="pull").click().run()
    assert_drawn(app)
    (alert,) = [element.proto.body for element in app.get("html") if 'role="alert"' in element.proto.body]
    assert part in alert
    assert "<script>" not in alert
    assert list_pulled(home) == []


def test_a_damaged_bundle_is_one_sentence_on_the_page(home: Workspace, bundle: Path) -> None:
    (bundle / "runs.parquet").write_bytes(b"nothing")
    app = visit(PAGE, reference=str(bundle))
    app.button(key="pull").click().run()
    assert_drawn(app)
    assert "bundle is damaged: runs.parquet" in text_of(app)


def test_results_of_others_are_marked_everywhere_and_their_names_are_only_text(home: Workspace, bundle: Path) -> None:
    finished_run(home, a_config(num_noises=64))
    pull(home, str(bundle))
    evaluation, sweep = sorted(row["run_id"] for row in pq.read_table(bundle / "runs.parquet").to_pylist())
    pages = {
        "app.py": {},
        "pages/result.py": {"run": evaluation},
        "pages/bias_variance.py": {"run": sweep},
        "pages/trade_offs.py": {"pulled": "yes"},
        PAGE: {},
    }
    for page, query in pages.items():
        app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
        if page != "app.py":
            app.switch_page(page)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert_drawn(app)
        shown = text_of(app)
        assert SCRIPT not in shown, page
        options = [str(option) for box in app.selectbox for option in box.options]
        plotted = json.dumps([json.loads(chart.proto.spec) for chart in app.get("plotly_chart")])
        assert "folder:bundle" in shown.replace("\\", "") + plotted + "".join(options), page
        assert SCRIPT not in plotted.replace(f"|{SCRIPT}|", ""), f"{page}: the key of a point, which nobody sees, may hold it"


def test_the_publish_form_shows_the_equal_command_and_without_a_token_how_to_log_in(home: Workspace, monkeypatch) -> None:
    run = finished_run(home)
    monkeypatch.setenv("HF_TOKEN", "")
    app = visit(PAGE, repository="acme/results", private="yes", runs=run.id)
    assert_drawn(app)
    command = f"python -m pfd_engine publish acme/results --run {run.id} --private"
    assert command in [code.value for code in app.get("code")]
    assert "hf auth login" in text_of(app)
    assert not [button for button in app.button if button.key == "publish"]


@pytest.mark.hub
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_the_publish_form_publishes_and_never_shows_the_token(home: Workspace, monkeypatch) -> None:
    run = finished_run(home)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubWriteStub({}, name="acme/results", kind="datasets", token=TOKEN) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        app = visit(PAGE, repository="acme/results", runs=run.id)
        app.button(key="publish").click().run()
        assert_drawn(app)
        assert "Published 1 run at" in text_of(app)
        assert TOKEN not in text_of(app)
        assert "measurements.parquet" in hub.files
        hub.forbidden = True
        app.button(key="publish").click().run()
        assert_drawn(app)
        assert "the token may not write to acme/results" in text_of(app)


@pytest.mark.parametrize("mode", ["demo", "hosted"])
def test_a_server_for_others_neither_pulls_nor_publishes(home: Workspace, bundle: Path, monkeypatch, mode: str) -> None:
    monkeypatch.setenv("PFD_MODE", mode)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    app = visit(PAGE, reference=str(bundle))
    assert_drawn(app)
    assert not app.button
    assert not app.text_input
    assert "python -m pfd_engine pull owner/name" in text_of(app)
