"""Verdicts on stored results: judged by the one rule from their rows, and what is said of them and beside them."""

import json

import numpy as np
import pytest

from pfd_engine.findings.context import baselines, finer_steps, footnotes, how_big, marks
from pfd_engine.findings.verdicts import badge_of, judge_runs, judge_stored, said
from pfd_engine.store.database import Store
from pfd_engine.store.queries.floor import floor_of_result, twins
from pfd_engine.workspace import PUBLISHED_DATABASE
from tests.judged_samples import TWIN, details, distances, judged_run, twin_run


@pytest.mark.parametrize(
    ("measured", "word", "badge"),
    [
        (distances(), "generalizes", ("generalizes", "green")),
        (distances(gen=3.6, mem=1.0, emp=4.0), "memorizes", ("memorizes", "red")),
        (distances(gen=5.0, mem=5.5), "neither", ("neither", "orange")),
        (distances(gen=2.9, emp=3.5), "undetermined", ("undetermined", "gray")),
    ],
)
def test_a_stored_result_is_judged_by_the_one_rule_with_its_baselines(measured, word, badge):
    verdict = judge_stored(details(), measured)
    assert (verdict.word, badge_of(verdict)) == (word, badge)


def test_an_older_result_is_judged_as_far_as_its_rows_go_and_says_what_to_do():
    older = details(spread=None, verdict_rule=None, memorization={"e_mem": 2.9, "num_samples": 64})
    verdict = judge_stored(older, distances(spread=None, spread_of_set=None))
    assert verdict.reason == "baseline not measured"
    assert badge_of(verdict) == ("judged by an older rule", "gray")
    assert said(verdict, older).reason.endswith("were not measured: measure the pair again to get a verdict")
    worse = judge_stored(older, distances(gen=3.5, mem=4.0, spread=None, spread_of_set=None))
    assert worse.word == "neither"  # E_gen above E_emp is enough
    assert "farther from its teacher (1.500 [1.400, 1.600]) than the map of its training set is" in said(worse, older).reason


def test_a_spread_that_is_stored_as_a_number_alone_serves_as_the_baseline():
    assert judge_stored(details(), distances(spread=None, spread_of_set=None)).word == "generalizes"


def test_students_that_lose_the_coupling_and_guided_ones_get_no_verdict_and_no_badge():
    for changes in ({"coupling_note": "this student re-noises its samples"}, {"student_guidance": 2.0}):
        verdict = judge_stored(details(**changes), distances())
        assert (badge_of(verdict), said(verdict, details(**changes)).lead) == (None, "No verdict")


def test_without_a_training_set_only_the_constant_image_is_spoken_of():
    alone = details(memorization=None)
    for gen, told in ((1.5, "closer to its teacher than a constant image is"), (5.0, "farther from its teacher than a constant image is")):
        verdict = judge_stored(alone, distances(gen=gen, mem=None, emp=None, spread_of_set=None))
        assert badge_of(verdict) is None
        assert said(verdict, alone).reason.endswith(told)


def test_a_diagnostic_map_has_no_verdict_and_says_why():
    diagnostic = details(outside_range="teacher", memorization=None)
    assert judge_stored(diagnostic, distances()) is None
    assert "diagnostic map" in said(None, diagnostic).reason


def test_a_retrained_teacher_is_named_as_what_it_is():
    alone = details(memorization=None)
    found = said(judge_stored(alone, distances(mem=None, emp=None, spread_of_set=None)), alone, is_twin=True)
    assert (found.lead, "retrained floor" in found.reason) == ("Retrained teacher", True)


def test_sequential_looks_widen_the_comparisons_and_a_strange_confidence_never_narrows_them():
    plain, looked, strange = (judge_stored(details(confidence=level), distances()) for level in (0.95, 0.99, 0.01))
    widths = [c["E_mem - E_gen"].ci_high - c["E_mem - E_gen"].ci_low for c in (v.comparisons for v in (plain, looked, strange))]
    assert widths[1] > widths[0] == widths[2]


