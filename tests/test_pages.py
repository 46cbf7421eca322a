"""Every page, driven without a browser: what it shows, what it refuses, and that it never shows a traceback or loads torch."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.errors import InputError
from pfd_engine.models.bundled import bundled_references
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import create_run, list_runs
from pfd_engine.workspace import REPOSITORY
from tests.run_samples import a_config, append_raw, finished_run, measurement

PAGES = {
    "Home": None,
    "Evaluate": "pages/evaluate.py",
    "Distill": "pages/distill.py",
    "Runs": "pages/runs.py",
    "Result": "pages/result.py",
    "Checkpoints": "pages/checkpoints.py",
    "Sweep": "pages/sweep.py",
    "Methods": "pages/methods.py",
    "Compare": "pages/compare.py",
}
TIMEOUT = 30


@pytest.fixture(autouse=True)
def home(bare_home):
    return bare_home


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A workspace in which the bundled student that memorizes was measured by the command line; and the id of that run."""
    folder = tmp_path_factory.mktemp("measured")
    references = bundled_references()
    command = [sys.executable, "-m", "pfd_engine", "evaluate", "--teacher", references.teacher]
    command += ["--student", references.student_memorizes, "--noises", "96", "--json"]
    answer = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {"PFD_HOME": str(folder)}, capture_output=True, check=True, timeout=200
    )
    return folder, json.loads(answer.stdout)


@pytest.fixture
def measured_home(home, measured):
    """A copy of the measured workspace as this test's own; and the object that the command line printed."""
    shutil.copytree(measured[0], home.root)
    return measured[1]


def visit(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=TIMEOUT)
    if PAGES[page]:
        app.switch_page(PAGES[page])
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def text_of(app: AppTest) -> str:
    """Everything that the page says, HTML included."""
    kinds = ("title", "header", "markdown", "caption", "info", "warning", "success", "error", "code")
    parts = [element.value for kind in kinds for element in app.get(kind)]
    return "\n".join([*parts, *(element.proto.body for element in app.get("html"))])


def assert_drawn(app: AppTest) -> None:
    assert not app.exception, app.exception
    assert not app.error, [error.value for error in app.error]
    assert len(app.title) == 1
    assert "Traceback" not in text_of(app)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_in_an_empty_workspace_and_writes_nothing(page, home):
    app = visit(page)
    assert_drawn(app)
    assert not home.runs.exists()


@pytest.mark.parametrize("page", ["Home", "Runs", "Result"])
def test_an_empty_page_says_what_to_do_next(page):
    assert any("easure a pair" in info.value or "Evaluate" in info.value for info in visit(page).info)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_with_a_result(page, measured_home):
    query = {"run": measured_home["run_id"]} if page == "Result" else {}
    assert_drawn(visit(page, **query))


