"""The Sweep form and a sweep's runs, driven without a browser: what they offer and refuse, and what a finished sweep leads to."""

import json
from html import unescape

import pytest

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.sweep_files import bundled_specs, load_spec, question_of, spec_text
from pfd_engine.models.bundled import bundled_references
from pfd_engine.runs.folder import create_run, list_runs
from tests.finding_samples import finished_sweep
from tests.test_pages import alerts_of, assert_drawn, home, text_of, visit  # noqa: F401  home is a fixture


def asked(**query: object) -> dict[str, object]:
    given = {"teacher": bundled_references().teacher, "sweep_sizes": ["mlp-32", "mlp-64"]}
    given |= {"sweep_num_samples": "16, 64", "sweep_seeds": "0-2"}
    return given | query


def test_presets_come_first_with_the_question_that_each_asks():
    app = visit("Sweep")
    assert_drawn(app)
    labels = [button.label for button in app.button]
    offered = [name for name in labels if name in bundled_specs()]
    assert offered[:3] == ["bias-variance", "scaling", "training-dynamics"]
    assert sorted(offered) == bundled_specs()
    shown = text_of(app).replace("\\", "")
    assert all(question_of(name) in shown for name in bundled_specs())
    assert alerts_of(app) == []


@pytest.mark.parametrize("name", bundled_specs())
def test_a_preset_fills_the_form_with_its_spec_and_launches_nothing(home, name):  # noqa: F811
    app = visit("Sweep")
    app.button(key=f"preset-{name}").click().run()
    assert_drawn(app)
    assert f"python -m pfd_engine sweep {name}" in [code.value for code in app.code]
    assert f"{load_spec(name).num_students:,}:" in text_of(app)
    assert list_runs(home) == []


def test_a_link_fills_the_form_and_launches_nothing(home):  # noqa: F811
    app = visit("Sweep", **asked(sweep_steps="50", sweep_learning_rate="0.002", sweep_together="false", sweep_objective="denoiser"))
    assert_drawn(app)
    assert alerts_of(app) == []
    assert app.multiselect(key="sweep_sizes").value == ["mlp-32", "mlp-64"]
    assert app.number_input(key="sweep_steps").value == 50
    assert app.checkbox(key="sweep_together").value is False
    shown = text_of(app)
    assert "12: 2 sizes × 2 N × 3 seeds" in shown
    assert "600 steps in all" in shown
    assert list_runs(home) == []


def test_every_setting_goes_into_the_link_and_out_of_the_form_again():
    from pages.forms.launch import form_link
    from pages.forms.sweep_fields import SweepFields, flat_values

    config = SweepConfig.parse(
        {
            "experiment": "training-dynamics", "name": "made", "teacher": bundled_references().teacher, "sizes": ["mlp-32"],
            "num_samples": [8, 9], "seeds": [3, 5], "objective": "denoiser", "sets": "disjoint", "steps": 77, "checkpoints": 4,
            "first_checkpoint": 7, "group_size": 2, "together": False, "keep_students": False, "device": "cpu", "diagnostic_map": True,
            "training": {
                "batch_size": 64, "learning_rate": 0.01, "warmup_steps": 3, "schedule": "cosine", "ema": "power", "ema_decay": 0.9,
                "ema_width": 0.1, "p_mean": -1.0, "p_std": 1.1, "sigma_data": 0.4, "clip_norm": 2.0, "dropout": 0.1, "flips": True,
            },
            "evaluation": {"num_noises": 64, "seed": 5, "solver": "euler", "steps": 9, "descriptor": "dinov2"},
        }
    )  # fmt: skip
    same = {name for name, field in SweepFields.model_fields.items() if flat_values(config.model_dump()).get(name) == field.default}
    assert same == {"precision", "compile"}  # for GPUs
    page, fields = form_link(json.loads(config.canonical))
    assert page == "pages/sweep.py"
    app = visit("Sweep", **fields)
    assert_drawn(app)
    assert spec_text(config).strip() in [code.value for code in app.code]


