"""Choices in the address: links, old links, a visit elsewhere, a step back, and addresses that ask for what there is not."""

import pytest
from streamlit.testing.v1 import AppTest

OPTIONS = {"a": "First", "b": "Second", "c": "Third"}


def script():
    import streamlit as st

    from pages.frame import address as module
    from pages.frame.address import Choices

    options = {"a": "First", "b": "Second", "c": "Third"}
    if st.session_state.get("elsewhere"):
        st.session_state["visit"] = st.session_state.get("visit", 0) + 1
        st.stop()
    choices = Choices("trade-offs")
    found = {
        "group": choices.pick("group", "Group", options, "a"),
        "many": choices.pick_many("many", "Many", options, ("b",)),
        "words": choices.text("words", "Words", max_length=20),
        "log": choices.flag("log", "Log"),
        "page": choices.whole("page", "Page", 1, 9, 1),
        "seen": choices.kept("seen", "x", lambda value: value in ("x", "y")),
    }
    if "part" in st.query_params:  # AppTest forgets one end of such a slider when a script runs again
        found["part"] = choices.span("part", "Part", [1, 4, 16])
    if "single" in st.query_params:
        found["single"] = choices.span("single", "Single", [7])
    st.json(found)
    module.finish()


@pytest.fixture
def visit():
    def open_link(**query):
        app = AppTest.from_function(script)
        for name, value in query.items():
            app.query_params[name] = value
        return run(app)

    return open_link


def run(app):
    app.run()
    assert not app.exception, app.exception
    return app


def found(app):
    import json

    return json.loads(app.json[0].value)


def address(app):
    return {name: value if isinstance(value := app.query_params[name], list) else [value] for name in app.query_params}


def notes(app):
    return [warning.value.replace("\\", "") for warning in app.warning]


DEFAULTS = {"group": "a", "many": ["b"], "words": "", "log": False, "page": 1, "seen": "x"}


def test_a_bare_address_has_the_defaults_and_stays_bare(visit):
    app = visit()
    assert found(app) == DEFAULTS
    assert address(app) == {}
    assert notes(app) == []


def test_a_link_shows_what_its_sender_saw(visit):
    sender = visit()
    sender.selectbox[0].select("b").run()
    sender.multiselect[0].set_value(["c", "a"]).run()
    sender.text_input[0].input(" mlp ").run()
    sender.toggle[0].set_value(True).run()
    sender.number_input[0].set_value(4).run()
    chosen = {"group": "b", "many": ["c", "a"], "words": "mlp", "log": True, "page": 4, "seen": "x"}
    assert found(sender) == chosen
    reader = visit(**address(sender))
    assert found(reader) == chosen
    assert address(reader) == address(sender)
    assert notes(reader) == []


def test_nothing_chosen_where_something_is_the_default_survives_a_link(visit):
    sender = visit()
    sender.multiselect[0].set_value([]).run()
    assert found(visit(**address(sender)))["many"] == []


def test_a_part_of_an_axis_is_in_the_address(visit):
    app = visit(part="4-16")
    assert found(app)["part"] == [4, 16]
    assert address(app) == {"part": ["4-16"]}
    assert notes(app) == []


def test_a_single_value_needs_no_slider(visit):
    app = visit(single="7-7")
    assert found(app)["single"] == [7, 7]
    assert len(app.select_slider) == 0


def test_a_name_of_version_1_still_works(visit):
    app = visit(teacher="c")
    assert found(app)["group"] == "c"
    assert address(app) == {"group": ["c"]}
    assert notes(app) == []


def test_a_link_of_a_newer_version_and_unknown_words_are_told(visit):
    app = visit(v="99", color="red", utm_source="mail", group="b")
    assert found(app)["group"] == "b"
    assert len(notes(app)) == 2
    assert "newer version" in notes(app)[0]
    assert "'color'" in notes(app)[1]
    assert "utm_source" not in " ".join(notes(app))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("group", "<script>alert(1)</script>"),
        ("group", "x" * 100_000),
        ("many", "nothing"),
        ("words", "y" * 100_000),
        ("log", "maybe"),
        ("page", "1e400"),
        ("page", "nan"),
        ("page", "-3"),
        ("part", "16-1"),
        ("part", "2-16"),
        ("seen", "z"),
        ("\u202e" * 50_000, "1"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_told_in_a_short_sentence_and_the_default_shown(visit, name, value):
    app = visit(**{name: value})
    expected = DEFAULTS | ({"many": []} if name == "many" else {"part": [1, 16]} if name == "part" else {})
    assert found(app) in (expected, DEFAULTS)
    assert len(notes(app)) == 1
    assert len(notes(app)[0]) < 300


def test_choices_come_back_after_a_visit_to_another_page(visit):
    app = visit()
    app.selectbox[0].select("c").run()
    app.session_state["elsewhere"] = True
    run(app)
    for name in list(app.query_params):
        del app.query_params[name]
    app.session_state["elsewhere"] = False
    assert found(run(app))["group"] == "c"
    assert address(app) == {"group": ["c"]}


def test_a_step_back_shows_what_the_address_says(visit):
    app = visit()
    app.selectbox[0].select("c").run()
    del app.query_params["group"]
    assert found(run(app))["group"] == "a"


def test_a_click_wins_over_an_address_that_is_a_moment_old(visit):
    app = visit()
    app.selectbox[0].select("c").run()
    del app.query_params["group"]
    app.toggle[0].set_value(True)
    assert found(run(app)) == DEFAULTS | {"group": "c", "log": True}
    assert address(app) == {"group": ["c"], "log": ["yes"]}