def test_no_page_loads_torch(home, measured_home):
    teacher, student = bundled_references()[:2]
    script = f"""
import sys, warnings
from streamlit.testing.v1 import AppTest
for page in {list(PAGES.values())!r}:
    app = AppTest.from_file("app.py", default_timeout=60)
    if page:
        app.switch_page(page)
    if page == "pages/result.py":
        app.query_params["run"] = {measured_home["run_id"]!r}
    if page == "pages/evaluate.py":
        app.query_params["teacher"], app.query_params["student"] = {teacher!r}, {student!r}
    if page == "pages/checkpoints.py":
        app.query_params["reference"] = {teacher!r}
    app.run()
    assert not app.exception and not app.error and app.title, page
    assert not {{"torch", "scipy", "diffusers"}} & set(sys.modules), page
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr[-2000:]


def test_home_shows_the_latest_result_with_its_interval(measured_home):
    shown = text_of(visit("Home"))
    assert "PFD **" in shown
    assert f"{measured_home['value']:.2f}"[:3] in shown
    assert "data:image/png;base64," in shown


def test_result_gives_verdict_numbers_wall_provenance_and_command(measured_home):
    app = visit("Result", run=measured_home["run_id"])
    app.session_state["command"] = True  # opened
    shown = text_of(app.run())
    assert "<strong>The student memorizes</strong>: it is closer to the map of its 64 training samples (" in shown
    for part in (
        "The student is closer to its teacher than any constant image can be \\(4\\.",
        "Constant image",
        "Shuffled ceiling",
        "PFD is ",
        "These 96 noises cannot rule out that fewer than 3\\.1 % of all noises behave in a way that was not seen",
        "solver error",
        "RMS per coordinate",
        "Memorization ratio",
        "Closest pairs",
        "Pairs around the median",
        "Pairs farthest apart",
        measured_home["teacher"]["revision"],
        measured_home["student"]["revision"],
        "35",
        "torch",
        "python -m pfd_engine evaluate",
        "is a metric",
    ):
        assert part in shown, part
    assert shown.count("data:image/png;base64,") == 3 * 24
    assert len(app.get("plotly_chart")) == 2
    assert len(app.get("download_button")) == 2


def test_result_downloads_exactly_the_distances_that_were_measured(measured_home):
    from pages.reads.store import read_result

    result = read_result(measured_home["run_id"])
    assert len(result.seeds) == 96
    assert list(result.distances) == ["PFD", "E_mem", "E_emp", "spread", "E_emp_spread"]
    assert float(result.distances["PFD"].mean()) ** 0.5 == pytest.approx(measured_home["value"], rel=1e-12)


@pytest.mark.parametrize("run_id", ["nothing", "../../etc/passwd", "<script>alert(1)</script>", "x" * 5000])
def test_a_link_to_a_run_that_does_not_exist_says_so_and_shows_nothing_raw(run_id):
    app = visit("Result", run=run_id)
    assert_drawn(app)
    shown = text_of(app)
    assert "There is no run" in shown
    assert "<script>alert" not in shown
    assert "x" * 100 not in shown


def test_a_link_to_a_missing_run_offers_the_latest_results(measured_home):
    app = visit("Result", run="evaluate-20200101-000000-00000000")
    assert "There is no run" in text_of(app)
    assert measured_home["student"]["reference"].split("/")[-1] in text_of(app).replace("\\", "")


def pair(**query: str) -> dict[str, str]:
    references = bundled_references()
    return {"teacher": references.teacher, "student": references.student_memorizes} | query


def test_a_link_fills_the_form_and_launches_nothing(home):
    app = visit("Evaluate", **pair(num_noises="64", solver="euler", steps="7"))
    assert_drawn(app)
    assert app.text_input(key="teacher").value == bundled_references().teacher
    assert app.number_input(key="num_noises").value == 64
    assert app.selectbox(key="solver").value == "euler"
    assert "--noises 64 --solver euler --steps 7" in text_of(app)
    assert list_runs(home) == []


def test_the_cost_is_shown_before_launching():
    shown = text_of(visit("Evaluate", **pair(num_noises="1024")))
    assert "35 network calls per noise" in shown
    assert f"{2 * (1024 * 35 + 256 * (71 + 143)):,} network calls" in shown
    assert "about " in shown


BAD_INPUT = [
    ({"num_noises": "0"}, "num_noises", "number of noises is 0"),
    ({"num_noises": "1000000000"}, "num_noises", "number of noises is 1000000000"),
    ({"steps": "0"}, "steps", "number of steps is 0"),
    ({"seed": "-1"}, "seed", "seed is -1"),
    ({"teacher": "no slash"}, "teacher", "is no reference"),
    ({"student": "./no/such/folder"}, "student", "no/such/folder"),
    ({"sigma_max": "500"}, "sigma_max", "sigma_max is 500"),
    ({"sigma_min": "5", "sigma_max": "1"}, "sigma_min", "sigma_min 5.0 is not below sigma_max 1.0"),
    ({"seed": str(2**24 - 10)}, "seed", "leave the evaluation range"),
    ({"student_steps": "4"}, "student_steps", "has no steps of its own"),
    ({"teacher_revision": "main"}, "teacher_revision", "a folder has no revision"),
    ({"batch_size": "many"}, "batch_size", "give auto or a whole number"),
    ({"target_relative_error": "2"}, "target_relative_error", "between 0 and 1"),
    ({"teacher": "<img src=x onerror=alert(1)>"}, "teacher", "is no reference"),
]


@pytest.mark.parametrize(("query", "field", "sentence"), BAD_INPUT, ids=[f"{field}-{i}" for i, (_, field, _) in enumerate(BAD_INPUT)])
def test_bad_input_is_explained_once_and_never_launched(query, field, sentence, home):
    app = visit("Evaluate", **pair(**query))
    app.button(key="launch").click().run()
    assert_drawn(app)
    alerts = [element.proto.body for element in app.get("html") if 'role="alert"' in element.proto.body]
    assert len(alerts) == 1
    assert sentence in alerts[0]
    assert "<img" not in alerts[0]
    everywhere = [element for element in app.get("html") if sentence in element.proto.body]
    assert len(everywhere) == 2, f"the sentence stands below {field}, and once more beside Launch"
    assert list_runs(home) == []


def test_cuda_is_refused_beside_the_field_where_there_is_none(home, monkeypatch):
    monkeypatch.setattr("pages.forms.checks.shows_cuda", lambda: False)
    app = visit("Evaluate", **pair(device="cuda"))
    app.button(key="launch").click().run()
    assert "shows no NVIDIA GPU" in text_of(app)
    assert list_runs(home) == []


def test_an_empty_form_complains_only_once_launched(home):
    app = visit("Evaluate")
    assert 'role="alert"' not in text_of(app)
    app.button(key="launch").click().run()
    assert "the teacher is missing" in text_of(app)
    assert list_runs(home) == []


def test_launching_queues_the_run_that_the_form_describes_and_wakes_the_worker(home, monkeypatch):
    woken = []
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", woken.append)
    app = visit("Evaluate", **pair(num_noises="64"))
    app.button(key="launch").click().run()
    assert not app.exception
    [run] = list_runs(home)
    assert run.status.state == "queued"
    assert run.config == EvaluateConfig(**pair(), num_noises=64)
    assert home in woken


def test_a_bundled_pair_is_one_click():
    app = visit("Evaluate")
    app.button(key="pair-student generalizes").click().run()
    assert app.text_input(key="student").value == bundled_references().student_generalizes
    assert_drawn(app)


def test_runs_show_progress_and_can_be_cancelled_and_tried_again(home, monkeypatch):
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", lambda workspace: None)
    run = create_run(home, EvaluateConfig(**pair()), queued=True)
    app = visit("Runs")
    assert_drawn(app)
    assert "queued" in text_of(app)
    app.button(key=f"cancel-{run.id}").click().run()
    assert run.status.state == "cancelled"
    app = visit("Runs")
    app.button(key=f"retry-{run.id}").click().run()
    assert run.status.state == "queued"


def test_a_failed_run_shows_its_sentence_as_it_stands(home):
    run = create_run(home, EvaluateConfig(**pair()), queued=True)
    message = "the student <b>holds</b> NaN: [use](http://elsewhere) another"
    run.write_status(run.status.model_copy(update={"state": "failed", "message": message, "exit_code": 1}))
    for app in (visit("Runs"), visit("Result", run=run.id)):
        assert_drawn(app)
        assert "the student &lt;b&gt;holds&lt;/b&gt; NaN: [use](http://elsewhere) another" in text_of(app)


def test_a_damaged_run_folder_does_not_take_the_page_down(home):
    run = create_run(home, EvaluateConfig(**pair()), queued=True)
    (run.path / "config.json").write_text("{")
    (run.path / "status.json").write_text("not json")
    with EventLog(run.events_path) as log:
        log.append({"type": "measurement", "value": "NaN"})
    for page in ("Home", "Runs"):
        assert_drawn(visit(page))


def test_checkpoints_tells_what_a_model_is_and_takes_it_to_the_form():
    app = visit("Checkpoints", reference=bundled_references().teacher)
    assert_drawn(app)
    assert "This model can be measured" in text_of(app)
    assert "1.66 M" in text_of(app)
    assert "1×8×8" in text_of(app)
    assert app.button(key="use_teacher")


def test_checkpoints_says_why_a_model_cannot_be_used(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.pkl").write_bytes(b"x")
    app = visit("Checkpoints", reference=str(tmp_path / "model"))
    assert_drawn(app)
    assert "cannot be measured" in text_of(app) or 'role="alert"' in text_of(app)


@pytest.mark.parametrize("page", PAGES)
def test_an_unexpected_error_is_one_sentence_and_its_details_are_logged(page, monkeypatch, caplog, home):
    create_run(home, EvaluateConfig(**pair()), queued=True)

    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("secret detail")

    targets = {
        "Home": "pages.reads.store.latest_results",
        "Evaluate": "pages.forms.form.Form.read",
        "Distill": "pages.forms.form.Form.read",
        "Runs": "pages.widgets.progress.bar",
        "Result": "pages.reads.store.read_result",
        "Checkpoints": "pages.forms.models.bundled_choices",
        "Sweep": "pages.forms.form.Form.read",
        "Methods": "pfd_engine.flow.gaussian_example.measure",
        "Compare": "pfd_engine.store.queries.images.students_with_images",
    }
    monkeypatch.setattr(targets[page], fail)
    app = visit(page, run="x")
    assert not app.exception
    assert len(app.error) == 1
    assert "could not be drawn" in app.error[0].value
    assert "secret detail" not in app.error[0].value
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("page", PAGES)
def test_the_demo_is_read_only(page, measured_home, home, monkeypatch):
    monkeypatch.setenv("PFD_MODE", "demo")
    app = visit(page, **pair(run=measured_home["run_id"], reference=bundled_references().teacher))
    assert_drawn(app)
    assert "launch" not in [button.key for button in app.button]
    assert "The student memorizes" not in text_of(app)
    assert not home.database.exists()
    if page in ("Evaluate", "Runs", "Checkpoints"):
        assert "read-only demo" in text_of(app)
    if page == "Evaluate":
        assert "python -m pfd_engine evaluate" in text_of(app)


def test_the_numbers_of_a_borrowed_database_come_from_the_run_folders(measured_home, home):
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfrom pfd_engine.store.database import Store\nfrom pfd_engine.workspace import Workspace\n"
         "store = Store(Workspace.from_environment(), None)\nprint('held', flush=True)\nsys.stdin.read()"],
        cwd=REPOSITORY, env=os.environ | {"PFD_HOME": str(home.root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"held\n"
        app = visit("Result", run=measured_home["run_id"])
        assert_drawn(app)
        assert "Another process owns the workspace database" in text_of(app)
        assert "The student memorizes" in text_of(app)
    finally:
        holder.communicate(timeout=20)


def test_pages_import_only_what_they_may():
    for path in [REPOSITORY / "app.py", *(REPOSITORY / "pages").rglob("*.py")]:
        text = path.read_text()
        assert ":material/" not in text, path
        assert "unsafe_allow_html" not in text, path
        assert "import torch" not in text, path
    for path in (REPOSITORY / "pfd_engine").rglob("*.py"):
        assert "streamlit as" not in path.read_text(), path
    assert Path("pages/frame/page.py").is_file()


def alerts_of(app: AppTest) -> list[str]:
    return [element.proto.body for element in app.get("html") if 'role="alert"' in element.proto.body]


def advanced_is_open(app: AppTest) -> bool:
    [advanced] = [block for block in app.expander if block.label == "Advanced"]
    return bool(advanced.proto.expanded)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sigma_min", "0.5"), ("seed", "-1"), ("student_steps", "4"), ("batch_size", "many"), ("target_relative_error", "2")],
)
def test_advanced_is_open_where_the_link_sets_one_of_its_fields(field, value):
    assert not advanced_is_open(visit("Evaluate", **pair()))
    assert advanced_is_open(visit("Evaluate", **pair(**{field: value})))


def test_a_problem_in_an_advanced_field_opens_it_and_is_repeated_beside_launch():
    app = visit("Evaluate", **pair())
    app.number_input(key="sigma_max").set_value(500.0).run()
    app.button(key="launch").click().run()
    assert advanced_is_open(app)
    assert len([element for element in app.get("html") if "sigma_max is 500" in element.proto.body]) == 2
    assert len(alerts_of(app)) == 1


@pytest.mark.parametrize(
    ("field", "asked", "used"),
    [
        ("num_noises", "1e400", "1024 is used"),
        ("num_noises", "inf", "1024 is used"),
        ("num_noises", "abc", "1024 is used"),
        ("num_noises", "12.5", "1024 is used"),
        ("sigma_max", "nan", "the field is left empty"),
        ("solver", "rk4", "heun is used"),
        ("descriptor", "nope", "pixel is used"),
        ("device", "tpu", "auto is used"),
    ],
)
def test_a_link_that_asks_for_what_no_field_accepts_is_told_so(field, asked, used):
    app = visit("Evaluate", **pair(**{field: asked}))
    assert_drawn(app)
    [note] = [caption.value for caption in app.caption if "he link asked for" in caption.value]
    assert asked in note.replace("\\", "")
    assert used in note
    app.text_input(key="steps").set_value("7").run()
    assert "he link asked for" in text_of(app)
    if field == "num_noises":
        app.number_input(key=field).set_value(64).run()
        assert "he link asked for" not in text_of(app)


def test_the_time_of_another_descriptor_names_its_network():
    assert "plus the descriptor network" not in text_of(visit("Evaluate", **pair()))
    assert "plus the descriptor network" in text_of(visit("Evaluate", **pair(descriptor="dinov2")))


def test_a_descriptor_that_is_a_file_asks_for_it_and_for_consent_before_launch(tmp_path, home):
    app = visit("Evaluate", **pair(descriptor="sscd", allow_torchscript="true"))
    app.button(key="launch").click().run()
    assert "give its path" in alerts_of(app)[0]
    file = tmp_path / "sscd.pt"
    file.write_bytes(b"weights")
    app.text_input(key="descriptor_file").set_value(str(file)).run()
    assert not alerts_of(app)  # nobody has filled it in yet
    app.button(key="launch").click().run()
    assert "sha256 is missing" in alerts_of(app)[0]
    app.text_input(key="descriptor_sha256").set_value("0" * 64).run()
    assert "not the one given" in alerts_of(app)[0]
    app.text_input(key="descriptor_sha256").set_value(hashlib.sha256(b"weights").hexdigest()).run()
    assert "tick “Allow TorchScript" in alerts_of(app)[0]  # a link cannot consent
    assert "--allow" not in alerts_of(app)[0]
    app.checkbox(key="allow_torchscript").check().run()
    assert not alerts_of(app)
    app.selectbox(key="descriptor").set_value("pixel").run()
    assert "--descriptor-file" not in text_of(app)
    assert list_runs(home) == []


def test_a_training_set_of_another_shape_is_refused_beside_its_field(home, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    described = json.loads((Path(bundled_references()[1]) / "training_set.json").read_text())
    (folder / "training_set.json").write_text(json.dumps(described | {"shape": [1, 16, 16]}))
    app = visit("Evaluate", **pair(training_set=str(folder)))
    app.button(key="launch").click().run()
    alerts = [element.proto.body for element in app.get("html") if 'role="alert"' in element.proto.body]
    assert any("holds samples of 1x16x16 but the models make 1x8x8" in alert for alert in alerts)
    assert not list_runs(home)


def test_a_training_set_that_is_not_on_the_hub_is_refused_beside_its_field(home, monkeypatch):
    def missing(reference, **options):
        raise InputError(f"there is no data set {reference} on the Hub")

    monkeypatch.setattr("pfd_engine.hub.resolve.resolve", missing)
    app = visit("Evaluate", **pair(training_set="nobody/nothing"))
    app.button(key="launch").click().run()
    assert "there is no data set nobody/nothing" in alerts_of(app)[0]
    assert list_runs(home) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_workspace_that_cannot_be_written_is_named_on_every_page(page, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PFD_HOME", str(tmp_path / "file" / "home"))
    app = visit(page, **(pair() if page == "Evaluate" else {}))
    assert_drawn(app)
    [sentence] = alerts_of(app)
    assert str(tmp_path / "file" / "home") in sentence
    assert "PFD_HOME" in sentence
    if page == "Evaluate":
        app.button(key="launch").click().run()
        assert_drawn(app)
        assert "cannot be written" in alerts_of(app)[-1]
    assert "Traceback" not in caplog.text


def test_warnings_stand_beside_the_numbers_and_mark_the_card(measured_home, home):
    [run] = list_runs(home)
    sentence = "the solver's own error, about 0.2, is larger than half the interval's width"
    with EventLog(run.events_path) as log:
        log.append({"type": "result", "result": measured_home | {"warnings": [sentence]}})
    app = visit("Result", run=run.id)
    [warned] = [element.proto.body for element in app.get("html") if 'class="warnings"' in element.proto.body]
    assert "The solver&#x27;s own error, about 0.2" in warned
    assert "1 warning]" in text_of(visit("Home"))


def test_what_is_not_the_default_tells_results_of_one_pair_apart():
    from pages.widgets.html import settings
    from pages.widgets.result import Summary

    assert settings({"solver": "heun", "steps": 18, "seed": 0, "descriptor": "pixel", "student_steps": None}) == ""
    told = settings({"solver": "euler", "steps": 1, "seed": 512, "descriptor": "inception", "student_steps": 4})
    assert told == "student takes 4 steps · euler, 1 step · seeds from 512 · compared by inception"
    revisions = {"student": "sha256:" + "a" * 64, "teacher": "b" * 40}
    summary = Summary("run", "t", "s", {}, "pixel", None, 64, None, "workspace", {"seed": 5}, revisions)
    assert summary.apart == "seeds from 5 · revisions aaaaaaa against bbbbbbb"


def test_the_command_of_a_result_is_pinned_to_the_commits_that_were_measured(measured_home):
    from pages.reads.store import read_result
    from pages.widgets.provenance import command

    result = read_result(measured_home["run_id"])
    config = result.config.model_copy(update={"teacher": "owner/teacher@main", "student": "./folder"})
    details = {"teacher": {"revision": "c" * 40}, "student": {"revision": "sha256:" + "d" * 64}}
    assert f"--teacher owner/teacher@{'c' * 40} --student ./folder" in command(replace(result, config=config, details=details))


def test_the_list_of_results_links_with_the_run_in_the_address(measured_home):
    assert f'href="?run={measured_home["run_id"]}"' in text_of(visit("Result"))


def test_a_run_whose_folder_was_deleted_is_said_to_be_gone(home, monkeypatch):
    run = create_run(home, EvaluateConfig(**pair()), queued=True)
    shutil.rmtree(run.path)
    run.path.mkdir()
    app = visit("Result", run=run.id)
    assert_drawn(app)
    assert "is gone" in text_of(app)
    assert "None" not in text_of(app)


def test_a_run_without_a_readable_configuration_cannot_be_tried_again_and_hides_no_other(home, monkeypatch):
    damaged, good = (create_run(home, EvaluateConfig(**pair(), seed=seed), queued=True) for seed in (0, 5))
    (damaged.path / "config.json").write_text("{")
    for run in (damaged, good):
        run.cancel()
    keys = [button.key for button in visit("Runs").button]
    assert f"retry-{damaged.id}" not in keys
    assert f"retry-{good.id}" in keys

    from pages.widgets import progress

    def fail_once(status, seen=[]):  # noqa: B006  it counts its own calls
        seen.append(status)
        if len(seen) == 1:
            raise ZeroDivisionError

    monkeypatch.setattr(progress, "bar", fail_once)
    app = visit("Runs")
    assert len(app.error) == 1
    assert len(app.expander) == 1


def test_checkpoints_offers_no_few_step_model_as_teacher_and_guesses_no_kind_of_map(monkeypatch):
    from pfd_engine.models.inspect import CheckpointInfo

    infos = {
        "./few": CheckpointInfo(reference="./few", family="consistency", few_step=True, steps=1, loadable=True),
        "./unreadable": CheckpointInfo(reference="./unreadable", reason="it holds pickles"),
    }
    monkeypatch.setattr("pages.forms.models.inspect_checkpoint", infos.__getitem__)
    app = visit("Checkpoints", reference="./few")
    assert [button.key for button in app.button if button.key.startswith("use_")] == ["use_student"]
    assert "few-step student, 1 step<" in text_of(app)
    assert "probability flow ODE" not in text_of(visit("Checkpoints", reference="./unreadable"))


def test_numbers_of_one_row_of_the_wall_share_their_decimals():
    from pages.widgets.wall import Pair, wall

    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + (8).to_bytes(4, "big") + (8).to_bytes(4, "big")
    drawn = wall([Pair(seed, "median", distance, png, png) for seed, distance in enumerate((1.7, 1.694, 0.9))])
    assert all(f"<figcaption>{text}</figcaption>" in drawn for text in ("1.70", "1.69", "0.90"))


def test_negative_numbers_have_a_proper_minus_sign():
    from pages.widgets import html as words

    assert words.with_interval(-0.5, -0.6, -0.4) == "−0.500 [−0.600, −0.400]"
    assert words.spelled_interval(-0.6, 0.4) == "95 % interval\n−0.60 to 0.40"


def test_a_result_shows_rp_and_m_scores_with_their_intervals_where_they_exist(home):
    run = finished_run(home, a_config(descriptor="sscd", descriptor_file="sscd.pt", descriptor_sha256="a" * 64))
    for metric, value in (("RP", 0.5), ("M", 0.25)):
        append_raw(run, measurement(metric=metric, value=value, stderr=None, ci_low=value - 0.1, ci_high=value + 0.1))
    shown = text_of(visit("Result", run=run.id))
    assert "<dt>RP score</dt><dd>50 %<small>95 % interval<br>40 to 60 %" in shown
    assert "<dt>M score</dt><dd>25 %<small>95 % interval<br>15 to 35 %" in shown
    assert "copy a training image" in shown
    assert "RP score" not in text_of(visit("Result", run=finished_run(home).id))
