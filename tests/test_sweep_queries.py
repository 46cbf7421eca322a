"""The finding pages' questions to the store: newest sweep first, one row a student and metric, each student once."""

import numpy as np
import pytest

from pfd_engine.cli import sweep as cli_sweep
from pfd_engine.store.database import Store
from pfd_engine.store.queries import images as wall_queries
from pfd_engine.store.queries import runs as store_queries
from pfd_engine.store.queries import sweeps as sweep_queries
from pfd_engine.workspace import Workspace
from tests.finding_samples import NOISES, SAMPLES, SIZES, STEPS, a_sweep, finished_sweep, scaling_events
from tests.judged_samples import twin_run
from tests.run_samples import append_raw, events, finished_run, measurement


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "home")


@pytest.fixture
def store(workspace):
    with Store(workspace, None) as opened:
        yield opened


def test_sweeps_of_an_experiment_come_newest_first_and_once(workspace, store):
    older, newer = finished_sweep(workspace, "scaling"), finished_sweep(workspace, "scaling")
    finished_sweep(workspace, "bias-variance")
    finished_run(workspace)
    store.ingest()
    found = sweep_queries.sweep_runs(store, "scaling")
    assert [row["run_id"] for row in found] == [newer.id, older.id]
    assert (found[0]["name"], found[0]["students"], found[0]["state"]) == ("scaling-small", 36, "finished")
    assert len(sweep_queries.sweep_runs(store, "scaling", limit=1)) == 1
    assert sweep_queries.sweep_runs(store, "training-dynamics") == []


def test_the_stamp_of_a_sweep_changes_with_its_rows(workspace, store):
    events = list(scaling_events())
    finished_sweep(workspace, "scaling", iter(events[:10]))
    finished_sweep(workspace, "scaling", iter(events[:20]))
    store.ingest()
    stamps = {row["stamp"] for row in sweep_queries.sweep_runs(store, "scaling")}
    assert len(stamps) == 2


def test_distances_are_one_array_a_student_step_and_metric_in_the_order_of_seeds(workspace, store):
    def blocks():
        row = {"type": "distances", "metric": "E_gen", "student": "a", "student_seed": 0, "num_samples": 4, "size": "mlp-32", "step": 9}
        for start in (2, 0, 4):
            yield {**row, "seeds_start": start, "seeds_stop": start + 2, "values": [float(start), float(start + 1)]}

    run = finished_sweep(workspace, "scaling", blocks())
    store.ingest()
    frame = sweep_queries.sweep_distances(store, run.id)
    assert len(frame) == 1
    np.testing.assert_array_equal(frame["squared"].iloc[0], np.arange(6.0))


def test_a_sweep_is_read_whole(workspace, store):
    run = finished_sweep(workspace, "scaling")
    store.ingest()
    students = len(SIZES) * len(SAMPLES) * 3
    distances, measurements = sweep_queries.sweep_distances(store, run.id), sweep_queries.sweep_measurements(store, run.id)
    assert len(distances) == 2 * students
    assert {len(squared) for squared in distances["squared"]} == {NOISES}
    assert (measurements["metric"] == "E_gen").sum() == students
    facts = sweep_queries.sweep_facts(store, run.id)
    assert (facts["num_noises"], facts["descriptor"], facts["student_seeds"]) == (NOISES, "pixel", [0, 1, 2])
    assert sweep_queries.sweep_facts(store, "no-such-run") == {}


def test_pairs_are_those_of_one_student(workspace, store):
    run = finished_sweep(workspace, "scaling")
    store.ingest()
    assert len(store_queries.pairs(store, run.id)) == 36
    assert len(store_queries.pairs(store, run.id, "mlp-32 N=16 seed 0")) == 1
    assert store_queries.pairs(store, run.id, "nobody") == []


def test_trade_offs_have_each_student_once_at_its_last_step_with_its_seconds(workspace, store):
    finished_sweep(workspace, "training-dynamics")
    finished_run(workspace)
    store.ingest()
    frame = sweep_queries.trade_off_rows(store)
    sweep, evaluation = frame[frame["experiment"] != "evaluation"], frame[frame["experiment"] == "evaluation"]
    assert len(sweep) == 8
    assert set(sweep["step"]) == {6400}
    assert set(sweep["seconds"]) == {12.0}
    assert evaluation["E_gen"].tolist() == [1.5]
    assert evaluation["seconds"].isna().all()
    assert evaluation["result"].notna().all()
    assert sweep["result"].isna().all()


def test_trade_offs_count_a_sweep_that_ran_again_once_and_prefer_the_finished_run(workspace, store):
    finished_sweep(workspace, "scaling")
    finished = finished_sweep(workspace, "scaling")
    cancelled = finished_sweep(workspace, "scaling", iter(list(scaling_events())[:40]))
    cancelled.write_status(cancelled.status.model_copy(update={"state": "cancelled"}))
    longer = finished_sweep(workspace, "scaling", steps=2 * STEPS[-1])
    store.ingest()
    frame = sweep_queries.trade_off_rows(store)
    assert frame["run_id"].value_counts().to_dict() == {finished.id: 36, longer.id: 36}


