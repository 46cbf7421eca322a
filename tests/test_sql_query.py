"""A visitor's SQL: it answers as the store does; whatever it tries, it gets one sentence, in bounded time, and leaves nothing behind."""

import io
import json
import os
import threading
import time
from contextlib import suppress

import duckdb
import psutil
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from pfd_engine.errors import InputError
from pfd_engine.store.database import Store
from pfd_engine.store.schema import TABLES
from pfd_engine.store.sql import child as sql_child
from pfd_engine.store.sql import query as sql_query
from pfd_engine.store.sql.child import BYTES, Refused, answer, open_snapshot
from pfd_engine.store.sql.query import MAX_QUERY, Snapshots, run_query
from pfd_engine.store.sql.tables import EXAMPLES, MEANINGS, schema
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace
from tests.run_samples import append_raw, finished_run, measurement

READ_ONLY = "a query here is one SELECT"


@pytest.fixture(scope="module")
def shipped():
    with Store(None, PUBLISHED_DATABASE) as store:
        yield store


@pytest.fixture(scope="module")
def snapshot(shipped, tmp_path_factory):
    """The shipped results as a snapshot file."""
    return Snapshots(tmp_path_factory.mktemp("snapshots")).current(shipped).path


@pytest.fixture(scope="module")
def reader(snapshot):
    """The snapshot as the child opens it."""
    with open_snapshot(str(snapshot)) as connection:
        yield connection


def refusal(reader, query):
    """Return the sentence that a query gets from the child's own code, which runs here to save the time of a process."""
    with pytest.raises(Refused) as caught:
        answer(reader, query)
    return str(caught.value)


def slept(path, seconds):
    """Ask what is stopped after so many seconds."""
    with suppress(InputError):
        run_query(path, "select sleep_ms(8000)", seconds)


def children():
    return [child for child in psutil.Process().children(recursive=True) if "pfd_engine.store.sql.child" in " ".join(_words(child))]


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_snapshot_holds_every_row_of_every_source_but_no_bytes_of_images(snapshot, shipped):
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        for name, table in TABLES.items():
            expected = [column for column, kind in table.columns.items() if kind != "BLOB"] + ["source"]
            assert connection.sql(f"from {name}").columns == expected
            ((rows, sources),) = connection.execute(f"select count(*), count(distinct source) from {name}").fetchall()
            assert (rows, sources) == tuple(
                shipped.rows(f"select count(*) as rows, count(distinct source) as sources from {name}")[0].values()
            )
            assert rows > 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_answer_as_the_store_does(reader, shipped, name):
    table, cut = answer(reader, EXAMPLES[name])
    expected = shipped.rows(EXAMPLES[name])
    assert cut == ""
    assert 0 < table.num_rows == len(expected)
    for found, row in zip(table.to_pylist(), expected, strict=True):
        assert list(found) == list(row)
        for column, value in row.items():
            assert found[column] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), column


def test_the_documented_columns_are_those_of_the_tables(reader):
    assert set(MEANINGS) == set(TABLES)
    for name, columns in schema().items():
        described, _ = answer(reader, f"describe {name}")
        kinds = dict(zip(*described.select(["column_name", "column_type"]).to_pydict().values(), strict=True))
        assert {column: kind for column, kind, _ in columns} == kinds
        assert set(kinds) == {column for column, kind in TABLES[name].columns.items() if kind != "BLOB"} | {"source"}
        assert all(meaning for _, _, meaning in columns)


@pytest.mark.parametrize("query", [
    "insert into runs (run_id) values ('x')", "update runs set state = 'x'", "delete from runs", "drop table runs",
    "create table x as select 1", "create temp table x as select 1", "create view v as select 1", "create macro f(a) as a",
    "create secret (type s3)", "alter table runs add column x int", "comment on table runs is 'x'",
    "merge into runs using runs as r on true when matched then delete", "truncate runs", "copy runs to 'x.csv'", "copy runs from 'x.csv'",
    "export database 'x'", "import database 'x'", "attach 'x.duckdb'", "detach runs", "install httpfs", "load httpfs",
    "force install httpfs from 'http://127.0.0.1:9'", "update extensions", "set threads = 4", "reset threads", "set variable x = 1",
    "pragma database_list", "pragma enable_external_access = true", "call pragma_version()", "call enable_logging()", "checkpoint",
    "vacuum", "analyze", "begin", "use memory", "prepare p as select 1", "execute p", "explain analyze select 1",
    "copy (select 1) to '/dev/stdout'",
])  # fmt: skip
def test_a_statement_that_is_no_select_is_refused_in_one_sentence(reader, query):
    assert READ_ONLY in refusal(reader, query)


