"""What the pages show of evaluations with baselines: verdicts, what a PFD is set beside, what limits it, and how to measure again."""

import json

import pytest

from pages.frame.page import DYNAMICS, EVALUATE, HOME, RESULT, SCALING, TRADE_OFFS
from pages.reads.images import short_label
from pages.reads.store import refresh
from pfd_engine.models.bundled import bundled_references
from tests.finding_samples import EVENTS, finished_sweep
from tests.judged_samples import distances, judged_run, twin_run
from tests.page_visits import captions, html, visit


@pytest.fixture(autouse=True)
def home(bare_home, monkeypatch):
    monkeypatch.setattr("pages.reads.store.PUBLISHED_DATABASE", bare_home.root / "none.duckdb")
    return bare_home


def shown(app):
    return "\n".join([*(element.value for element in app.markdown), captions(app), html(app)]).replace("\\", "")


def links(app):
    return {link.proto.label: link.proto for link in app.get("page_link")}


def test_a_result_stands_beside_constant_image_ceiling_and_floor_in_cards_and_in_one_sentence(home):
    run = judged_run(home)
    twin_run(home)
    text = shown(visit(RESULT, run=run.id))
    for part in (
        "<strong>The student generalizes</strong>: it is closer to its teacher (1.500 [1.400, 1.600])",
        "For scale: the best constant image lies 4.200 from the teacher, a teacher retrained with another seed lies 1.200 from the first",
        "<dt>Constant image</dt><dd>4.200", "<dt>Shuffled ceiling</dt><dd>6.000", "<dt>Retrained floor</dt><dd>1.200", "PFD is 36 % of it",
        "These 256 noises cannot rule out that fewer than 1.2 % of all noises", "E_mem² − PFD² = ",
    ):  # fmt: skip
        assert part in text, part
    assert 'class="warnings"' not in text


def test_every_file_of_a_result_carries_its_baselines_and_its_verdict(home, monkeypatch):
    told = []
    monkeypatch.setattr("pages.widgets.exports.exports", lambda frame, figure, name, facts, *more: told.append((frame, facts)))
    visit(RESULT, run=judged_run(home).id)
    assert [(facts["constant_image"], facts["shuffled_ceiling"], facts["verdict"]) for _, facts in told] == 2 * [(4.2, 6.0, "generalizes")]
    assert {"PFD_squared_distance", "spread_squared_deviation"} <= set(told[1][0].columns)


def test_a_solver_error_above_half_the_interval_offers_the_next_rung_as_a_form_and_as_a_command(home):
    run = judged_run(home, solver_error=0.2, solver_error_extrapolated=True, warnings=["the solver's own error is larger"])
    app = visit(RESULT, run=run.id)
    link = links(app)["Measure again with 36 steps"]
    assert {"teacher=.%2Fteacher", "student=.%2Fstudent", "steps=36"} <= set(link.query_string.split("&"))
    assert "Measure again with 36 steps from the command line" in [expander.label for expander in app.expander]
    app.session_state["finer-command"] = True
    assert any("--steps 36" in code.value for code in app.run().code)
    assert "Measure again with 36 steps" not in links(visit(RESULT, run=judged_run(home, solver_error=0.01).id))


def test_what_limits_a_result_is_marked(home):
    uneven = distances()
    uneven["PFD"][:3] = 5_000.0
    text = shown(visit(RESULT, run=judged_run(home, measured=uneven, range_note="6 of the solver's 18 noise levels lie outside").id))
    assert "The 3 largest distances make up 9" in text
    assert "6 of the solver&#x27;s 18 noise levels lie outside." in text


def test_an_older_result_says_why_it_has_no_verdict_and_how_to_get_one(home):
    old = distances(spread=None, spread_of_set=None)
    memorization = {"e_mem": 2.9, "ci_low": 2.8, "ci_high": 3.0, "num_samples": 64}
    run = judged_run(home, measured=old, spread=None, verdict_rule=None, memorization=memorization)
    app = visit(RESULT, run=run.id)
    assert "judged by an older rule" in html(app)
    assert "measure the pair again to get a verdict" in html(app)
    assert "Measure again" in links(app)
    assert ":gray-badge[judged by an older rule]" in shown(visit(RESULT))


