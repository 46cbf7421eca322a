"""A server that allows launching, with a real OpenID Connect provider on loopback and a real Chromium: who gets in, and who launches."""

import json
import os
import re
import subprocess
import sys

import pytest
from streamlit.testing.v1 import AppTest

from pfd_engine.models.bundled import bundled_references
from pfd_engine.runs.folder import list_runs
from pfd_engine.workspace import REPOSITORY, Workspace
from tests import hub_server
from tests.app_session import Session, texts
from tests.browser_visits import Visitor, stop_workers
from tests.servers import free_port, running
from tests.test_demo import served

pytestmark = pytest.mark.browser
ANN, EVE, NOBODY = "ann@example.org", "eve@elsewhere.net", "unverified@example.org"
SECRETS = """[auth]
redirect_uri = "http://127.0.0.1:{{port}}/oauth2callback"
cookie_secret = "a secret of this test alone, long enough"
client_id = "pfd"
client_secret = "not checked by this provider"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


def provider():
    """An identity provider that knows Ann and Eve, and verified the addresses of both, for a block, which is given its address."""
    port = free_port()
    command = [str(REPOSITORY / ".venv-hub" / "bin" / "python"), "-m", "oidc_provider_mock", "--port", str(port)]
    for user in (ANN, EVE):
        command += ["--user-claims", json.dumps({"sub": user, "email": user, "email_verified": True})]
    return running(command, port, ".well-known/openid-configuration")


def environment(root, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PFD_")}
    (root / "home" / ".streamlit").mkdir(parents=True, exist_ok=True)
    return kept | {"HOME": str(root / "home"), "PFD_HOME": str(root / "workspace"), "HF_HOME": str(root / "hub")} | more


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A server on which Ann may launch one run at a time; its address and workspace."""
    if (reason := hub_server.why_not_available()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    root = tmp_path_factory.mktemp("hosted")
    settings = environment(root, PFD_ALLOWED_USERS=ANN, PFD_MAX_RUNS_PER_USER="1", HF_TOKEN="hf_secret")
    with provider() as address:
        (root / "home" / ".streamlit" / "secrets.toml").write_text(SECRETS.format(provider=address))
        with served(settings, mode="hosted") as app:
            yield app, Workspace(root / "workspace")
    stop_workers(root / "workspace")


def audit(workspace):
    return [json.loads(line) for line in (workspace.root / "audit.jsonl").read_text().splitlines()]


class Guest(Visitor):
    """A visitor for whom what the provider's own page asks of others, its style and icon, is answered with nothing."""

    def __init__(self, browser):
        super().__init__(browser)
        self.context.route(re.compile(r"cdn\.jsdelivr\.net|/favicon\.ico$"), lambda route: route.fulfill(status=200, body=""))

    def _request(self, request):
        if "cdn.jsdelivr.net" not in request.url:
            super()._request(request)


def sign_in(visitor, address, user):
    """Sign in at the provider, and come back."""
    page = visitor.open(address)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/oauth2/authorize**")
    page.locator("input[name=sub]").fill(user)
    page.get_by_role("button", name="Authorize", exact=True).click()
    page.wait_for_selector("h1")
    page.get_by_role("button", name="Sign out").wait_for()
    return visitor.settle()


def filled_form(address, seed=0, num_noises=16):
    references = bundled_references()
    return f"{address}/evaluate?teacher={references.teacher}&student={references.student_memorizes}&num_noises={num_noises}&seed={seed}"


def test_without_sign_in_everybody_looks_and_nobody_launches(hosted):
    address, workspace = hosted
    paths = (
        "",
        "scaling",
        "runs",
        "distill",
        "sweep",
        "checkpoints?reference=/etc",
        "evaluate?teacher=/etc&student=./x",
        filled_form("").lstrip("/"),
    )
    for path in paths:
        page, _, query = path.partition("?")
        with Session(address) as session:
            shown = texts(session.open(page, query))
        assert shown.count('label: "Sign in"') == 1, path
        assert 'label: "Launch"' not in shown
        assert not re.search("no folder|could not be drawn|no checkpoint", shown), path
        if query:
            assert "Launching needs sign-in" in shown
    assert "python -m pfd_engine evaluate --teacher" in shown
    assert list_runs(workspace) == []


@pytest.mark.parametrize(("user", "sentence"), [(EVE, "is not on the list"), (NOBODY, "is not verified")])
def test_who_is_not_on_the_list_or_not_verified_signs_in_and_cannot_launch(browser, hosted, user, sentence):
    address, workspace = hosted
    with Guest(browser) as visitor:
        page = sign_in(visitor, address, user)
        assert sentence in page.inner_text("[data-testid=stSidebar]")
        page = visitor.open(filled_form(address))
        page.get_by_text("What it will cost").wait_for()
        assert page.get_by_role("button", name="Launch").count() == 0
    assert list_runs(workspace) == []


def test_who_is_on_the_list_launches_within_the_limits_and_every_step_is_noted(browser, hosted):
    address, workspace = hosted
    with Guest(browser) as visitor:
        page = sign_in(visitor, address, ANN)
        assert f"Signed in as {ANN}" in page.inner_text("[data-testid=stSidebar]")
        page = visitor.open(f"{address}/evaluate?teacher=/etc&student=owner/name")
        page.get_by_role("button", name="Launch").click()
        page.get_by_text("takes none from visitors").first.wait_for()
        assert list_runs(workspace) == []
        page = visitor.open(filled_form(address, num_noises=1_000_000))
        page.get_by_role("button", name="Launch").click()
        page.wait_for_url("**/result?run=*")
        [run] = list_runs(workspace)
        page = visitor.open(filled_form(address, seed=500))
        page.get_by_role("button", name="Launch").click()
        page.get_by_text("this server allows 1 at once").first.wait_for()
        [run] = list_runs(workspace)
        assert run.owner == ANN
        page = visitor.open(f"{address}/runs")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("cancelled").first.wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/oauth2/end_session**")
        page = visitor.open(filled_form(address))
        page.get_by_role("button", name="Sign in").wait_for()
        page.get_by_text("Launching needs sign-in, with").wait_for()
        assert page.get_by_role("button", name="Launch").count() == 0
    with Guest(browser) as stranger:
        shown = stranger.open(f"{address}/runs").inner_text("[data-testid=stApp]")
        assert ANN not in shown
    rows = [(row["user"], row["action"], row["run"], row["outcome"].partition(":")[0]) for row in audit(workspace)]
    assert (ANN, "sign-in", None, "may launch") in rows
    assert (ANN, "launch", run.id, "done") in rows
    assert (ANN, "launch", None, "refused") in rows
    assert (ANN, "cancel", run.id, "done") in rows
    assert run.status.state == "cancelled"


def test_a_server_whose_secrets_cannot_be_read_says_so_in_one_sentence_and_launches_nothing(tmp_path):
    settings = environment(tmp_path, PFD_ALLOWED_USERS=ANN)
    (tmp_path / "home" / ".streamlit" / "secrets.toml").write_text("[auth\n")
    with served(settings, mode="hosted") as address, Session(address) as session:
        shown = texts(session.open("evaluate"))
    assert shown.count("nobody can sign in here: ") == 1
    for absent in ("could not be drawn", "exception {", str(tmp_path), '"Launch"', '"Sign in"'):
        assert absent not in shown


@pytest.mark.parametrize(
    ("secrets", "sentence"),
    [({}, "is missing or no valid TOML"), ({"other": 1}, "lacks redirect_uri"), ({"auth": {"client_id": "x"}}, "lacks redirect_uri")],
)
def test_secrets_that_lack_something_are_told_in_one_sentence(secrets, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("PFD_MODE", "hosted")
    monkeypatch.chdir(tmp_path)
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
    app.secrets = secrets
    app.run()
    assert not app.exception
    told = [element.proto.body for element in app.get("html") if "nobody can sign in here" in element.proto.body]
    assert len(told) == 1
    assert sentence in told[0]


@pytest.mark.parametrize(
    ("secrets", "variables", "sentence"),
    [
        ('auth = "x"\n', {}, "auth is no table: write it as docs/hosting.md shows"),
        ("", {"PFD_ALLOWED_USERS": "everybody"}, "PFD_ALLOWED_USERS names 'everybody': give e-mail addresses, and domains as @example.org"),
        ("", {"PFD_MAX_RUNS_PER_USER": "-1"}, "PFD_MAX_RUNS_PER_USER is '-1': give a whole number"),
    ],
)
def test_a_server_that_is_set_up_wrongly_does_not_start_and_says_why(secrets, variables, sentence, tmp_path):
    settings = environment(tmp_path, **variables)
    (tmp_path / "home" / ".streamlit" / "secrets.toml").write_text(secrets)
    words = [sys.executable, "-m", "pfd_engine.cli.serve", "hosted", "--port", "1"]
    answer = subprocess.run(words, cwd=REPOSITORY, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 2
    assert answer.stderr.strip().endswith(sentence)
    assert len(answer.stderr.splitlines()) == 1