def test_how_big_says_each_baseline_that_is_known_once():
    known = baselines(details(retrained_floor={"value": 1.18, "ci_high": 1.26}), {})
    sentence = how_big(judge_stored(details(), distances(gen=3.6, mem=1.0, emp=4.0)), known)
    assert sentence == (
        "The student is closer to its teacher than any constant image can be (4.200). For scale: a teacher retrained with another seed "
        "lies 1.180 from the first, and two models that share no coupling would lie about 6.000 apart."
    )
    assert how_big(judge_stored(details(), distances()), known).startswith(
        "For scale: the best constant image lies 4.200 from the teacher,"
    )
    farther = judge_stored(details(memorization=None, coupling_note=None), distances(gen=5.0, mem=5.5))
    assert "farther from its teacher than a constant image is" in said(farther, details(memorization=None)).reason
    assert how_big(None, {"constant_image": 4.2}) == "For scale: the best constant image lies 4.200 from the teacher."
    assert how_big(None, {}) == ""


def test_few_noises_uneven_sums_extrapolation_and_solver_errors_are_marked():
    uneven = {"PFD": np.array([1.0] * 99 + [100.0])}
    found = list(marks(details(num_noises=16, range_note="6 of the solver's 18 noise levels lie outside 0.1 to 9"), uneven))
    assert found == [
        "16 noises are few: intervals from fewer than 32 are rough, so measure more",
        "the largest distance makes up 50 % of the sum behind PFD, so that its interval may be too narrow: measure more noises",
        "6 of the solver's 18 noise levels lie outside 0.1 to 9",
    ]
    assert not list(marks(details(num_noises=16), uneven, ("16 noises are few: measure more", found[1])))
    unsure = details(memorization={"solver_error": -0.2, "ci_low": 2.8, "ci_high": 3.0, "num_samples": 64, "num_distinct_samples": 60})
    assert "the solver's own error of E_mem, about 0.2, is larger than half the width of its interval, 0.1" in list(marks(unsure, {}))
    small = ". ".join(footnotes(unsure | {"solver_error": 0.034, "solver_error_extrapolated": True}))
    assert "fewer than 1.2 % of all noises" in small
    assert "with ever more steps it would be about 0.034 smaller (extrapolated)" in small
    assert "E_mem contains at most about 0.2 of solver error" in small
    assert "60 different samples among 64" in small


def test_the_next_rung_is_offered_where_the_solver_error_exceeds_half_the_interval():
    assert finer_steps(details(solver_error=0.05)) is None
    assert finer_steps(details(solver_error=0.15)) == 36
    assert finer_steps(details(solver_error=0.15, steps=72)) is None
    assert finer_steps(details(memorization={"solver_error": 0.2, "ci_low": 2.8, "ci_high": 3.0})) == 36


def test_the_floor_that_the_store_knows_stands_beside_results_that_were_measured_before_it(bare_home):
    earlier = judged_run(bare_home)
    with Store(bare_home, None) as store:
        store.ingest()
        assert floor_of_result(store, earlier.result) is None
    floor = twin_run(bare_home)
    with Store(bare_home, None) as store:
        store.ingest()
        assert twins(store) == {("./twin", TWIN)}
        judged = judge_runs(store, {run.id: run.result for run in (earlier, floor)})
        assert judged[earlier.id].details["retrained_floor"]["value"] == 1.2
        assert judged[earlier.id].verdict.word == "generalizes"
        assert judged[floor.id].details["retrained_floor"] is None  # it is the floor itself
        assert [judged[run.id].is_twin for run in (earlier, floor)] == [False, True]


def test_shipped_evaluations_get_the_answer_that_their_rows_carry_and_no_other():
    with Store(None, PUBLISHED_DATABASE) as store:
        runs = store.rows("select run_id, result from runs where kind = 'evaluate'")
        found = {row["run_id"]: json.loads(row["result"]) for row in runs}
        for run_id, judged in judge_runs(store, found).items():
            with_baselines = "spread" in judged.distances or judged.details.get("spread") is not None
            told_apart = judged.verdict.word in ("memorizes", "generalizes", "neither")
            assert told_apart == (with_baselines and "E_mem" in judged.distances), run_id