def test_lists_mark_verdicts_retrained_teachers_and_diagnostic_maps_which_are_ranked_nowhere(home):
    judged_run(home)
    judged_run(home, "./memorizing", measured=distances(gen=3.6, mem=1.0, emp=4.0))
    judged_run(home, "./useless", measured=distances(gen=5.0, mem=5.5))
    judged_run(home, "./inside", outside_range="teacher", memorization=None)
    twin_run(home)
    for page in (HOME, RESULT):
        text = shown(visit(page))
        for mark in ("green-badge[generalizes]", "violet-badge[retrained teacher]", "violet-badge[diagnostic map]"):
            assert mark in text, (page, mark)
    for mark in ("red-badge[memorizes]", "orange-badge[neither]"):
        assert mark in text, mark
    (ranked,) = [box for box in visit(TRADE_OFFS).selectbox if box.label == "Student"]
    assert sorted(ranked.options) == ["memorizing", "student", "useless"]


def test_a_diagnostic_map_is_named_so_on_the_compare_wall():
    row = {"run_id": "evaluate-1", "student": None, "size": None, "objective": None, "reference": "./student"}
    assert short_label(row | {"outside_range": "teacher"}) == "student (diagnostic map)"
    assert short_label(row) == "student"


def test_a_retrained_teacher_and_a_diagnostic_map_are_named_as_what_they_are(home):
    assert "<strong>Retrained teacher</strong>: it differs from the teacher in its training seed only" in shown(
        visit(RESULT, run=twin_run(home).id)
    )
    run = judged_run(home, outside_range="teacher", memorization=None)
    assert "<strong>No verdict</strong>: this is a diagnostic map" in shown(visit(RESULT, run=run.id))


@pytest.mark.parametrize(("page", "experiment"), [(SCALING, "scaling"), (DYNAMICS, "training-dynamics")])
def test_finding_plots_have_lines_for_the_constant_image_and_the_retrained_floor(home, page, experiment):
    finished_sweep(home, experiment, iter([row | {"spread": 4.2} for row in EVENTS[experiment]()]))
    names = ("best constant image, 4.20", "teacher retrained with another seed, 1.20")
    for floor in (False, True):
        if floor:
            twin_run(home, "a" * 40)
            refresh()
        app = visit(page)
        figure = json.loads(app.get("plotly_chart")[0].proto.spec)
        levels = {trace.get("name"): trace["y"] for trace in figure["data"] if trace.get("name") in names}
        assert levels == {names[0]: [4.2, 4.2]} | ({names[1]: [1.2, 1.2]} if floor else {})
        assert "E_gen of the best constant image 4.200" in captions(app)
        assert ("of the teacher retrained with another seed 1.200" in captions(app)) is floor


def pair(**query):
    references = bundled_references()
    return {"teacher": references.teacher, "student": references.student_memorizes} | query


@pytest.mark.parametrize(("asked", "written"), [("36", "--steps 36"), ("auto", "--steps auto"), ("18", "evaluate")])
def test_steps_are_a_whole_number_or_auto_and_links_fill_them(asked, written):
    app = visit(EVALUATE, **pair(steps=asked))
    assert app.text_input(key="steps").value == asked
    (command,) = [code.value for code in app.code]
    assert written in command
    assert ("Auto may take two or four times the 18 steps" in captions(app)) is (asked == "auto")
    assert "find the solver's error" in captions(app)


@pytest.mark.parametrize(
    ("asked", "told"), [("many", "steps is &#x27;many&#x27;"), ("9" * 5000, "give auto or a whole number"), ("5000", "1 to 4,096")]
)
def test_steps_that_are_neither_are_refused_beside_their_field(asked, told):
    app = visit(EVALUATE, **pair(steps=asked))
    app.button(key="launch").click().run()
    assert told in html(app)


def test_the_diagnostic_map_is_asked_for_under_advanced():
    app = visit(EVALUATE, **pair(outside_range="teacher"))
    assert app.selectbox(key="outside_range").value == "teacher"
    assert any("--outside-range teacher" in code.value for code in app.code)
