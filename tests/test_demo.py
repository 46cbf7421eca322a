"""The demo: every page without anything that its environment lacks, and nothing that a visitor asks for changes anything."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pfd_engine.cli import serve
from pfd_engine.jobs.access import for_others
from pfd_engine.models.bundled import bundled_references
from pfd_engine.workspace import REPOSITORY
from tests.app_session import XSRF, Session, texts
from tests.servers import free_port, running

PAGES = sorted(path.stem for path in (REPOSITORY / "pages").glob("*.py") if path.stem != "__init__")
HIDE = """
import importlib.abc, sys
HIDDEN = {hidden!r}
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError("No module named " + repr(name) + " in the demo", name=name)
sys.meta_path.insert(0, Hidden())
"""
DRAW = """
import os, sys
from streamlit.testing.v1 import AppTest
for page in {pages!r}:
    child = os.fork()
    if child == 0:
        app = AppTest.from_file("app.py", default_timeout=60)
        if page:
            app.switch_page(page)
        app.run()
        print(page, [str(e.value) for e in [*app.exception, *app.error]], len(app.title), flush=True)
        os._exit(bool(app.exception or app.error or not app.title))
    assert os.waitpid(child, 0)[1] == 0, page
"""


def hidden() -> list[str]:
    """The top-level names of everything that is installed here and not in the demo's environment."""
    locked = {line.partition("==")[0].lower() for line in (REPOSITORY / "requirements-demo.txt").read_text().splitlines()}
    known = {name: {package.lower().replace("_", "-") for package in packages} for name, packages in packages_distributions().items()}
    return sorted(name for name, packages in known.items() if not packages & locked)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An environment in which only the demo's requirements can be imported."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=set(hidden())))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PFD_"))}
    paths = {"HOME": str(folder / "home"), "PFD_HOME": str(folder / "workspace"), "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"}
    (folder / "home").mkdir()
    return for_others("demo", kept | paths | {"PYTHONDONTWRITEBYTECODE": "1", "HF_TOKEN": "hf_secret"})


def test_the_environment_of_the_demo_lacks_what_only_launching_needs():
    assert {"torch", "diffusers", "transformers", "sklearn", "huggingface_hub", "safetensors"} <= set(hidden())
    assert not {"streamlit", "duckdb", "numpy", "pandas", "plotly", "scipy"} & set(hidden())


def test_every_page_is_drawn_first_by_a_fresh_process_without_torch(bare):
    script = DRAW.format(pages=[None, *(f"pages/{name}.py" for name in PAGES)])
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=bare, capture_output=True, text=True, timeout=200, check=False
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    assert not Path(bare["PFD_HOME"]).exists()


def served(environment, mode="demo", folder=REPOSITORY):
    """The server as the container starts it, for a block, which is given its address."""
    port = free_port()
    command = [sys.executable, "-m", "pfd_engine.cli.serve", mode, "--port", str(port)]
    return running(command, port, "_stcore/health", folder, environment)


@pytest.fixture(scope="module")
def demo(bare):
    with served(bare) as address:
        yield address


def answer_of(address, method, path, headers=None, body=None):
    """The status of one request."""
    asked = urllib.request.Request(f"{address}/{path}", method=method, headers=headers or {}, data=body)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def files():
    """What lies in the repository now, with its sizes and times."""
    found = {}
    for folder, subfolders, names in os.walk(REPOSITORY):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in ("__pycache__", "build", "tests")]
        found |= {path: path.stat().st_mtime_ns for path in (Path(folder) / name for name in names)}
    return found


@pytest.fixture
def unchanged(bare):
    """Nothing on the disk may change: no workspace, no file in the home folder, none in the repository."""
    before = files()
    yield
    assert files() == before
    assert not Path(bare["PFD_HOME"]).exists()
    assert list(Path(bare["HOME"]).rglob("*")) == []


