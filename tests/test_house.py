"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TORCH_FREE = [
    "configs.evaluate",
    "hub.references",
    "workspace",
    "seeds",
    "flow.solvers",
    "runs.folder",
    "jobs.worker",
    "store.database",
    "store.queries.sweeps",
    "store.queries.explore",
    "store.sql.query",
    "store.sql.child",
    "store.sql.tables",
    "hub.resolve",
    "sharing.pull",
    "sharing.publish",
    "models.inspect",
    "hub.safetensors_header",
    "time_limit",
    "figures",
    "planning.evaluation",
    "analysis",
    "models.bundled",
    "jobs.access",
    "jobs.hosts",
    "jobs.host_check",
    "jobs.launch",
    "cli.serve",
    "site.export",
    "flow.trained_range",
    "store.queries.floor",
    "sweeps.trained_range",
]


def imported(path):
    """Yield the top-level names of the packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_engine_never_imports_streamlit():
    offenders = [path for path in (REPOSITORY / "pfd_engine").rglob("*.py") if "streamlit" in set(imported(path))]
    assert offenders == []


def test_browsing_results_needs_no_torch():
    script = f"import importlib, sys\nfor m in {TORCH_FREE}: importlib.import_module('pfd_engine.' + m)\nprint('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join)
def test_the_tree_is_clean(command):
    found = subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_file_names_a_machine():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    needles = ["/wo" + "rk/", "/ro" + "ot/", "/fa" + "rm/"]
    for name in filter(None, tracked):
        content = (REPOSITORY / name).read_bytes()
        if b"\0" not in content[:4096]:
            text = content.decode(errors="replace")
            assert not [needle for needle in needles if needle in text], name


def test_locked_requirements_name_every_package_that_the_engine_imports():
    locked = (REPOSITORY / "requirements.txt").read_text().lower()
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "huggingface_hub": "huggingface-hub"}
    for path in [*(REPOSITORY / "pfd_engine").rglob("*.py"), *(REPOSITORY / "pages").rglob("*.py"), REPOSITORY / "app.py"]:
        for package in set(imported(path)) - set(sys.stdlib_module_names) - {"pfd_engine", "pages"}:
            assert f"{names.get(package, package)}==" in locked, f"{path} imports {package}"


def test_contributing_names_files_that_exist():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = [f"/{name}" for name in listed.stdout.split("\n") if name]
    named = re.findall(r"`([\w./-]+(?:\.py|\.md|\.duckdb|/))`", (REPOSITORY / "CONTRIBUTING.md").read_text())
    assert len(named) > 80
    missing = [name for name in named if not any(f"/{name}" in file if name.endswith("/") else file.endswith(f"/{name}") for file in files)]
    assert missing == []
