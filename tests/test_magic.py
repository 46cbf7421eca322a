"""Streamlit's magic, which writes bare expressions to the page: it is off, and no page has one."""

import ast
import tomllib

import pytest
from streamlit.testing.v1 import AppTest

from pfd_engine.cli import serve
from pfd_engine.runs.folder import create_run
from pfd_engine.workspace import REPOSITORY
from tests.run_samples import a_config

SCRIPTS = [REPOSITORY / "app.py", *sorted((REPOSITORY / "pages").glob("*.py"))]


@pytest.mark.parametrize("magic", [True, False], ids=["magic on", "magic off"])
@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_the_card_of_a_run_that_stopped_shows_no_raw_configuration(state, magic, bare_home):
    from streamlit import config

    run = create_run(bare_home, a_config())
    run.write_status(run.status.model_copy(update={"state": state, "message": "it stopped", "exit_code": 1}))
    before = config.get_option("runner.magicEnabled")
    config.set_option("runner.magicEnabled", magic)
    try:
        app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=30).switch_page("pages/runs.py").run()
    finally:
        config.set_option("runner.magicEnabled", before)
    assert [button.label for button in app.button] == ["Try again"]
    assert len(app.json) == 0
    assert not any("num_noises" in element.value for element in app.markdown)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_page_has_an_expression_that_magic_would_write_out(path):
    def is_silent(value):
        return isinstance(value, (ast.Call, ast.Yield, ast.YieldFrom, ast.Await)) or (
            isinstance(value, ast.Constant) and isinstance(value.value, str)
        )

    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Expr) and not is_silent(node.value)]
    assert [f"line {node.lineno}: {ast.unparse(node)}" for node in found] == []


def test_magic_is_off_however_the_app_is_started():
    configured = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())
    assert configured["runner"]["magicEnabled"] is False
    assert serve.OPTIONS["runner.magicEnabled"] == "false"