@pytest.fixture(scope="module")
def launch_buttons(tmp_path_factory):
    """The ids of the Launch buttons of a server that has them, and queries that fill their forms."""
    references = bundled_references()
    queries = {
        "evaluate": f"teacher={references.teacher}&student={references.student_memorizes}&num_noises=16",
        "distill": f"teacher={references.teacher}&size=mlp-32&num_samples=16",
        "sweep": f"teacher={references.teacher}&sweep_sizes=mlp-32&sweep_num_samples=16",
    }
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PFD_HOME", str(tmp_path_factory.mktemp("local")))
        patch.chdir(REPOSITORY)
        for page, query in queries.items():
            app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
            app.switch_page(f"pages/{page}.py")
            for pair in query.split("&"):
                name, _, value = pair.partition("=")
                app.query_params[name] = value
            found[page] = (app.run().button(key="launch").proto.id, query)
    return found


def test_a_link_that_fills_a_form_shows_the_command_and_pressing_launch_anyway_does_nothing(demo, launch_buttons, unchanged):
    for page, (button, query) in launch_buttons.items():
        with Session(demo) as session:
            shown = texts(session.open(page, query))
            assert f"python -m pfd_engine {page}" in shown
            assert "read-only demo" in shown
            assert "Launching would" in shown
            assert '"Launch"' not in shown
            assert "could not be drawn" not in texts(session.open(page, query, {button: True}))


def test_no_link_makes_the_demo_look_at_the_disk_or_ask_the_hub(demo, unchanged):
    asked = {
        "evaluate": "teacher=/etc&student=/etc/passwd&training_set=/no/such/folder",
        "distill": "teacher=/etc&output=/tmp/somewhere&size=mlp-32",
        "checkpoints": "reference=/etc",
        "result": "run=evaluate-20260101-000000-00000000",
        "runs": "run=../../etc/passwd",
    }
    for page, query in asked.items():
        with Session(demo) as session:
            shown = texts(session.open(page, query))
        assert not re.search("there is no folder|is a file|no checkpoint|could not be drawn|cannot be reached", shown), page
        assert "hf_secret" not in shown


def test_requests_that_would_store_or_drive_something_are_refused(demo, unchanged):
    with Session(demo) as session:
        session.open("")
        upload = f"_stcore/upload_file/{session.id}/1"
        token = {"X-Xsrftoken": session.xsrf, "Cookie": f"{XSRF}={session.xsrf}"}
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="run.json"\r\n\r\n{}\r\n--x--\r\n'
        assert answer_of(demo, "PUT", upload, form, body)[0] == 403
        assert answer_of(demo, "PUT", upload, form | token, body)[0] == 413
        assert answer_of(demo, "POST", upload, form | token, body)[0] in (404, 405)
        assert answer_of(demo, "POST", "_stcore/agent/interact", token, b"{}")[0] in (400, 403, 404)
        assert answer_of(demo, "POST", "_stcore/agent/mcp", token, b"{}")[0] in (400, 403, 404)
    for path in ("", "evaluate", "runs", "_stcore/health", "_stcore/stream"):
        assert answer_of(demo, "POST", path, {}, json.dumps({"teacher": "a/b"}).encode())[0] in (403, 404, 405), path


@pytest.mark.parametrize(
    "path", ["app/static/app.py", "component/x/../../../etc/passwd", "media/../results.duckdb", "..%2f..%2fetc/passwd"]
)
def test_no_address_hands_out_a_file_of_the_host(demo, path):
    status, body = answer_of(demo, "GET", path)
    assert status >= 400 or "<title>Streamlit</title>" in body
    assert "root:" not in body
    assert not [package for package in ("frame", "reads", "widgets", "forms") if f"pages.{package}" in body]


def test_the_host_s_own_settings_open_nothing():
    words = serve.command(8501, "0.0.0.0")
    assert "--server.enableXsrfProtection=true" in words
    assert "--server.enableAgentApi=false" in words
    given = for_others("demo", {"HF_TOKEN": "hf_secret", "HUGGING_FACE_HUB_TOKEN": "hf_secret", "PFD_MODE": "local", "PATH": "/bin"})
    assert "hf_secret" not in given.values()
    assert given["PFD_MODE"] == "demo"
    assert given["PATH"] == "/bin"
