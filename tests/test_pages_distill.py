"""The Distill form and a distillation's result, driven without a browser: what they offer and refuse, and every objective to its wall."""

import json

import pytest

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.errors import InputError
from pfd_engine.models.bundled import bundled_references
from pfd_engine.runs.folder import create_run, list_runs
from pfd_engine.workspace import Workspace
from tests.run_processes import call
from tests.test_pages import advanced_is_open, alerts_of, assert_drawn, home, text_of, visit  # noqa: F401  home is a fixture

TINY = {
    "size": "mlp-32", "num_samples": "16", "distill_steps": "12", "distill_batch_size": "8", "num_noises": "24", "solver_steps": "3",
}  # fmt: skip


def asked(**query: str) -> dict[str, str]:
    return {"teacher": bundled_references().teacher} | query


def test_a_link_fills_the_form_and_launches_nothing(home):  # noqa: F811
    query = asked(objective="consistency", size="mlp-256", num_samples="300", distill_steps="40", distill_student_steps="2", flips="true")
    app = visit("Distill", **query, learning_rate="0.002", schedule="constant", ema="power", distill_seed="3")
    assert_drawn(app)
    assert app.selectbox(key="objective").value == "consistency"
    assert app.selectbox(key="size").value == "mlp-256"
    assert app.number_input(key="distill_steps").value == 40
    assert app.checkbox(key="flips").value is True
    command = "--size mlp-256 --objective consistency --num-samples 300 --steps 40 --seed 3 --student-steps 2 --learning-rate 0.002"
    assert f"{command} --schedule constant --ema power --flips" in text_of(app)
    assert list_runs(home) == []


def test_every_setting_goes_into_the_link_and_comes_out_of_the_form_again():
    from pages.forms.launch import DISTILL_FORM, form_link

    changed = {
        "teacher": bundled_references().teacher, "size": "mlp-64", "objective": "progressive", "num_samples": 99, "steps": 77, "seed": 5,
        "first_seed": 2**30 + 7, "student_steps": 4, "output": "./made", "init": "random", "batch_size": 16, "learning_rate": 0.01,
        "schedule": "constant", "warmup_steps": 3, "clip_norm": 2.0, "ema": "power", "ema_decay": 0.9, "ema_width": 0.1, "p_mean": -1.0,
        "p_std": 1.1, "sigma_data": 0.4, "dropout": 0.1, "flips": True, "checkpoints": 4, "device": "cpu", "solver": "euler",
        "solver_steps": 9, "num_noises": 64, "descriptor": "dinov2",
    }  # fmt: skip
    left_out = set(DistillConfig.model_fields) - set(changed) - {"kind"}
    assert left_out == {"precision", "compile"}  # for GPUs
    config = DistillConfig(**changed)
    page, fields = form_link(json.loads(config.canonical))
    assert page == "pages/distill.py"
    app = visit("Distill", **fields)
    assert_drawn(app)
    assert config.command() in [code.value for code in app.code]
    assert set(DISTILL_FORM.renamed) < set(changed)


def test_sizes_come_with_parameters_and_memory_for_the_teachers_samples():
    shown = text_of(visit("Distill", **asked(size="mlp-128")))
    row = '<tr aria-current="true"><td>mlp-128</td><td>121 k</td>'
    assert row in shown
    assert shown.count("<tr") >= 9
    assert "batch of 128" in shown
    assert "batch of 512" in text_of(visit("Distill", **asked(distill_batch_size="512")))
    assert "<td>unet-64</td><td>6.47 M</td>" in text_of(visit("Distill", **asked(size="unet-64")))


def test_the_cost_is_shown_before_launching():
    shown = text_of(visit("Distill", **asked(num_samples="256", distill_steps="100")))
    for part in ("121 k parameters", f"{256 * 35:,} teacher calls", "12,800", "about 3.4 MB to train", "Time"):
        assert part in shown, part


def test_presets_follow_the_objective():
    app = visit("Distill", **asked())
    assert app.number_input(key="num_samples").proto.placeholder == "1,024"
    assert not [field for field in app.number_input if field.key == "distill_student_steps"]
    app.selectbox(key="objective").set_value("distribution-matching").run()
    assert app.number_input(key="num_samples").proto.placeholder == "4,096"
    assert app.number_input(key="distill_student_steps").proto.placeholder == "4"
    assert "coupling and distribution together" in text_of(app)
    assert_drawn(app)


