"""What the tests of single pages share: a visit without a browser, and what it sees."""

from __future__ import annotations

import json

import pandas as pd
from streamlit.testing.v1 import AppTest

from pages.frame.page import HOME
from pfd_engine.workspace import REPOSITORY


def visit(path: str, **query: str | list[str]) -> AppTest:
    """Open a page, with what its address asks for; nothing on it may have failed."""
    app = AppTest.from_file(str(REPOSITORY / HOME), default_timeout=120)
    if path != HOME:
        app.switch_page(path)
    for name, value in query.items():
        app.query_params[name] = value
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    """Hold that nothing on a page failed."""
    assert not app.exception, app.exception
    assert not app.error, [error.value for error in app.error]
    return app


def html(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def tables(app: AppTest) -> list[pd.DataFrame]:
    """Return the tables with ticks, all cells as texts, and whether each row is `ticked`."""
    drawn = [json.loads(element.proto.json) for element in app.get("bidi_component")]
    return [
        pd.DataFrame(data["rows"], columns=data["headings"]).assign(ticked=[name in data["ticked"] for name in data["names"]])
        for data in drawn
    ]


def captions(app: AppTest) -> str:
    return "\n".join(caption.value.replace("\\", "") for caption in app.caption)


def address(app: AppTest) -> dict[str, str | list[str]]:
    """Return the query of the address, a list where a name is there more than once."""
    found = {name: value if isinstance(value, list) else [value] for name, value in dict(app.query_params).items()}
    return {name: value if len(value) > 1 else value[0] for name, value in found.items()}