@pytest.mark.parametrize("query", [
    "from read_text('{path}')", "from read_blob('{path}')", "from read_csv('{path}')", "from read_json('{path}')", "from glob('/*')",
    "from read_parquet('{path}')", "from sniff_csv('{path}')", "from parquet_metadata('{path}')", "from parquet_scan('{path}')",
    "from read_duckdb('{path}')", "select (select content from read_text('{path}'))",
    "with a as (select 1) select * from a where exists (from glob('/*'))", "describe select * from read_csv('{path}')",
    "from query('from duckdb_' || 'settings()')", "from query_table('runs')",
    "from json_execute_serialized_sql(json_serialize_sql('from duckdb_settings()'))", "from duckdb_secrets()", "from duckdb_settings()",
    "from duckdb_databases()", "from duckdb_extensions()", "from which_secret('s3://x', 's3')", "from pragma_database_list()",
    "from checkpoint()", "from enable_logging()", "from create_external_resource('x')", "from pandas_scan(1)", "from arrow_scan(1, 1, 1)",
    "from python_map_function((from runs))", "from histogram_values(duckdb_settings, name)", "select getenv('HOME')",
    "select GetEnv('HOME')",
    "select current_setting('secret_directory')",
    "select json_serialize_plan('select current_setting(''allowed_paths'')')", 'from "read_text"(\'{path}\')',
])  # fmt: skip
def test_nothing_but_the_tables_can_be_read(reader, tmp_path, query):
    (tmp_path / "secret.txt").write_text("a,b\n1,2\n")
    said = refusal(reader, query.format(path=tmp_path / "secret.txt"))
    assert READ_ONLY in said
    assert "/" not in said


@pytest.mark.parametrize("query", [
    "from '/etc/passwd'", "from 'x.csv'", "from 'https://127.0.0.1:9/x.parquet'", "from local_frame", "from duckdb_settings",
    "from pg_catalog.pg_settings", "from duckdb_databases", "from sqlite_master",
    "summarize duckdb_settings", "describe 'x.csv'", "pivot duckdb_settings on name in ('threads') using max(value)",
    "select (from duckdb_settings limit 1)", "with x as materialized (from duckdb_settings) from x",
    "from runs, lateral (from duckdb_settings)",
    "with x as (with duckdb_settings as (select 1) select 1) from duckdb_settings",
])  # fmt: skip
def test_there_are_no_tables_but_those_of_the_page(reader, query):
    local_frame = pa.table({"a": [1]})
    assert local_frame.num_rows == 1
    assert "there is no table" in refusal(reader, query)


def test_duckdb_itself_refuses_what_the_names_would_let_through(reader, tmp_path, monkeypatch):
    (tmp_path / "secret.txt").write_text("a,b\n1,2\n")
    monkeypatch.setattr(sql_child, "_check_names", lambda *_: None)
    file = tmp_path / "secret.txt"
    for query in (
        f"from read_text('{file}')", f"from '{file}'", "from glob('/*')", "from duckdb_secrets()", "from enable_logging()",
        "select getenv('HOME')", "with x as (insert into runs (run_id) values ('x') returning 1) from x",
        f"from read_duckdb('{PUBLISHED_DATABASE}')",
    ):  # fmt: skip
        assert str(tmp_path) not in refusal(reader, query)


def test_errors_are_one_line_without_the_paths_of_this_machine(reader, tmp_path):
    assert refusal(reader, "selec 1").startswith("Parser Error: syntax error")
    said = refusal(reader, "select nothing\nfrom runs")
    assert said.startswith('Binder Error: Referenced column "nothing" not found')
    assert "\n" not in said
    with pytest.raises(Refused, match="cannot be opened, run the query again") as caught:
        open_snapshot(str(tmp_path / "absent.duckdb"))
    assert str(tmp_path) not in str(caught.value)
    assert len(refusal(reader, f"select error('{'x' * 3000}')")) <= 300