BAD_INPUT = [
    ({"num_samples": "0"}, "number of samples is 0"),
    ({"num_samples": "100000000"}, "number of samples is 100000000"),
    ({"learning_rate": "0"}, "learning rate is 0.0"),
    ({"distill_steps": "0"}, "number of training steps is 0"),
    ({"distill_steps": "10", "warmup_steps": "10"}, "warmup steps is 10 of 10"),
    ({"first_seed": "5"}, "leave the training range"),
    ({"dropout": "1"}, "dropout is 1.0"),
    ({"teacher": "no slash"}, "is no reference"),
    ({"teacher": "./no/such/folder"}, "no/such/folder"),
    ({"teacher_revision": "main"}, "a folder has no revision"),
    ({"size": "unet-192", "distill_batch_size": "65536"}, "of memory are free on this machine"),
    ({"output": "/dev/null"}, "output is /dev/null"),
    ({"precision": "bfloat16"}, "shows no NVIDIA GPU"),
    ({"compile": "true"}, "shows no NVIDIA GPU"),
    ({"device": "cuda"}, "shows no NVIDIA GPU"),
    ({"teacher": "<img src=x onerror=alert(1)>"}, "is no reference"),
]


@pytest.mark.parametrize(("query", "sentence"), BAD_INPUT, ids=[sentence for _, sentence in BAD_INPUT])
def test_bad_input_is_explained_beside_its_field_and_never_launched(query, sentence, home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pages.forms.checks.shows_cuda", lambda: False)
    app = visit("Distill", **asked(**query))
    app.button(key="launch").click().run()
    assert_drawn(app)
    [alert] = alerts_of(app)
    assert sentence in alert
    assert "<img" not in alert
    repeats = [element for element in app.get("html") if 'class="field-error repeated"' in element.proto.body]
    assert len(repeats) == 1  # beside Launch too, so the first one stands beside a field
    folded = {"learning_rate", "warmup_steps", "first_seed", "dropout", "output", "precision", "compile", "device"}
    assert advanced_is_open(app) == bool(folded & set(query) or "distill_batch_size" in query)
    assert list_runs(home) == []


@pytest.mark.parametrize(
    ("field", "value", "used"),
    [
        ("objective", "gan", "samples is used"),
        ("size", "mlp-100", "mlp-128 is used"),
        ("num_samples", "many", "the field is left empty"),
        ("learning_rate", "inf", "the field is left empty"),
        ("flips", "perhaps", "False is used"),
        ("distill_descriptor", "sscd", "pixel is used"),
        ("distill_steps", "1.5", "the field is left empty"),
    ],
)
def test_a_link_that_asks_for_what_no_field_accepts_is_told_so(field, value, used):
    app = visit("Distill", **asked(**{field: value}))
    assert_drawn(app)
    [note] = [caption.value for caption in app.caption if "he link asked for" in caption.value]
    assert value in note.replace("\\", "")
    assert used in note.replace("\\", "")


def test_a_few_step_teacher_is_refused(tmp_path):
    from pfd_engine.flow.few_step_sampler import FewStepSampler
    from tests.test_distill_run import save_teacher

    folder = save_teacher(tmp_path / "few", sampler=FewStepSampler(kind="consistency", levels=(80.0,), steps=1))
    app = visit("Distill", teacher=str(folder))
    assert "is a few-step map, which has no denoiser to follow" in alerts_of(app)[0]


def test_evaluate_refuses_a_few_step_teacher_in_the_form_as_on_the_command_line(tmp_path):
    from pfd_engine.configs.evaluate import EvaluateConfig
    from pfd_engine.evaluation.prepare import prepare
    from pfd_engine.flow.few_step_sampler import FewStepSampler
    from tests.test_distill_run import save_teacher

    folder = str(save_teacher(tmp_path / "few", sampler=FewStepSampler(kind="consistency", levels=(80.0,), steps=1)))
    (said,) = alerts_of(visit("Evaluate", teacher=folder, student=bundled_references().student_memorizes))
    with pytest.raises(InputError) as refused:
        prepare(EvaluateConfig(teacher=folder, student=bundled_references().student_memorizes), Workspace(tmp_path / "home"))
    assert str(refused.value) in said


def test_the_bundled_teacher_is_one_click_and_goes_along_to_the_other_form():
    app = visit("Distill")
    app.button(key="pick-teacher").click().run()
    assert app.text_input(key="teacher").value == bundled_references().teacher
    app.number_input(key="distill_steps").set_value(40).run()
    app.switch_page("pages/evaluate.py").run()
    assert_drawn(app)
    assert app.text_input(key="teacher").value == bundled_references().teacher
    assert app.text_input(key="steps").value == "18"  # training steps are not the solver's


def test_an_empty_form_complains_only_once_launched(home):  # noqa: F811
    app = visit("Distill")
    assert alerts_of(app) == []
    app.button(key="launch").click().run()
    assert "the teacher is missing" in alerts_of(app)[0]
    assert list_runs(home) == []


def test_the_demo_explains_shows_the_command_and_launches_nothing(home, monkeypatch):  # noqa: F811
    monkeypatch.setenv("PFD_MODE", "demo")
    app = visit("Distill", **asked(num_samples="64"))
    assert_drawn(app)
    assert "launch" not in [button.key for button in app.button]
    shown = text_of(app)
    assert "The command does the same on your own machine" in shown
    assert "python -m pfd_engine distill --teacher" in shown
    assert not home.root.exists()


def test_a_failed_distillation_leads_back_to_its_form(home):  # noqa: F811
    config = DistillConfig(teacher=bundled_references().teacher, size="mlp-64", objective="denoiser", num_samples=32)
    run = create_run(home, config, queued=True)
    run.write_status(run.status.model_copy(update={"state": "failed", "message": "the training loss is nan", "exit_code": 1}))
    for app in (visit("Runs"), visit("Result", run=run.id)):
        assert_drawn(app)
        assert "**mlp\\-64**, denoiser, from **assets/digits\\-teacher**" in text_of(app)
        [link] = [link for link in app.get("page_link") if link.proto.label.startswith("Change it")]
        assert link.proto.page.startswith("distill")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_goes_from_the_form_to_a_result_with_a_wall(objective, home, monkeypatch):  # noqa: F811
    woken = []
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", woken.append)
    app = visit("Distill", **asked(objective=objective, **TINY))
    assert alerts_of(app) == []
    app.button(key="launch").click().run()
    assert not app.exception
    [run] = list_runs(home)
    assert home in woken
    assert run.config == DistillConfig(
        teacher=bundled_references().teacher, size="mlp-32", objective=objective, num_samples=16, steps=12, batch_size=8, num_noises=24,
        solver_steps=3,
    )  # fmt: skip
    assert call(home.root, "worker", "--drain").returncode == 0
    assert run.status.state == "finished", run.status.message

    app = visit("Result", run=run.id)
    app.session_state["command"] = True  # opened
    app.run()
    assert_drawn(app)
    shown = text_of(app)
    few_step = OBJECTIVES[objective].few_step
    made = run.result["distillation"]
    assert shown.count("data:image/png;base64,") == 3 * 24
    for part in ("How it was trained", "N</dt><dd>16 of", objective, made["student"], "python -m pfd_engine distill"):
        assert part in shown, part
    assert f"python -m pfd_engine push {made['student']} owner/name" in shown
    assert len(app.get("plotly_chart")) == 3
    assert f"{run.result['value']:.1f}" in shown
    assert ("At 1, 2 and 4 steps of its own" in shown) == few_step
    assert shown.count("Evaluate again") == (3 if few_step else 0)
    assert "evaluate?teacher=" in shown
    lost = {"consistency": 2, "distribution-matching": 3}.get(objective, 0)  # rows of the table, two numbers in each
    assert shown.count("<small>measures coupling and distribution together</small>") == 2 * lost
    notes = [chart for chart in app.get("plotly_chart") if "coupling and distribution" in chart.proto.spec]
    assert len(notes) == (2 if objective == "distribution-matching" else 0)
    if objective == "distribution-matching":
        assert shown.count("measures coupling and distribution together") > 2 * lost + 4
        assert "measures coupling and distribution together" in text_of(visit("Home"))
    assert "mlp\\-32" in text_of(visit("Home"))


def test_numbers_of_a_distillation_are_those_of_the_student_that_was_asked_for(home):  # noqa: F811
    from pages.reads.store import latest_results

    words = ("distill", "--teacher", bundled_references().teacher, "--size", "mlp-32", "--objective", "consistency", "--num-samples", "16")
    words += ("--steps", "12", "--batch-size", "8", "--noises", "24", "--solver-steps", "3", "--json")
    answer = call(home.root, *words)
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    [summary] = latest_results(5)
    assert summary.numbers["PFD"].value == result["value"] == result["distillation"]["evaluations"][0]["value"]
    assert summary.numbers["E_mem"].value == result["memorization"]["e_mem"]
    assert not summary.loses_coupling
