"""The pages of a server that allows launching, as its users see them: asked again at the moment of a click, own runs alone to change."""

import pytest

from pfd_engine.jobs.launch import audit_path, launch
from pfd_engine.runs.folder import list_runs
from tests.run_samples import a_config
from tests.test_pages import assert_drawn, home, pair, text_of, visit  # noqa: F401  a fixture

ANN, BOB = "ann@example.org", "bob@lab.edu"


@pytest.fixture
def as_user(home, monkeypatch):  # noqa: F811
    """A server with users; call it with who looks at the next pages."""
    monkeypatch.setenv("PFD_MODE", "hosted")
    monkeypatch.setenv("PFD_ALLOWED_USERS", f"{ANN} {BOB}")
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", lambda workspace: False)

    def become(user):
        monkeypatch.setattr("pages.frame.sign_in.visitor", lambda: user)

    return become


def test_the_policy_is_asked_when_launch_is_clicked_not_only_when_it_is_drawn(as_user, home, monkeypatch):  # noqa: F811
    as_user(ANN)
    app = visit("Evaluate", **pair(num_noises="16"))
    assert app.button(key="launch")
    monkeypatch.setenv("PFD_MAX_SECONDS_PER_DAY", "0")
    app.button(key="launch").click().run()
    assert "took the 0 seconds that this server allows" in text_of(app)
    assert list_runs(home) == []
    monkeypatch.delenv("PFD_MAX_SECONDS_PER_DAY")
    app.button(key="launch").click().run()
    assert [run.owner for run in list_runs(home)] == [ANN]
    assert audit_path(home).read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("Evaluate", pair(student="/etc")),
        ("Distill", {"teacher": "./elsewhere", "size": "mlp-32"}),
        ("Sweep", {"teacher": "~/teacher", "sweep_sizes": "mlp-32", "sweep_num_samples": "16"}),
    ],
)
def test_a_folder_in_any_form_is_refused_without_being_looked_at(as_user, home, page, fields):  # noqa: F811
    as_user(ANN)
    app = visit(page, **fields)
    app.button(key="launch").click().run()
    assert "is a folder, and this server takes none from visitors" in text_of(app)
    assert "there is no folder" not in text_of(app)
    assert list_runs(home) == []


def test_checkpoints_of_the_host_s_folders_are_not_looked_up(as_user):
    as_user(ANN)
    assert "looks no folders up" in text_of(visit("Checkpoints", reference="/etc"))
    assert "This model can be measured" in text_of(visit("Checkpoints", reference=pair()["teacher"]))
    as_user(None)
    app = visit("Checkpoints", reference=pair()["teacher"])
    assert "can be measured" not in text_of(app).replace("whether it can be measured", "")
    assert "Launching needs sign-in" in text_of(app)


@pytest.mark.parametrize(("user", "buttons"), [(ANN, True), (BOB, False), (None, False)])
def test_runs_offer_to_cancel_and_show_their_log_to_the_one_who_launched_them(as_user, home, user, buttons):  # noqa: F811
    run = launch(home, a_config(), ANN)
    run.log_path.write_text("a line of the log")
    as_user(user)
    app = visit("Runs")
    assert_drawn(app)
    assert "python -m pfd_engine evaluate" not in text_of(app)
    app.session_state[f"more-{run.id}"] = True  # the command and the log are read once somebody opens them
    assert_drawn(app.run())
    assert (f"cancel-{run.id}" in [button.key for button in app.button]) is buttons
    assert ("a line of the log" in text_of(app)) is buttons
    assert "python -m pfd_engine evaluate" in text_of(app)
    assert ANN not in text_of(app)
    if buttons:
        app.button(key=f"cancel-{run.id}").click().run()
        assert run.status.state == "cancelled"


@pytest.mark.parametrize("page", ["Home", "Evaluate", "Distill", "Sweep", "Runs", "Result", "Checkpoints", "Methods"])
def test_every_page_draws_for_a_visitor_who_has_not_signed_in_and_writes_nothing(as_user, home, page):  # noqa: F811
    as_user(None)
    app = visit(page)
    assert_drawn(app)
    assert "launch" not in [button.key for button in app.button]
    assert not home.runs.exists()


def test_a_host_whose_list_is_no_list_says_so_and_launches_nothing(as_user, home, monkeypatch):  # noqa: F811
    as_user(ANN)
    monkeypatch.setenv("PFD_ALLOWED_USERS", "everybody")
    app = visit("Evaluate", **pair())
    assert "PFD_ALLOWED_USERS names &#x27;everybody&#x27;" in text_of(app)
    assert "launch" not in [button.key for button in app.button]
