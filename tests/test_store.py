"""The database: what goes in once comes out once, with its source, whatever lies in the run folders."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from pfd_engine.errors import InputError
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.sharing.selection import publish
from pfd_engine.store import schema as store_schema
from pfd_engine.store.database import OwnedElsewhere, Store, TooLarge, migrate, read_results
from pfd_engine.store.ingest import upsert
from pfd_engine.store.queries import runs as queries
from pfd_engine.store.schema import MEASUREMENTS, MIGRATIONS, NOISE_DISTANCES
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.run_samples import a_config, append_raw, finished_run, measurement

CONTRACT = (
    "experiment run_id teacher student family size parameters objective training_set num_samples student_seed step student_steps "
    "metric band value stderr ci_low ci_high noise_seed num_noises descriptor solver solver_steps sigma_min sigma_max source"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def count(store: Store, table: str) -> int:
    return int(store.rows(f"select count(*) as n from {table}")[0]["n"])


def test_every_page_query_answers_for_a_finished_run(workspace: Workspace) -> None:
    run = finished_run(workspace)
    with Store(workspace, None) as store:
        assert store.ingest() > 0
        assert queries.runs(store)["run_id"].tolist() == [run.id]
        row = queries.run(store, run.id)
        assert row is not None
        assert row["result"]["value"] == 1.5
        assert row["config"]["num_noises"] == 128
        assert row["command"].startswith("python -m pfd_engine evaluate --teacher someone/teacher")
        assert queries.measurements_of(store, run.id)["value"].tolist() == [1.5]
        latest = queries.latest_results(store)
        assert latest["value"].tolist() == [1.5]
        assert latest["seconds"].tolist() == [2.0]
        distances = queries.noise_distances(store, run.id)
        assert distances["seed"].tolist() == list(range(128))
        assert distances["distance"].tolist() == [float(seed) for seed in range(128)]
        (pair,) = queries.pairs(store, run.id)
        assert pair["teacher_png"].startswith(b"\x89PNG")
        assert pair["nearest_png"] is None
        assert set(queries.checkpoints(store)["reference"]) == {"someone/teacher", "someone/student"}
        assert len(queries.checkpoints(store, "someone/teacher")) == 1
        (timing,) = queries.past_timings(store)
        assert timing["seconds"] == 2.0
        assert timing["teacher"]["calls"] == 3500
        assert queries.run(store, "evaluate-20260101-000000-00000000") is None
        assert queries.training_sets(store).empty


def test_measurements_have_the_columns_of_the_contract(workspace: Workspace) -> None:
    with Store(workspace, None) as store:
        columns = store.frame("select * from measurements").columns
    assert set(CONTRACT.split()) <= set(columns)
    assert "key" not in columns


def test_lines_repeated_by_a_resumed_run_count_once(workspace: Workspace) -> None:
    run = finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        before = {name: count(store, name) for name in store_schema.TABLES}
        append_raw(run, run.events_path.read_bytes())
        append_raw(run, measurement(value=1.75))
        store.ingest()
        assert {name: count(store, name) for name in store_schema.TABLES} == before
        assert queries.measurements_of(store, run.id)["value"].tolist() == [1.75]


def test_a_row_differs_by_each_identifying_column_and_by_no_other() -> None:
    base = MEASUREMENTS.row(measurement() | {"run_id": "r"})["key"]
    for name, kind in MEASUREMENTS.columns.items():
        other = MEASUREMENTS.row(measurement() | {"run_id": "r"} | {name: "x" if kind == "VARCHAR" else 77})["key"]
        assert (other != base) == (name in (*MEASUREMENTS.identity, *MEASUREMENTS.later_identity)), name
    assert MEASUREMENTS.row(measurement(sigma_max=80.0) | {"run_id": "r"})["key"] == base


def test_only_whole_lines_are_read_and_the_rest_later(workspace: Workspace) -> None:
    run, lock = claim_new_run(workspace, a_config())
    line = json.dumps(measurement()).encode()
    append_raw(run, measurement(metric="E_mem"), line[:50])
    with Store(workspace, None) as store:
        store.ingest()
        assert queries.measurements_of(store, run.id)["metric"].tolist() == ["E_mem"]
        append_raw(run, line[50:] + b"\n")
        store.ingest()
        assert queries.measurements_of(store, run.id)["metric"].tolist() == ["E_mem", "PFD"]
        assert store.ingest() == 0
    lock.release()


def test_damaged_and_hostile_lines_are_left_out_with_a_warning(workspace: Workspace) -> None:
    run = finished_run(workspace)
    hostile: list[bytes | dict[str, Any]] = [
        b"\xff\xfe\x00garbage\n", b"[1, 2]\n", b"{}\n", b'"text"\n', b"[" * 50_000 + b"\n", b'{"type": 5}\n', b"1" * 5000 + b"\n",
        measurement(value="1; drop table measurements"), measurement(value=None), measurement(value=float("nan")),
        measurement(parameters=2**70),
        measurement(parameters=1e400), measurement(teacher=["a"]), measurement(teacher="\ud800"), measurement(teacher="a\0b"),
        {"type": "distances", "metric": "PFD", "seeds_start": 0, "seeds_stop": 10**18, "values": [1.0]},
        {"type": "pair", "seed": 1, "rank": 1, "group": "nearest", "distance": 1.0, "teacher_png": "bm8gcG5n", "student_png": "!!"},
        {"type": "result", "result": {"value": float("inf")}}, {"type": "result", "result": 3},
        {"type": "checkpoint", "role": "teacher", "reference": {"a": 1}},
    ]  # fmt: skip
    append_raw(run, *hostile, measurement(metric="E_emp", run_id="somebody-else's"))
    with Store(workspace, None) as store:
        store.ingest()
        found = queries.measurements_of(store, run.id)
        assert found["metric"].tolist() == ["E_emp", "PFD"]
        assert count(store, "measurements") == 2
        store.ingest()
        (warning,) = store.warnings
    assert "damaged lines" in warning


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"teacher": 3}', b'{"teacher": "\\u0000"}', b"null"])
@pytest.mark.parametrize("name", ["config.json", "status.json"])
def test_a_damaged_run_folder_does_not_keep_others_out(workspace: Workspace, name: str, content: bytes) -> None:
    bad = finished_run(workspace)
    good = finished_run(workspace, a_config(seed=1))
    (bad.path / name).write_bytes(content)
    (workspace.runs / "not a run").mkdir()
    (workspace.runs / "evaluate-20260101-000000-deadbeef").mkdir()
    with Store(workspace, None) as store:
        store.ingest()
        assert good.id in queries.latest_results(store)["run_id"].tolist()
        assert len(queries.runs(store)) == 3


def test_a_second_owner_is_refused_and_reads_the_run_folders(workspace: Workspace) -> None:
    run = finished_run(workspace)
    with Store(workspace, None) as owner:
        owner.ingest()
        with pytest.raises(OwnedElsewhere):
            Store(workspace, None)
        code = (
            "import sys; from pathlib import Path; from pfd_engine.store.database import read_results;"
            "from pfd_engine.workspace import Workspace;"
            "s = read_results(Workspace(Path(sys.argv[1])), None); print(s.rows('select run_id, source from measurements'))"
        )
        answer = subprocess.run([sys.executable, "-c", code, str(workspace.root)], capture_output=True, text=True, timeout=60, check=True)
        assert run.id in answer.stdout
        assert "'workspace'" in answer.stdout
    Store(workspace, None).close()


def test_nothing_is_published_where_no_run_can_be(workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    append_raw(finished_run(workspace), measurement(student="~/models/mine"))
    with read_results(workspace, None) as store, pytest.raises(InputError, match="no finished run can be published"):
        publish(store, None, tmp_path / "r.duckdb")
    assert "is a folder outside the repository: the run is left out" in caplog.text
    assert not (tmp_path / "r.duckdb").exists()


def test_a_student_of_the_workspace_is_published_without_the_path_of_this_machine(workspace: Workspace, tmp_path: Path) -> None:
    run = finished_run(workspace)
    append_raw(run, measurement(student=str(run.path / "student")))
    with read_results(workspace, None) as store:
        publish(store, None, tmp_path / "r.duckdb")
    with Store(None, tmp_path / "r.duckdb") as store:
        students = {row["student"] for row in store.rows("select student from measurements")}
    assert f"./workspace/runs/{run.id}/student" in students
    assert not [name for name in students if name.startswith("/")]


def test_published_distances_keep_nine_digits(workspace: Workspace, tmp_path: Path) -> None:
    query = 'select "values" from noise_distances order by metric, seeds_start'
    run = finished_run(workspace)
    with read_results(workspace, None) as store:
        measured = [np.array(row["values"]) for row in store.rows(query)]
        publish(store, [run.id], tmp_path / "r.duckdb")
    with Store(None, tmp_path / "r.duckdb") as store:
        published = [np.array(row["values"]) for row in store.rows(query)]
    assert len(published) == len(measured) > 0
    for ours, theirs in zip(published, measured, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=5.1e-9 * theirs.max())


def published_file(tmp_path: Path, value: float) -> Path:
    path = tmp_path / "published.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("attach ? as p", [":memory:"])
        migrate(connection, "published")
        row = MEASUREMENTS.row(measurement(value=value) | {"run_id": "shipped"})
        upsert(connection, "published", MEASUREMENTS, [row])
    return path


def test_shipped_results_are_united_read_only(workspace: Workspace, tmp_path: Path) -> None:
    path = published_file(tmp_path, 9.0)
    before = path.read_bytes()
    finished_run(workspace)
    with Store(workspace, path) as store:
        store.ingest()
        assert set(store.frame("select source, value from measurements").itertuples(index=False, name=None)) == {
            ("workspace", 1.5),
            ("published", 9.0),
        }
        with pytest.raises(duckdb.Error):
            store.frame("delete from published.measurements")
        with Store(None, path) as demo:
            assert demo.ingest() == 0
            assert demo.frame("select source from measurements")["source"].tolist() == ["published"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a database", None])
def test_shipped_results_that_cannot_be_read_are_left_out_with_a_warning(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "published.duckdb"
    if content is None:
        with duckdb.connect(str(path)) as connection:
            connection.execute("create table migrations (version integer)")
            connection.execute("insert into migrations values (999)")
    else:
        path.write_bytes(content)
    with Store(None, path) as store:
        assert store.frame("select * from measurements").empty
        assert len(store.warnings) == 1


@pytest.mark.parametrize("damage", ["garbage", "future"])
def test_a_workspace_database_that_cannot_be_read_is_rebuilt_from_the_runs(workspace: Workspace, damage: str) -> None:
    run = finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
    if damage == "garbage":
        workspace.database.write_bytes(b"garbage" * 1000)
    else:
        with duckdb.connect(str(workspace.database)) as connection:
            connection.execute("insert into migrations (version) values (999)")
    with Store(workspace, None) as store:
        store.ingest()
        assert queries.latest_results(store)["run_id"].tolist() == [run.id]
        assert "rebuilt" in store.warnings[0]


def test_a_later_version_migrates_without_losing_rows(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
    later = ["alter table {database}.measurements add column note varchar"]
    monkeypatch.setattr("pfd_engine.store.database.MIGRATIONS", [*MIGRATIONS, later])
    with Store(workspace, None) as store:
        assert store.frame("select note, value from measurements")["value"].tolist() == [1.5]
        assert store.rows("select max(version) as v from workspace.migrations") == [{"v": len(MIGRATIONS) + 1}]


def test_a_database_of_the_first_version_gains_the_columns_of_students(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = duckdb.connect(":memory:")
    connection.execute("attach ':memory:' as w")
    monkeypatch.setattr("pfd_engine.store.database.MIGRATIONS", MIGRATIONS[:1])
    migrate(connection, "w")
    old = NOISE_DISTANCES.row({"run_id": "r", "metric": "PFD", "seeds_start": 0, "seeds_stop": 2, "values": [1.0, 2.0]})
    names = ("key", "run_id", "metric", "seeds_start", "seeds_stop", "values")
    connection.execute(
        'insert into w.noise_distances (key, run_id, metric, seeds_start, seeds_stop, "values") values (?, ?, ?, ?, ?, ?)',
        [old[name] for name in names],
    )
    monkeypatch.setattr("pfd_engine.store.database.MIGRATIONS", MIGRATIONS)
    migrate(connection, "w")
    new = NOISE_DISTANCES.row({**old, "student": "mlp-64 N=16 seed 0", "step": 10})
    assert new["key"] != old["key"]
    upsert(connection, "w", NOISE_DISTANCES, [old, new])
    assert connection.execute("select student from w.noise_distances order by student nulls first").fetchall() == [
        (None,),
        (new["student"],),
    ]
    connection.close()


def test_published_results_of_the_second_version_are_read_as_they_are(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "published.duckdb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pfd_engine.store.database.MIGRATIONS", MIGRATIONS[:2])
        connection = duckdb.connect(":memory:")
        connection.execute("attach ? as published", [str(path)])
        migrate(connection, "published")
        names = "key, run_id, source"
        connection.execute(f"insert into published.runs ({names}) values ('k', 'r', 'published')")
        connection.execute(
            f"insert into published.pairs ({names}, \"group\", rank, seed, distance) values ('k', 'r', 'published', 'median', 1, 2, 3)"
        )
        connection.close()
    before = path.read_bytes()
    run = finished_run(workspace)
    with Store(workspace, path) as store:
        store.ingest()
        assert [(row["seed"], row["empirical_png"]) for row in queries.pairs(store, "r")] == [(2, None)]
        assert [row["seed"] for row in queries.pairs(store, run.id)] == [3]
    assert path.read_bytes() == before


def test_a_failed_migration_changes_nothing(workspace: Workspace) -> None:
    connection = duckdb.connect(":memory:")
    connection.execute("attach ':memory:' as w")
    migrate(connection, "w")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pfd_engine.store.database.MIGRATIONS", [*MIGRATIONS, ["create table {database}.extra (a int)", "create nonsense"]])
        with pytest.raises(duckdb.Error):
            migrate(connection, "w")
    assert connection.execute("select max(version) from w.migrations").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("select count(*) from duckdb_tables() where table_name = 'extra'").fetchone() == (0,)
    connection.close()


def test_reading_goes_on_beside_ingestion_from_many_threads(workspace: Workspace) -> None:
    errors: list[BaseException] = []
    run, lock = claim_new_run(workspace, a_config())
    with Store(workspace, None) as store, EventLog(run.events_path) as log:

        def read() -> None:
            try:
                for _ in range(30):
                    store.ingest()
                    assert store.frame("select count(*) as n from measurements")["n"][0] >= 0
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for seed in range(200):
            log.append(measurement(student_seed=seed), durable=False)
        for thread in threads:
            thread.join()
        store.ingest()
        assert not errors
        assert count(store, "measurements") == 200
    lock.release()


def test_the_event_file_replaced_by_a_shorter_one_is_read_again(workspace: Workspace) -> None:
    run = finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        run.events_path.write_bytes(json.dumps(measurement(metric="E_emp")).encode() + b"\n")
        store.ingest()
        assert set(queries.measurements_of(store, run.id)["metric"]) == {"PFD", "E_emp"}


def test_filters_bind_their_values(workspace: Workspace) -> None:
    run: Run = finished_run(workspace)
    finished_run(workspace, a_config(seed=1))
    with read_results(workspace, None) as store:
        assert len(queries.measurements(store)) == 2
        assert queries.measurements(store, run_ids=[run.id], metrics=["PFD"])["run_id"].tolist() == [run.id]
        assert queries.measurements(store, metrics=["E_mem"]).empty
        assert queries.measurements(store, teacher="x' or '1' = '1").empty
        assert len(queries.measurements(store, student="someone/student", limit=1)) == 1


def test_the_store_loads_no_torch() -> None:
    code = "import sys, pfd_engine.store.queries.runs, pfd_engine.jobs.worker, pfd_engine.cli.main; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_run_that_was_read_after_its_end_is_passed_over_unless_asked_for(workspace: Workspace) -> None:
    run = finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        store.ingest(ended=False)  # the first look after the end may find its last lines
        append_raw(run, measurement(metric="E_emp"))
        assert store.ingest(ended=False) == 0
        other = finished_run(workspace, a_config(seed=1))
        assert store.ingest(ended=False) > 0
        assert {row["run_id"] for row in store.rows("select run_id from runs")} == {run.id, other.id}
        assert store.ingest() > 0
        assert queries.measurements_of(store, run.id)["metric"].tolist() == ["E_emp", "PFD"]


def test_a_failed_run_that_is_tried_again_is_read_again(workspace: Workspace) -> None:
    run = finished_run(workspace)
    run.write_status(run.status.model_copy(update={"state": "failed"}))
    with Store(workspace, None) as store:
        store.ingest()
        store.ingest(ended=False)
        run.write_status(run.status.model_copy(update={"state": "running"}))
        append_raw(run, measurement(metric="E_emp"))
        assert store.ingest(ended=False) > 0
        assert queries.run(store, run.id)["state"] == "running"  # type: ignore[index]


def test_the_version_changes_when_rows_are_written_and_at_no_other_time(workspace: Workspace) -> None:
    finished_run(workspace)
    with Store(workspace, None) as store:
        empty = store.version
        store.ingest()
        filled = store.version
        store.ingest()
        assert empty != filled == store.version


def test_memory_is_bounded_and_what_does_not_fit_goes_to_a_folder_of_its_own(workspace: Workspace) -> None:
    with Store(workspace, None) as store:
        rows = store.rows("select name, value from duckdb_settings() where name in ('memory_limit', 'temp_directory')")
        settings = {row["name"]: row["value"] for row in rows}
    assert settings["memory_limit"].startswith("190.")  # MiB
    assert not Path(settings["temp_directory"]).exists()
    assert REPOSITORY not in Path(settings["temp_directory"]).parents


def test_a_question_too_large_for_the_memory_is_refused_in_one_sentence_and_the_store_goes_on(workspace: Workspace) -> None:
    finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        with pytest.raises(TooLarge, match="filter further"):
            store.rows("select length(list(x)::varchar) as n from (select repeat('a', 1000) as x from range(1000000))")
        assert count(store, "runs") == 1