def test_the_command_line_ends_a_sweep_with_its_finding_and_the_page_that_shows_it(workspace, monkeypatch):
    monkeypatch.setenv("PFD_HOME", str(workspace.root))
    run = finished_sweep(workspace, "scaling")
    *_, finding, see = cli_sweep.describe_sweep_run(run.result).splitlines()
    assert finding.startswith("finding        After ")
    assert see == f"see            /scaling?run={run.id} in the dashboard (make run)"


def test_an_interrupted_sweep_says_what_it_keeps_and_how_to_go_on(workspace):
    run = finished_sweep(workspace, "scaling", iter([{"type": "group_done", "group": a_sweep("scaling").groups()[0].id}]))
    said = cli_sweep.what_was_kept(run)
    assert said.startswith(f"cancelled: 9 of 36 students are finished and kept in run {run.id}")
    assert "Try again on the Runs page" in said


def diagnostic(row):
    """The same number or block of distances of the diagnostic map, much larger; any other event as it is."""
    if row["type"] not in ("measurement", "distances"):
        return row
    values = {"value": 10 * row["value"]} if "value" in row else {"values": [100 * value for value in row["values"]]}
    return row | values | {"outside_range": "teacher"}


def test_the_diagnostic_map_is_never_mixed_with_the_students_of_a_sweep(workspace, store):
    written = list(scaling_events())
    plain = finished_sweep(workspace, "scaling", iter(written))
    both = finished_sweep(workspace, "scaling", (row for event in written for row in (event, diagnostic(event))))
    store.ingest()
    assert store.rows("select count(*) as n from measurements where outside_range = 'teacher'")[0]["n"] > 100
    for read in (sweep_queries.sweep_measurements, sweep_queries.sweep_distances):
        assert read(store, both.id).to_json() == read(store, plain.id).to_json()
    assert sweep_queries.sweep_facts(store, both.id) == sweep_queries.sweep_facts(store, plain.id)
    rows = {run.id: sweep_queries.trade_off_rows(store, [run.id]).drop(columns="run_id") for run in (plain, both)}
    assert rows[both.id].to_json() == rows[plain.id].to_json()
    student = written[0]["student"]
    assert (
        wall_queries.facts_of_student(store, both.id, student)["value"] == wall_queries.facts_of_student(store, plain.id, student)["value"]
    )
    found = [wall_queries.distances_of_seeds(store, run.id, student, [0, 1]) for run in (plain, both)]
    assert found[0] == found[1]


def test_the_diagnostic_map_of_an_evaluation_is_in_no_trade_off(workspace, store):
    run = finished_run(workspace)
    append_raw(run, *(diagnostic(event) for event in events(run.id) if event["type"] in ("measurement", "distances")))
    store.ingest()
    assert sweep_queries.trade_off_rows(store)["E_gen"].tolist() == [1.5]
    assert store_queries.noise_distances(store, run.id)["distance"].tolist() == [float(seed) for seed in range(128)]


def test_a_teacher_retrained_with_another_seed_is_not_a_student_to_rank(workspace, store):
    run = finished_run(workspace)
    twin = {"type": "checkpoint", "role": "student", "reference": "someone/twin", "revision": "c" * 40}
    append_raw(
        run, twin | {"metadata": {"twin_of": {"revision": "a" * 40}}}, measurement(student="someone/twin", student_revision="c" * 40)
    )
    store.ingest()
    assert sweep_queries.trade_off_rows(store)["student"].tolist() == ["someone/student"]


def test_a_sweep_is_set_beside_its_constant_image_and_the_retrained_floor_of_its_teacher(workspace, store):
    older = finished_sweep(workspace, "scaling")
    store.ingest()
    assert sweep_queries.sweep_baselines(store, older.id) == {}
    newer = finished_sweep(workspace, "scaling", iter([row | {"spread": 4.2} for row in scaling_events()]))
    store.ingest()
    assert sweep_queries.sweep_baselines(store, older.id) == {"constant_image": 4.2}, "the same teacher and noises"
    assert sweep_queries.sweep_baselines(store, newer.id) == {"constant_image": 4.2}
    twin_run(workspace, "a" * 40)
    store.ingest()
    assert sweep_queries.sweep_baselines(store, newer.id) == {"constant_image": 4.2, "retrained_floor": 1.2}
    assert sweep_queries.sweep_baselines(store, older.id) == {"constant_image": 4.2, "retrained_floor": 1.2}
    assert sweep_queries.sweep_baselines(store, "no-such-run") == {}