@pytest.mark.parametrize(("query", "said"), [
    ("select 1; select 2", "these are 2 statements"), ("select 1; drop table runs", "these are 2 statements"),
    (";" * 50, "there is no query"), ("-- nothing", "there is no query"), ("/* nothing */", "there is no query"),
    ("select 1 /* open", "Parser Error"), ("pivot measurements on metric using count(*)", "name the values of a PIVOT"),
    ("select ?", "Values were not provided"), (f"select {','.join('1' * 201)}", "201 columns"),
    ("select " + "+".join("1" * 1900), "expression depth"), (f"select repeat('x', {BYTES + 1})", "first row alone"),
    ("select '\ud800'", "characters that are no text"),
    ("select 1 where 'a' = \0", "Error"),
])  # fmt: skip
def test_odd_texts_get_a_sentence_of_their_own(reader, query, said):
    assert said in refusal(reader, query)


@pytest.mark.parametrize("query", [
    "select 1 -- end", "/* a; b */ select ';' as x;", "with x as (select 1 as a) from x", "from runs limit 1", "values (1)",
    "describe runs", "show tables", "summarize training_curves", "from information_schema.columns",
    "pivot measurements on metric in ('PFD') using count(*) group by size", "(" * 1000 + "select 1" + ")" * 1000, "from range(3)",
    "from summary((from runs))", 'select unnest("values") from noise_distances limit 3',
    "with recursive r as (select 1 as x union all select x + 1 from r where x < 9) select max(x) from r",
])  # fmt: skip
def test_what_only_reads_is_answered(reader, query):
    assert answer(reader, query)[0].num_rows > 0


def test_columns_have_types_that_every_reader_knows_and_names_of_their_own(reader):
    query = """select 1 as a, 2 as A, 1::hugeint as big, 1.5 as decimal, [1.5, null] as list, {'x': 1} as struct, 'b'::blob as bytes,
        interval 1 day as span, null as nothing, 'nan'::double as nan, uuid() as id, date '2026-01-02' as day, 'e'::enum('e') as kind"""
    table, _ = answer(reader, query)
    assert table.column_names[:2] == ["a", "A_1"]
    kinds = {field.name: str(field.type) for field in table.schema}
    assert {kinds[name] for name in ("big", "decimal", "nan")} == {"double"}
    assert {kinds[name] for name in ("struct", "bytes", "span", "nothing", "id", "kind")} == {"string"}


def test_a_result_is_cut_at_the_limits_of_rows_and_of_bytes(reader):
    table, cut = answer(reader, "select * from range(100000000)")
    assert (table.num_rows, cut) == (10_000, "rows")
    assert table.column(0)[-1].as_py() == 9_999
    assert answer(reader, "from range(10000)")[1] == ""
    table, cut = answer(reader, "select repeat('x', 3000) as x from range(10000)")
    assert cut == "bytes"
    assert BYTES - 4000 < table.nbytes <= BYTES


def test_the_process_answers_and_its_result_is_the_same_in_every_format(snapshot, reader):
    query = """select size, num_samples, value, 'nan'::double as nan, [1.5, null] as list
        from measurements where metric = 'E_gen' order by all limit 50"""
    found = run_query(snapshot, query)
    table, _ = answer(reader, query)
    assert (found.table.drop(["nan"]), found.rows, found.cut) == (table.drop(["nan"]), 50, "")
    assert parquet.read_table(io.BytesIO(found.parquet())).column("value") == table.column("value")
    rows = json.loads(found.json())
    assert [row["value"] for row in rows] == table.column("value").to_pylist()
    assert (rows[0]["nan"], rows[0]["list"]) == (None, [1.5, None])
    again = csv.read_csv(io.BytesIO(found.csv()))
    assert again.column("value").to_pylist() == table.column("value").to_pylist()
    assert again.column("list")[0].as_py() == "[1.5, null]"