BAD = {
    "an N of 0": ({"sweep_num_samples": "16, 0"}, "number of samples is 0: give 1 to 2,097,152"),
    "an N that is no number": ({"sweep_num_samples": "16, many"}, "number of samples is '16, many': give whole numbers"),
    "a range without end": ({"sweep_seeds": "0-999999999"}, "which are too many: give fewer"),
    "a learning rate of 0": ({"sweep_learning_rate": "0"}, "learning rate in [training] is 0.0: give a number above 0"),
    "a U-Net in a group": ({"sweep_sizes": ["unet-24"]}, "size unet-24 is trained one by one"),
    "no such folder": ({"teacher": "./nowhere"}, "there is no folder ./nowhere"),
    "one seed for a variance": ({"sweep_experiment": "bias-variance", "sweep_seeds": "0"}, "need at least 2 seeds"),
    "solver steps in words": (
        {"sweep_solver_steps": "many"},
        "steps in [evaluation] is 'many': give a whole number from 1 to 4,096, or auto",
    ),
    "no solver step": ({"sweep_solver_steps": "0"}, "steps in [evaluation] is 0: give a whole number"),
    "a diagnostic map without a range": (
        {"sweep_diagnostic_map": "true", "sweep_steps": "1"},
        "the diagnostic map needs a trained range: by its first measured step, 1,",
    ),
    "noises outside their range": ({"sweep_noise_seed": "16777215"}, "leave the evaluation range"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_the_words_of_the_command_line(home, name):  # noqa: F811
    query, sentence = BAD[name]
    app = visit("Sweep", **asked(**query))
    assert_drawn(app)
    assert any(sentence in unescape(alert) for alert in alerts_of(app)), alerts_of(app)
    app.button(key="launch").click().run()
    assert list_runs(home) == []


def test_solver_steps_can_be_left_to_the_sweep(home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", lambda workspace: None)
    app = visit("Sweep", **asked(sweep_solver_steps="auto"))
    assert_drawn(app)
    assert alerts_of(app) == []
    assert any('steps = "auto"' in code.value for code in app.code)
    app.button(key="launch").click().run()
    (run,) = list_runs(home)
    assert run.config.evaluation.steps == "auto"
    assert_drawn(visit("Result", run=run.id))


def test_a_size_that_a_link_makes_up_is_told():
    app = visit("Sweep", **asked(sweep_sizes=["mlp-33"]))
    assert_drawn(app)
    assert "the link asked for sizes mlp-33, which does not exist here" in text_of(app).replace("\\", "").lower()


def test_an_empty_form_says_what_is_missing_only_when_launch_is_pressed(home):  # noqa: F811
    app = visit("Sweep")
    assert alerts_of(app) == []
    app.button(key="launch").click().run()
    assert alerts_of(app)
    assert list_runs(home) == []


def test_a_demo_explains_and_launches_nothing(monkeypatch):
    monkeypatch.setenv("PFD_MODE", "demo")
    app = visit("Sweep", **asked())
    assert_drawn(app)
    shown = text_of(app)
    assert "read-only demo" in shown
    assert "12: 2 sizes" in shown
    assert not [button for button in app.button if button.key == "launch"]


def test_launch_queues_the_sweep(home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", lambda workspace: None)
    app = visit("Sweep", **asked(sweep_name="mine"))
    app.button(key="launch").click().run()
    (run,) = list_runs(home)
    assert run.config_values["name"] == "mine"
    assert run.config.num_students == 12
    assert run.status.state == "queued"


def test_a_queued_sweep_is_named_on_the_runs_page_and_followed_on_its_own(home, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", lambda workspace: None)
    run = create_run(home, load_spec("scaling"))
    shown = text_of(visit("Runs")).replace("\\", "")
    assert "violet-badge[sweep]" in shown
    assert "**scaling**, scaling, from" in shown
    assert f"{load_spec('scaling').num_students} students" in shown
    watched = visit("Result", run=run.id)
    assert_drawn(watched)
    assert "**scaling**" in text_of(watched)
    assert_drawn(visit("Home"))


def test_a_finished_sweep_says_what_is_left_out_and_leads_to_its_finding(home):  # noqa: F811
    left_out = {"failed": {"mlp-64-0": "its process ended"}, "diverged": ["mlp-32 N=16 seed 1"]}
    run = finished_sweep(home, "scaling", result=left_out)
    app = visit("Result", run=run.id)
    assert_drawn(app)
    alerts = [unescape(alert) for alert in alerts_of(app)]
    assert any("group mlp-64-0 failed and is left out: its process ended" in alert for alert in alerts)
    assert any("mlp-32 N = 16 seed 1 is left out: its numbers were not finite" in alert for alert in alerts)
    assert any(link.label == "See what it found" for link in app.get("page_link"))
