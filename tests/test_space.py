"""The container of the demo, read instead of built: what it copies is there and suffices, and it starts what `make demo` starts."""

import json
import os
import re
import shutil
import subprocess
from fnmatch import fnmatch

import pytest

from pfd_engine.workspace import REPOSITORY
from tests.app_session import Session, texts
from tests.test_demo import bare, served  # noqa: F401  a fixture


def instructions(name):
    """The instructions of a Dockerfile: keyword and the rest, one a line."""
    text = re.sub(r"\\\n\s*", " ", (REPOSITORY / name).read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(keyword, rest.strip()) for keyword, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def dockerfile():
    return instructions("Dockerfile")


def rest_of(dockerfile, keyword):
    found = [rest for name, rest in dockerfile if name == keyword]
    assert found, keyword
    return found


def copied(dockerfile):
    """The files that the image gets: tracked, named by a COPY, and not ignored."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    sources = [source.removesuffix("/") for rest in rest_of(dockerfile, "COPY") for source in rest.split()[:-1]]
    for source in sources:
        assert any(name == source or name.startswith(f"{source}/") for name in tracked), f"{source} does not exist"
    named = [name for name in filter(None, tracked) if any(name == source or name.startswith(f"{source}/") for source in sources)]
    return [name for name in named if not ignored(name)]


def ignored(name):
    verdict = False
    for pattern in (REPOSITORY / ".dockerignore").read_text().split("\n"):
        if not pattern or pattern.startswith("#"):
            continue
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        parts = name.split("/")
        heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if any(fnmatch(head, pattern) for head in heads) or (
            pattern.startswith("**/") and any(fnmatch(part, pattern[3:]) for part in parts)
        ):
            verdict = not keep
    return verdict


def test_the_image_is_pinned_and_runs_as_an_ordinary_user(dockerfile):
    keyword, base = dockerfile[0]
    assert keyword == "FROM"
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert rest_of(dockerfile, "USER") == ["1000"]
    assert "--uid 1000" in " ".join(rest_of(dockerfile, "RUN"))
    names = [keyword for keyword, _ in dockerfile]
    assert names.index("USER") > max(position for position, name in enumerate(names) if name == "COPY"), "nothing is owned by the server"
    assert "curl" not in str(dockerfile)


def test_the_image_starts_exactly_what_make_demo_starts(dockerfile):
    words = json.loads(rest_of(dockerfile, "CMD")[0])
    dry = subprocess.run(["make", "-n", "demo", "PORT=8501"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    made = next(line for line in dry.splitlines() if "pfd_engine.cli.serve" in line).split()
    assert words[:4] == ["python", "-m", "pfd_engine.cli.serve", "demo"] == ["python", *made[1:4]]
    assert made[4:] == ["--port", "8501"]
    assert words[4:] == ["--address", "0.0.0.0"]
    assert "PFD_MODE=demo" in rest_of(dockerfile, "ENV")[0]


def test_port_and_health_check_are_those_of_the_server(dockerfile):
    assert rest_of(dockerfile, "EXPOSE") == ["8501"]
    [check] = rest_of(dockerfile, "HEALTHCHECK")
    assert "http://127.0.0.1:8501/_stcore/health" in check
    assert json.loads(check[check.index("[") :])[0] == "python"


def test_only_the_locked_requirements_of_the_demo_are_installed(dockerfile):
    installs = [rest for rest in rest_of(dockerfile, "RUN") if "pip" in rest]
    assert len(installs) == 1
    assert installs[0].endswith("-r requirements-demo.txt")
    locked = (REPOSITORY / "requirements-demo.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; sys_platform [!=]= '\w+')?", line) for line in locked)


def test_nothing_of_the_project_s_own_workshop_gets_into_the_image(dockerfile):
    names = copied(dockerfile)
    assert {"app.py", "results.duckdb", "pages/methods.py", ".streamlit/config.toml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", ".git", "workspace/")) or name.endswith(".safetensors")]


def test_the_copied_files_alone_serve_every_page(dockerfile, bare, tmp_path):  # noqa: F811
    for name in copied(dockerfile):
        target = tmp_path / "app" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (os.link if os.stat(REPOSITORY).st_dev == os.stat(tmp_path).st_dev else shutil.copyfile)(REPOSITORY / name, target)
    alone = {**bare, "PYTHONPATH": bare["PYTHONPATH"].split(os.pathsep)[0]}
    with served(alone, folder=tmp_path / "app") as address, Session(address) as session:
        for page in ("", "scaling", "evaluate", "checkpoints", "methods"):
            shown = texts(session.open(page))
            assert "could not be drawn" not in shown, page
            assert len(shown) > 5000, page
    assert not (tmp_path / "app" / "workspace").exists()


def test_the_space_is_described_as_hugging_face_asks():
    front = (REPOSITORY / "space" / "README.md").read_text().split("---")[1]
    values = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert values["sdk"] == "docker"
    assert values["app_port"] == "8501"
    assert values["license"] == "apache-2.0"
    assert len(values["short_description"]) <= 60
    assert values["colorFrom"] in COLORS
    assert values["colorTo"] in COLORS


COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
