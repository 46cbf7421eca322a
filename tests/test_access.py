"""Who may launch what on a server for others, counted from the run folders, noted in the audit trail, and never with the host's token."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pfd_engine.configs.distill import DistillConfig
from pfd_engine.configs.sweep_files import load_spec
from pfd_engine.errors import InputError
from pfd_engine.hub.download import cache_folder
from pfd_engine.hub.resolve import resolve
from pfd_engine.jobs.access import (
    DAY,
    Policy,
    Used,
    check_hosted,
    for_others,
    is_bundled,
    may_change,
    may_launch,
    mode,
    normalized,
    verified_email,
)
from pfd_engine.jobs.launch import audit_path, cancel, launch, note, try_again, used
from pfd_engine.jobs.worker import Worker, _environment
from pfd_engine.models.bundled import bundled_references
from pfd_engine.runs.folder import create_run, list_runs
from pfd_engine.workspace import ASSETS, REPOSITORY, Workspace
from tests.hub_stub import HubStub
from tests.run_processes import environment
from tests.run_samples import a_config

ANN, BOB, EVE = "ann@example.org", "bob@lab.edu", "eve@elsewhere.net"
POLICY = Policy("hosted", frozenset({ANN, "@lab.edu"}), max_runs=2, max_seconds=100)
NOW = 10 * DAY


@pytest.fixture
def hosted(monkeypatch, tmp_path):
    """A server that lets Ann and everybody at lab.edu launch; no worker starts."""
    monkeypatch.setenv("PFD_MODE", "hosted")
    monkeypatch.setenv("PFD_ALLOWED_USERS", f"{ANN}, @lab.edu")
    monkeypatch.setenv("PFD_MAX_SECONDS_PER_DAY", "100")
    monkeypatch.setattr("pfd_engine.jobs.worker.ensure_worker", lambda workspace: False)
    return Workspace(tmp_path / "workspace")


def audit(workspace):
    return [json.loads(line) for line in audit_path(workspace).read_text().splitlines()]


@pytest.mark.parametrize(("asked", "found"), [(None, "local"), ("", "local"), ("local", "local"), (" Hosted ", "hosted"), ("demo", "demo")])
def test_the_mode_is_what_the_variable_names(monkeypatch, asked, found):
    (monkeypatch.delenv("PFD_MODE", raising=False) if asked is None else monkeypatch.setenv("PFD_MODE", asked))
    assert mode() == found


@pytest.mark.parametrize("asked", ["hostd", "1", "public"])
def test_a_mode_that_nobody_knows_is_the_closed_one(monkeypatch, asked):
    monkeypatch.setenv("PFD_MODE", asked)
    assert mode() == "demo"


@pytest.mark.parametrize("user", [ANN, ANN.upper(), BOB, "someone.else@LAB.edu"])
def test_addresses_and_domains_of_the_list_are_admitted(user):
    assert POLICY.admits(user)


@pytest.mark.parametrize(
    "user",
    [None, "", EVE, "bob@sub.lab.edu", "bob@lab.edu.evil.net", "x@evil.net@lab.edu", "@lab.edu", "lab.edu", "a b@lab.edu", "<b@lab.edu"],
)
def test_nobody_else_is(user):
    assert not POLICY.admits(user)
    assert not Policy("hosted").admits(user), "an empty list admits nobody"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"is_logged_in": False, "email": ANN, "email_verified": True},
        {"is_logged_in": True, "email": ANN},
        {"is_logged_in": True, "email": ANN, "email_verified": False},
        {"is_logged_in": True, "email": ANN, "email_verified": "false"},
        {"is_logged_in": True, "email": [ANN], "email_verified": True},
        {"is_logged_in": True, "email_verified": True},
        {"is_logged_in": "yes", "email": ANN, "email_verified": True},
    ],
)
def test_only_an_address_that_the_provider_verified_counts(claims):
    assert verified_email(claims) is None
    assert verified_email({"is_logged_in": True, "email": "Ann@Example.org", "email_verified": True}) == ANN


def test_an_address_in_the_list_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("PFD_MODE", "hosted")
    monkeypatch.setenv("PFD_ALLOWED_USERS", "ann@example.org everybody")
    with pytest.raises(InputError, match="'everybody': give e-mail addresses"):
        Policy.from_environment()
    monkeypatch.setenv("PFD_ALLOWED_USERS", "")
    monkeypatch.setenv("PFD_MAX_RUNS_PER_USER", "many")
    with pytest.raises(InputError, match="give a whole number"):
        Policy.from_environment()


def test_one_more_than_the_allowed_runs_at_once_waits():
    others = [Used(BOB, "running", NOW - 5)] * 5
    may_launch(POLICY, ANN, a_config(), [Used(ANN, "queued"), *others], NOW)
    with pytest.raises(InputError, match="2 of your runs wait or run, and this server allows 2 at once"):
        may_launch(POLICY, ANN, a_config(), [Used(ANN, "queued"), Used(ANN, "running", NOW - 5), *others], NOW)


def test_seconds_count_for_a_day_and_only_those_of_the_user():
    ended = [
        Used(ANN, "finished", NOW - 3000, NOW - 2970),  # 30 s
        Used(ANN, "failed", NOW - DAY - 50, NOW - DAY + 20),  # 20 s of it today
        Used(ANN, "cancelled", NOW - 2 * DAY, NOW - 1.5 * DAY, earlier=999),
        Used(BOB, "finished", NOW - 500, NOW),
    ]
    assert may_launch(POLICY, ANN, a_config(), ended, NOW) == pytest.approx(50)
    ended.append(Used(ANN, "finished", NOW - 100, NOW - 90, earlier=40))
    with pytest.raises(InputError, match="took the 100 seconds that this server allows"):
        may_launch(POLICY, ANN, a_config(), ended, NOW)


def test_a_local_server_limits_nobody_and_a_demo_launches_nothing():
    assert may_launch(Policy("local"), None, a_config(student="./anything"), [Used(ANN, "running", 0.0)] * 9, NOW) is None
    with pytest.raises(InputError, match="read-only demo"):
        may_launch(Policy("demo", frozenset({ANN})), ANN, a_config(), [], NOW)


@pytest.mark.parametrize(
    "path", ["/etc", "./x", "../x", "~/x", "~root/x", f"{ASSETS}/digits-teacher/..", f"{ASSETS}/../distill", "./pfd_engine/assets"]
)
@pytest.mark.parametrize("field", ["teacher", "student", "training_set"])
def test_folders_are_refused_beside_their_field(monkeypatch, path, field):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(InputError, match="is a folder, and this server takes none from visitors") as caught:
        check_hosted(a_config(**{field: path}))
    assert caught.value.field == field


def test_bundled_models_and_repositories_are_not(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    references = bundled_references()
    check_hosted(a_config(teacher=references.teacher, student=references.student_memorizes, training_set="owner/set"))
    check_hosted(load_spec("scaling"))
    assert not is_bundled(f"{references.teacher}\0")


def test_paths_and_code_in_other_fields_are_refused_too():
    distill = {"teacher": "owner/name", "size": "mlp-32"}
    with pytest.raises(InputError, match="the output is a path"):
        check_hosted(DistillConfig.parse(distill | {"output": "relative/folder"}))
    with pytest.raises(InputError, match="the descriptor file is a path"):
        check_hosted(a_config(descriptor_file="weights.pt"))
    with pytest.raises(InputError, match="TorchScript"):
        check_hosted(a_config(allow_torchscript=True))
    with pytest.raises(InputError, match="the teacher is a folder"):
        check_hosted(load_spec("scaling").model_copy(update={"teacher": "/home"}))


def test_a_launch_keeps_who_launched_it_and_leaves_a_line(hosted):
    run = launch(hosted, a_config(), "Ann@example.org")
    assert run.owner == ANN
    assert run.launched["seconds"] == pytest.approx(100)
    assert ANN not in (run.path / "config.json").read_text()
    assert ANN not in (run.path / "status.json").read_text()
    [row] = audit(hosted)
    assert (row["user"], row["action"], row["run"], row["outcome"]) == ("Ann@example.org", "launch", run.id, "done")
    assert time.strptime(row["time"], "%Y-%m-%dT%H:%M:%SZ")
    assert (audit_path(hosted).stat().st_mode & 0o077) == 0


@pytest.mark.parametrize("user", [None, EVE])
def test_a_refused_launch_makes_no_run_and_leaves_a_line(hosted, user):
    with pytest.raises(InputError, match=r"sign-in|not on this server's list"):
        launch(hosted, a_config(), user)
    assert list_runs(hosted) == []
    [row] = audit(hosted)
    assert row["user"] == (user or "nobody")
    assert row["outcome"].startswith("refused: ")


def test_limits_are_counted_from_the_folders_and_survive_a_restart(hosted):
    first, _ = launch(hosted, a_config(), ANN), launch(hosted, a_config(seed=1), ANN)
    with pytest.raises(InputError, match="at once"):
        launch(hosted, a_config(seed=2), ANN)
    launch(hosted, a_config(seed=2), BOB)
    now = time.time()
    first.write_status(first.status.model_copy(update={"state": "finished", "started": now - 101, "finished": now}))
    with pytest.raises(InputError, match="last 24 hours"):
        launch(hosted, a_config(seed=3), ANN)
    assert [row["outcome"].partition(":")[0] for row in audit(hosted)] == ["done", "done", "refused", "done", "refused"]


def test_two_launches_at_the_same_moment_do_not_both_pass_the_limit(hosted, monkeypatch):
    monkeypatch.setenv("PFD_MAX_RUNS_PER_USER", "1")
    script = (
        "import sys, pfd_engine.jobs.launch as l\nfrom pfd_engine.workspace import Workspace\nfrom tests.run_samples import a_config\n"
        "l.worker.ensure_worker = lambda w: False\n"
        "l.launch(Workspace.from_environment(), a_config(seed=int(sys.argv[1])), 'ann@example.org')"
    )
    monkeypatch.setenv("PFD_HOME", str(hosted.root))
    started = [subprocess.Popen([sys.executable, "-c", script, str(k)], cwd=REPOSITORY, stderr=subprocess.DEVNULL) for k in range(4)]
    assert sorted(process.wait(60) == 0 for process in started) == [False, False, False, True]
    assert len(list_runs(hosted)) == 1
    assert len(audit(hosted)) == 4


def test_only_the_one_who_launched_a_run_cancels_it_or_tries_it_again(hosted):
    run = launch(hosted, a_config(), ANN)
    for user in (BOB, EVE, None):
        with pytest.raises(InputError, match=r"somebody else|not on this|sign-in"):
            cancel(run, user)
    assert run.status.state == "queued"
    cancel(run, ANN)
    assert run.status.state == "cancelled"
    with pytest.raises(InputError, match="somebody else"):
        try_again(run, BOB)
    try_again(run, ANN)
    assert run.status.state == "queued"
    assert not may_change(POLICY, ANN, None), "a run of the host's own is nobody's"
    assert [row["action"] for row in audit(hosted)] == ["launch", *["cancel"] * 4, "retry", "retry"]


def test_trying_again_does_not_forget_the_seconds_of_earlier_attempts(hosted):
    run = launch(hosted, a_config(), ANN)
    now = time.time()
    for spent in (60, 120):
        run.write_status(run.status.model_copy(update={"state": "failed", "started": now - 60, "finished": now}))
        if spent == 60:
            try_again(run, ANN)
            assert used(hosted)[0].seconds_since(now - DAY, now) == pytest.approx(60)
            assert run.launched["seconds"] == pytest.approx(40)
    with pytest.raises(InputError, match="last 24 hours"):
        try_again(run, ANN)


def test_a_line_of_the_audit_trail_is_one_line_whatever_it_tells(hosted):
    note("x\ny@z", "launch", None, "refused: \n{}\u2028" + "x" * 5000, hosted)
    [row] = audit(hosted)
    assert row["user"] == "x\ny@z"
    assert len(row["outcome"]) == 300


def test_a_run_that_takes_more_than_its_user_has_left_is_stopped(hosted, monkeypatch):
    hosted.root.mkdir()
    for name, value in environment(hosted.root, stand_in=True).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pfd_engine.jobs.worker.BUSY_SECONDS", 0.05)
    run = create_run(hosted, a_config(student="test/slow"), launched={"user": ANN, "seconds": 0.3})
    began = time.monotonic()
    assert Worker(hosted).serve(drain=True)
    assert run.status.state == "cancelled"
    assert time.monotonic() - began < 15


def test_a_visitor_s_run_of_bundled_models_finishes_without_any_account_on_the_hub(hosted, monkeypatch):
    monkeypatch.setenv("PFD_HOME", str(hosted.root))
    monkeypatch.chdir(REPOSITORY)
    references = bundled_references()
    run = launch(hosted, a_config(teacher=references.teacher, student=references.student_memorizes, num_noises=8), ANN)
    assert Worker(hosted).serve(drain=True)
    assert run.status.state == "finished", run.status.message
    assert ANN not in json.dumps(run.result)


def test_the_child_of_a_visitor_s_run_gets_no_token_from_whatever_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    workspace = Workspace(tmp_path / "workspace")
    theirs, own = create_run(workspace, a_config(), launched={"user": ANN, "seconds": 5}), create_run(workspace, a_config())
    assert "hf_secret" not in _environment(workspace, theirs).values()
    assert _environment(workspace, theirs)["PFD_MODE"] == "hosted"
    assert _environment(workspace, own)["HF_TOKEN"] == "hf_secret"
    assert for_others("hosted", {"HF_TOKEN": "x", "HF_HOME": "y"})["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


def test_the_hub_is_asked_without_the_token_of_the_host_and_into_a_cache_of_its_own(hosted, monkeypatch, tmp_path):
    home = tmp_path / "hub-home"
    home.mkdir()
    (home / "token").write_text("hf_from_the_login")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "private-cache"))
    monkeypatch.setenv("PFD_HOME", str(hosted.root))
    with HubStub(files={"config.json": b"{}", "model.safetensors": b"x" * 64}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        snapshot = resolve("acme/model", allow=("*",))
        assert server.tokens
        assert set(server.tokens) == {None}
    assert snapshot.path.is_relative_to(hosted.root)
    assert not (tmp_path / "private-cache").exists()
    monkeypatch.delenv("PFD_MODE")
    assert cache_folder() == tmp_path / "private-cache"


def test_what_is_no_address_is_none():
    assert normalized("Ann@Example.org ") == ANN
    for text in ("ann", "a@b@c", "<a@b.org>", "a\0@b.org ,", f"{'x' * 65}@b.org", "a@" + "b" * 300):
        assert normalized(text) is None, text


def test_the_policy_needs_neither_streamlit_nor_torch():
    script = "import sys, pfd_engine.jobs.access, pfd_engine.jobs.launch; assert not {'torch', 'streamlit'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=Path(REPOSITORY), check=True)