def test_the_process_sees_nothing_of_our_environment_and_may_write_no_file(snapshot, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    started = []
    real = sql_query.subprocess.Popen
    monkeypatch.setattr(sql_query.subprocess, "Popen", lambda *args, **more: started.append(real(*args, **more)) or started[-1])
    thread = threading.Thread(target=slept, args=(snapshot, 1.5))
    thread.start()
    while not started:
        time.sleep(0.01)
    process = psutil.Process(started[0].pid)
    limits: dict[int, tuple[int, int]] = {}
    deadline = time.monotonic() + 1.4
    while limits.get(psutil.RLIMIT_FSIZE) != (0, 0) and time.monotonic() < deadline:
        limits = {kind: process.rlimit(kind) for kind in (psutil.RLIMIT_FSIZE, psutil.RLIMIT_DATA, psutil.RLIMIT_CPU)}
    assert not any("TOKEN" in name or name == "PFD_HOME" for name in process.environ())
    assert os.getpgid(process.pid) == process.pid
    assert limits[psutil.RLIMIT_DATA][1] <= 2**30
    thread.join()


@pytest.mark.parametrize("query", [
    "with recursive r as (select 1 as x union all select x + 1 from r) select count(*) from r",
    "select count(*) from range(3000000000) a(x) where hash(x) = 1",
])  # fmt: skip
def test_a_query_without_end_is_killed_and_leaves_nothing(snapshot, query):
    before, started = set(snapshot.parent.iterdir()), time.monotonic()
    with pytest.raises(InputError, match=r"took longer than 0\.8 seconds and was stopped"):
        run_query(snapshot, query, 0.8)
    assert time.monotonic() - started < 3
    assert children() == []
    assert set(snapshot.parent.iterdir()) == before


@pytest.mark.parametrize("query", [
    "select repeat('x', 1000000000)", "with recursive r as (select 'x' as x union all select x || x from r) select length(x) from r",
    "select list(x) from range(100000000) t(x)",
])  # fmt: skip
def test_a_query_that_needs_too_much_memory_is_told_so(snapshot, query):
    with pytest.raises(InputError, match="needs more memory than this page allows"):
        run_query(snapshot, query)
    assert children() == []


def test_a_process_that_dies_is_one_sentence(snapshot, monkeypatch):
    monkeypatch.setattr(sql_query.sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="ended without an answer"):
        run_query(snapshot, "select 1")


def test_a_long_text_or_an_empty_one_starts_no_process(snapshot, monkeypatch):
    monkeypatch.setattr(sql_query.subprocess, "Popen", None)
    with pytest.raises(InputError, match="1,000,009 characters, and 4,000 are allowed"):
        run_query(snapshot, "select 1 " + "x" * 10**6)
    with pytest.raises(InputError, match="no query"):
        run_query(snapshot, " \n")
    assert MAX_QUERY == 4000


def test_more_queries_than_places_wait_a_little_and_are_told_so(snapshot, monkeypatch):
    monkeypatch.setattr(sql_query, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(sql_query, "_places", threading.BoundedSemaphore(1))
    thread = threading.Thread(target=slept, args=(snapshot, 1.0))
    thread.start()
    time.sleep(0.2)
    with pytest.raises(InputError, match="try again in a few seconds"):
        run_query(snapshot, "select 1")
    thread.join()
    assert run_query(snapshot, "select 1").rows == 1


def test_a_snapshot_is_written_once_for_each_version_and_old_ones_go(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_query, "WRITING_SHARE", 0)
    workspace, folder = Workspace(tmp_path / "home"), tmp_path / "home" / "cache" / "sql"
    folder.mkdir(parents=True)
    (folder / "of-an-earlier-server.duckdb").write_bytes(b"old")
    run = finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        snapshots, versions = Snapshots(folder), []
        for number in range(4):
            current = snapshots.current(store)
            assert snapshots.current(store) is current
            with open_snapshot(str(current.path)) as reader:
                table, _ = answer(reader, "select value from measurements order by value")
            assert table.column("value").to_pylist() == [
                row["value"] for row in store.rows("select value from measurements order by value")
            ]
            versions.append(current.path.name)
            append_raw(run, measurement(metric="E_gen", step=number))
            assert store.ingest() > 0
            assert current.age(store) > 0
        assert sorted(path.name for path in folder.iterdir()) == sorted(versions[-2:])
        current.path.unlink()
        assert snapshots.current(store).path.exists()


def test_a_snapshot_that_was_slow_to_write_serves_for_a_while(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "home")
    run = finished_run(workspace)
    monkeypatch.setattr(sql_query, "WRITING_SHARE", 10**6)
    with Store(workspace, None) as store:
        snapshots = Snapshots(tmp_path / "sql")
        first = snapshots.current(store)
        append_raw(run, measurement(metric="E_gen", step=5))
        store.ingest()
        assert snapshots.current(store) is first


def test_a_snapshot_that_cannot_be_written_is_one_sentence_and_leaves_no_draft(tmp_path, shipped, monkeypatch):
    def full(path):
        path.write_bytes(b"half")
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(shipped, "snapshot", full)
    with pytest.raises(InputError, match="free space"):
        Snapshots(tmp_path / "sql").current(shipped)
    assert list((tmp_path / "sql").iterdir()) == []
