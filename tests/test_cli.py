"""The command line: one JSON object or a few lines on stdout, one sentence on stderr, and the exit status that belongs to it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import psutil
import pytest
import torch

from pfd_engine.cli.doctor import _writable
from pfd_engine.cli.main import main
from pfd_engine.cli.output import ProgressBar, describe_result, print_table
from pfd_engine.models.bundled import GENERALIZES, MEMORIZES, TEACHER
from pfd_engine.runs.folder import Run, list_runs
from pfd_engine.store.database import Store
from pfd_engine.workspace import ASSETS, Workspace
from tests.judged_samples import details
from tests.run_processes import REPOSITORY, call, command, environment, wait_until
from tests.run_samples import a_config, append_raw, finished_run, measurement

PAIR = ("--teacher", str(ASSETS / TEACHER), "--student", str(ASSETS / MEMORIZES))
STAND_IN = ("--teacher", "someone/teacher", "--student")
OF_JSON = (
    "value stderr ci_low ci_high shuffled rms_per_coordinate num_noises noise_seed descriptor solver steps student_steps sigma_min "
    "sigma_max network_calls discretization_error teacher student memorization seconds run_id"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in this process, which is quick, on the workspace of the test."""

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        status = main(words)
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    return ask


def refusal(answer: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on stderr of a command that must have refused."""
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    (line,) = answer.stderr.splitlines()
    return line


def test_evaluate_prints_one_json_object_and_keeps_the_run(workspace: Workspace) -> None:
    answer = call(workspace.root, "evaluate", *PAIR, "--noises", "64", "--steps", "4", "--json")
    assert answer.returncode == 0, answer.stderr
    (line,) = answer.stdout.splitlines()
    result = json.loads(line)
    assert set(OF_JSON.split()) <= set(result)
    assert result["ci_low"] < result["value"] < result["ci_high"] < result["shuffled"]
    assert set(result["memorization"]) >= {"e_mem", "stderr", "ci_low", "ci_high", "memorization_ratio", "num_samples"}
    assert "noises" in answer.stderr
    (run,) = list_runs(workspace)
    assert run.id == result["run_id"]
    assert (run.status.state, run.status.exit_code) == ("finished", 0)
    shown = call(workspace.root, "results", "--json", "--metric", "PFD", "--run", run.id)
    assert [row["value"] for row in json.loads(shown.stdout)] == [result["value"]]


def test_evaluate_prints_a_few_lines_for_people(workspace: Workspace) -> None:
    answer = call(workspace.root, "evaluate", *PAIR, "--noises", "16", "--steps", "2")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("PFD ")
    assert "memorized" in answer.stdout
    assert list_runs(workspace)[0].id in answer.stdout


def test_a_queued_run_waits_for_a_worker_and_gives_the_same_numbers(workspace: Workspace) -> None:
    words = ("evaluate", *PAIR, "--noises", "64", "--steps", "4", "--json")
    queued = call(workspace.root, *words, "--queue")
    (run,) = list_runs(workspace)
    assert json.loads(queued.stdout) == {"run_id": run.id, "state": "queued"}
    assert run.status.state == "queued"
    assert call(workspace.root, "worker", "--drain").returncode == 0
    assert run.status.state == "finished", run.log_tail()
    at_once = json.loads(call(workspace.root, *words).stdout)
    assert run.result is not None
    assert run.result["value"] == at_once["value"]


BAD = {
    "noises of 0": (("--noises", "0"), "number of noises is 0"),
    "noises of 10^9": (("--noises", "1000000000"), "number of noises is 1000000000"),
    "noises that are no number": (("--noises", "many"), "noises is 'many'"),
    "negative noises": (("--noises", "-5"), "number of noises is -5"),
    "unknown solver": (("--solver", "rk45"), "choose one of heun"),
    "unknown descriptor": (("--descriptor", "clip"), "choose one of"),
    "SSCD without its file": (("--descriptor", "sscd"), "sscd"),
    "seed of a training set": (("--seed", str(2**30)), "seed is"),
    "seeds over the end": (("--seed", str(2**24 - 5)), "leave the evaluation range"),
    "sigma below the model's": (("--sigma-min", "0.0001"), "sigma_min"),
    "sigma above the model's": (("--sigma-max", "500"), "sigma_max"),
    "sigmas exchanged": (("--sigma-min", "5", "--sigma-max", "1"), "sigma_min 5.0 is not below"),
    "sigma not finite": (("--sigma-max", "nan"), "sigma is nan"),
    "steps of 0": (("--steps", "0"), "number of steps is 0"),
    "student steps of a PF-ODE student": (("--student-steps", "2"), "steps"),
    "target of 5": (("--target-relative-error", "5"), "target relative error is 5"),
    "batch size of 0": (("--batch-size", "0"), "batch size is 0"),
    "unknown device": (("--device", "tpu"), "device is 'tpu'"),
    "no CUDA device": (("--device", "cuda"), "CUDA"),
    "malformed reference": (("--teacher", "not a reference"), "is no reference"),
    "folder that is not there": (("--student", "./nowhere"), "nowhere"),
    "NUL in a reference": (("--student", "./a\x01b"), "b"),
    "no network": (("--teacher", "someone/model"), "someone/model"),
    "training set that is not there": (("--training-set", "./nowhere"), "nowhere"),
    "unknown flag": (("--frobnicate",), "unrecognized arguments: --frobnicate"),
    "abbreviated flag": (("--noise", "12"), "unrecognized arguments"),
    "flag without value": (("--noises",), "expected one argument"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_start_is_one_sentence_and_leaves_no_run(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, part = BAD[name]
    if name == "no CUDA device" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    status = main(["evaluate", *PAIR, *words, "--json"])
    output, error = capfd.readouterr()
    assert status == 2, error
    assert output == ""
    (line,) = error.splitlines()
    assert part in line
    assert list_runs(Workspace(tmp_path / "workspace")) == []


@pytest.mark.parametrize("field", ["teacher", "student", "training-set"])
def test_a_folder_that_is_not_there_is_refused_before_it_is_queued(field: str, workspace: Workspace, tmp_path: Path, ask: Ask) -> None:
    assert "there is no folder ./nowhere" in refusal(ask("evaluate", *PAIR, f"--{field}", "./nowhere", "--queue"))
    (tmp_path / "file").touch()
    answer = ask("evaluate", *PAIR, f"--{field}", str(tmp_path / "file"), "--queue")
    assert answer.returncode == 2
    assert "is a file" in refusal(answer)
    assert list_runs(workspace) == []


def test_the_command_of_the_worker_is_named_nowhere(ask: Ask) -> None:
    assert "'evaluate'" in refusal(ask("frobnicate"))
    assert "'run'" not in ask("frobnicate").stderr
    assert "run folder" not in ask("--help").stdout


def test_bad_commands_are_one_sentence(workspace: Workspace, ask: Ask) -> None:
    for words in ((), ("frobnicate",), ("evaluate",), ("results", "--limit", "x"), ("export",), ("publish-results",), ("run", "/nowhere")):
        answer = ask(*words)
        assert answer.returncode == 2
        assert refusal(answer)


@pytest.mark.parametrize(
    ("behavior", "status", "part", "runs"),
    [
        ("input-error", 2, "teacher is 3x64x64", 0),
        ("prepare-exception", 2, "unexpected error (ZeroDivisionError)", 0),
        ("exception", 1, "unexpected error (ZeroDivisionError)", 1),
        ("run-error", 1, "NaN", 1),
        ("os-disk-full", 1, "the disk is full", 1),
        ("no-result", 1, "without a result", 1),
    ],
)
def test_a_failure_is_one_sentence_with_the_right_status(workspace: Workspace, behavior: str, status: int, part: str, runs: int) -> None:
    answer = call(workspace.root, "evaluate", *STAND_IN, f"test/{behavior}", "--json", stand_in=True)
    assert answer.returncode == status
    assert part in refusal(answer)
    found = list_runs(workspace)
    assert len(found) == runs
    for run in found:
        assert (run.status.state, run.status.exit_code) == ("failed", status)
    if "unexpected" in part:
        log = found[0].log_path if found else workspace.root / "errors.log"
        assert "ZeroDivisionError: nobody foresaw this" in log.read_text()
        assert str(log) in answer.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_control_c_and_termination_cancel_the_run_cleanly(workspace: Workspace, number: signal.Signals) -> None:
    process = subprocess.Popen(
        command("evaluate", *STAND_IN, "test/slow", "--json"), env=environment(workspace_root(workspace), stand_in=True), cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs inherit SIGINT ignored
    )  # fmt: skip
    wait_until(lambda: any(run.status.phase == "noises" for run in list_runs(workspace)))
    process.send_signal(number)
    output, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert output == ""
    assert "Traceback" not in error
    assert error.splitlines()[-1].endswith("cancelled")
    (run,) = list_runs(workspace)
    assert (run.status.state, run.status.exit_code) == ("cancelled", 130)
    assert not run.is_locked


def workspace_root(workspace: Workspace) -> Path:
    workspace.root.mkdir(exist_ok=True)
    return workspace.root


def test_results_as_a_table_are_the_newest_fifty_and_say_how_to_get_the_others(workspace: Workspace, ask: Ask) -> None:
    run = finished_run(workspace)
    append_raw(run, *(measurement(metric="E_mem", student=f"someone/{number}") for number in range(60)))
    shown = ask("results", "--run", run.id)
    assert len(shown.stdout.splitlines()) == 1 + 50
    assert shown.stderr.startswith("11 more rows are not shown")
    assert "--limit 61" in shown.stderr
    assert len(ask("results", "--run", run.id, "--limit", "61").stdout.splitlines()) == 1 + 61
    assert len(json.loads(ask("results", "--run", run.id, "--json").stdout)) == 61


def test_results_filters_and_forms(workspace: Workspace, ask: Ask, tmp_path: Path) -> None:
    run, other = finished_run(workspace), finished_run(workspace, a_config(seed=1))
    append_raw(run, measurement(metric="E_mem", value=0.25))
    rows = json.loads(ask("results", "--json").stdout)
    assert [row["run_id"] for row in rows if row["source"] == "workspace"] == [other.id, run.id, run.id]
    assert len(json.loads(ask("results", "--json", "--run", other.id).stdout)) == 1
    assert len(json.loads(ask("results", "--json", "--limit", "2").stdout)) == 2
    (row,) = csv.DictReader(io.StringIO(ask("results", "--csv", "--metric", "E_mem", "--run", run.id).stdout))
    assert (float(row["value"]), row["band"]) == (0.25, "")
    table = ask("results", "--teacher", "someone/teacher").stdout
    assert table.count(run.id) == 2
    assert ask("results", "--csv", "--student", "nobody/nothing").stdout.startswith("experiment,run_id,")
    empty = ask("results", "--student", "nobody/nothing")
    assert empty.returncode == 0
    assert empty.stdout.startswith("no measurements yet")
    for words in (("results",), ("export", "--format", "csv", "--output", str(tmp_path / "none.csv"))):
        refused = ask(*words, "--run", "nosuch")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("there is no run 'nosuch' here")
    assert not (tmp_path / "none.csv").exists()
    for form, read in (("parquet", "read_parquet"), ("csv", "read_csv"), ("json", "read_json")):
        path = tmp_path / f"it's.{form}"
        assert ask("export", "--format", form, "--output", str(path), "--run", run.id).returncode == 0
        found = duckdb.connect().execute(f"select metric, value from {read}(?) order by metric", [str(path)]).fetchall()
        assert found == [("E_mem", 0.25), ("PFD", 1.5)]
    distances = tmp_path / "distances.parquet"
    assert ask("export", "--table", "noise_distances", "--format", "parquet", "--output", str(distances)).returncode == 0
    counted = 'select sum(len("values")) from read_parquet(?) where source = ?'
    assert duckdb.connect().execute(counted, [str(distances), "workspace"]).fetchall() == [(256,)]
    assert ask("export", "--table", "runs", "--output", str(tmp_path / "r.csv"), "--metric", "PFD").returncode == 2
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "nowhere" / "x.csv", tmp_path, tmp_path / "pipe"):
        assert "ordinary file" in refusal(ask("export", "--output", str(target)))
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_line_works_while_the_app_owns_the_database(workspace: Workspace, tmp_path: Path) -> None:
    first = finished_run(workspace)
    with Store(workspace, None) as owner:
        owner.ingest()
        second = finished_run(workspace, a_config(seed=1))
        readers = [
            subprocess.Popen(
                command("results", "--json"), env=environment(workspace.root), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for reader in readers:
            output, _ = reader.communicate(timeout=60)
            assert own_runs(output) == {first.id, second.id}
        output_file = tmp_path / "all.json"
        assert call(workspace.root, "export", "--format", "json", "--output", str(output_file)).returncode == 0
        assert own_runs(output_file.read_text()) == {first.id, second.id}
        answer = call(workspace.root, "evaluate", *STAND_IN, "test/finish", "--json", stand_in=True)
        assert answer.returncode == 0
        owner.ingest()
        assert owner.rows("select count(*) as n from runs") == [{"n": 3}]


def own_runs(rows: str) -> set[str]:
    """Return the runs of the workspace among measurements in JSON, which hold the shipped ones too."""
    return {row["run_id"] for row in json.loads(rows) if row["source"] == "workspace"}


def test_reading_never_writes_the_shipped_results(workspace: Workspace, ask: Ask) -> None:
    shipped = REPOSITORY / "results.duckdb"
    before = shipped.stat() if shipped.exists() else None
    finished_run(workspace)
    ask("results")
    after = shipped.stat() if shipped.exists() else None
    assert (before and (before.st_mtime_ns, before.st_ino)) == (after and (after.st_mtime_ns, after.st_ino))


def test_damaged_events_are_left_out_with_a_warning_on_stderr(workspace: Workspace) -> None:
    run = finished_run(workspace)
    append_raw(run, b"garbage\n", measurement(value="x"))
    answer = call(workspace.root, "results", "--json", "--run", run.id)
    assert answer.returncode == 0
    assert len(json.loads(answer.stdout)) == 1
    assert "2 damaged lines" in answer.stderr


def test_published_results_are_rewritten_whole_and_united_without_doubling(workspace: Workspace, ask: Ask, tmp_path: Path) -> None:
    first, second = finished_run(workspace), finished_run(workspace, a_config(seed=1))
    path = tmp_path / "results.duckdb"
    answer = ask("publish-results", "--run", first.id, "--output", str(path))
    assert answer.returncode == 0, answer.stderr
    assert "1 runs, 1 measurements" in answer.stdout
    with Store(None, path) as demo:
        assert demo.rows("select run_id, source from runs") == [{"run_id": first.id, "source": "published"}]
        assert demo.rows('select sum(len("values")) as n from noise_distances') == [{"n": 128}]
        assert len(demo.rows("select * from checkpoints")) == 2
        assert len(demo.rows("select * from pairs where teacher_png is not null")) == 1
    assert ask("publish-results", "--all", "--output", str(path)).returncode == 0
    with Store(None, path) as demo:
        assert {row["run_id"] for row in demo.rows("select run_id from runs")} >= {first.id, second.id}
    before = path.read_bytes()
    assert ask("publish-results", "--run", "nothing", "--output", str(path)).returncode == 2
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir() if "duckdb" in entry.name) == ["results.duckdb"]


def test_a_folder_of_this_machine_is_not_published(workspace: Workspace, tmp_path: Path) -> None:
    run = finished_run(workspace)
    append_raw(run, measurement(student="/somewhere/else", metric="E_mem"))
    answer = call(workspace.root, "publish-results", "--run", run.id, "--output", str(tmp_path / "r.duckdb"))
    assert answer.returncode == 2
    assert "outside the repository" in refusal(answer)
    assert not (tmp_path / "r.duckdb").exists()
    append_raw(run, measurement(student=str(ASSETS / GENERALIZES), metric="E_mem"))
    inside = finished_run(workspace, a_config(seed=3))
    append_raw(inside, measurement(student=str(ASSETS / GENERALIZES), metric="E_mem"))
    answer = call(workspace.root, "publish-results", "--all", "--output", str(tmp_path / "r.duckdb"))
    assert answer.returncode == 0
    assert answer.stderr == f"warning: the student of run {run.id} is a folder outside the repository: the run is left out\n"
    with Store(None, tmp_path / "r.duckdb") as demo:
        published = [row["run_id"] for row in demo.rows("select run_id from runs")]
        assert inside.id in published
        assert run.id not in published
        (row,) = demo.rows("select student from measurements where metric = 'E_mem' and run_id = ?", [inside.id])
        assert row["student"] == f"./pfd_engine/assets/{GENERALIZES}"
    assert str(REPOSITORY).encode() not in (tmp_path / "r.duckdb").read_bytes()


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_doctor_names_a_file_where_the_workspace_should_be(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = _writable(Workspace(tmp_path / "file" / below))
    assert not check.ok
    assert f"{tmp_path}/file is a file" in check.detail


def test_doctor_says_what_is_sound_and_what_is_not(workspace: Workspace, hub: object) -> None:
    answer = call(workspace.root, "doctor", "--json")
    report = json.loads(answer.stdout)
    assert answer.returncode == 0, report
    names = {check["name"]: check for check in report["checks"]}
    assert set(names) == {"installed", "device", "hub", "workspace", "disk", "database", "shipped results", "worker", "runs"}
    assert "torch" in names["installed"]["detail"]
    assert not workspace.root.exists()
    orphan = finished_run(workspace)
    orphan.write_status(orphan.status.model_copy(update={"state": "running"}))
    workspace.database.write_bytes(b"garbage" * 100)
    answer = subprocess.run(
        command("doctor"), env={**environment(workspace.root), "HF_ENDPOINT": "http://127.0.0.1:9"}, capture_output=True, text=True,
        timeout=60, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert answer.returncode == 1
    failed = [line.split(":")[0].split()[1] for line in answer.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["hub", "database", "runs"]


@pytest.fixture
def read_only(workspace: Workspace) -> Iterator[Run]:
    """A finished run in a workspace on a file system that nobody can write to."""
    workspace.root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(workspace.root)], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        run = finished_run(workspace)
        with Store(workspace, None) as store:
            store.ingest()
        subprocess.run(["mount", "-o", "remount,ro", str(workspace.root)], check=True)
        yield run
    finally:
        subprocess.run(["umount", str(workspace.root)], check=True)


def test_a_read_only_workspace_is_examined_and_its_results_are_read(read_only: Run, tmp_path: Path, ask: Ask) -> None:
    answer = ask("doctor")
    assert answer.returncode == 1
    assert len(answer.stdout.splitlines()) == 9
    (worker,) = [line for line in answer.stdout.splitlines() if " worker: " in line]
    assert worker.startswith("FAIL")
    assert "Read-only file system" in worker
    assert [row["run_id"] for row in json.loads(ask("results", "--json", "--run", read_only.id).stdout)] == [read_only.id]
    assert ask("export", "--output", str(tmp_path / "all.csv")).returncode == 0
    assert read_only.id in (tmp_path / "all.csv").read_text()


@pytest.mark.parametrize(("total", "drawn"), [(8, True), (None, False)])
def test_a_bar_of_unknown_length_does_not_flash(total: int | None, drawn: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as bar:
        for done in range(8):
            bar.show({"type": "progress", "phase": "discretization error", "done": done, "total": total, "unit": "noises"})
    assert ("discretization error" in capsys.readouterr().err) is drawn


def test_help_shows_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "number of noises to compare both models at (default: 1024)" in shown
    assert "(default: heun)" in shown


def test_results_start_without_torch(workspace: Workspace) -> None:
    finished_run(workspace)
    code = "import sys; from pfd_engine.cli.main import main; main(['results']); assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], env=environment(workspace.root), check=True, timeout=60, capture_output=True, cwd=REPOSITORY
    )


def test_an_answer_that_cannot_be_written_is_one_sentence(workspace: Workspace) -> None:
    finished_run(workspace)
    buffered = {name: value for name, value in environment(workspace.root).items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            command("results"), env=buffered, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    assert answer.stderr.count("\n") == 1


def test_output_into_a_closed_pipe_is_no_error(workspace: Workspace) -> None:
    finished_run(workspace)
    process = subprocess.Popen(
        command("results", "--json"), env=environment(workspace.root), cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is full after 300 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_fails_the_run_with_one_sentence(tiny_disk: Path) -> None:
    workspace = Workspace(tiny_disk / "workspace")
    answer = call(workspace.root, "evaluate", *PAIR, "--noises", "2048", "--steps", "2", "--json")
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    assert "disk is full" in answer.stderr.splitlines()[-1]
    (run,) = list_runs(workspace)
    assert run.status.state == "failed"
    assert "disk is full" in (run.status.message or "")
    assert run.events_path.read_bytes().endswith(b"\n")


def test_the_queue_goes_on_after_a_full_disk(tiny_disk: Path) -> None:
    workspace = Workspace(tiny_disk / "workspace")
    large = call(workspace.root, "evaluate", *PAIR, "--noises", "2048", "--steps", "2", "--queue").stdout.strip()
    assert call(workspace.root, "worker", "--drain").returncode == 0
    status = Run(workspace.runs / large).status
    assert (status.state, status.exit_code) == ("failed", 1)
    assert "disk is full" in (status.message or "")


def test_a_disk_full_from_the_start_is_one_sentence(tiny_disk: Path) -> None:
    with (tiny_disk / "filler").open("wb") as filler, suppress(OSError):
        while os.write(filler.fileno(), b"x" * 4096):
            continue
    answer = call(tiny_disk / "workspace", "evaluate", *PAIR, "--noises", "16", "--json")
    assert answer.returncode == 2
    assert "No space left" in answer.stderr.splitlines()[-1]


def test_a_worker_survives_its_starter(workspace: Workspace) -> None:
    call(workspace.root, "evaluate", *STAND_IN, "test/brief", "--queue")
    (run,) = list_runs(workspace)
    code = "from pfd_engine.jobs.worker import ensure_worker; from pfd_engine.workspace import Workspace; import os, signal\n"
    code += "ensure_worker(Workspace.from_environment()); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code], env=environment(workspace.root, stand_in=True), check=False, cwd=REPOSITORY)
    wait_until(lambda: run.status.state == "finished")
    for process in psutil.process_iter(["cmdline", "environ"]):
        words, variables = process.info["cmdline"] or [], process.info["environ"] or {}
        if words[-1:] == ["worker"] and variables.get("PFD_HOME") == str(workspace.root):
            process.kill()


def test_a_result_in_the_terminal_says_its_verdict_or_why_there_is_none(capsys):
    assert "verdict        none: a diagnostic map" in describe_result(details(outside_range="teacher"))
    assert "generalizes: because" in describe_result(details(verdict="generalizes", verdict_reason="because"))
    below = describe_result(details(memorization=None, below_spread=True))
    assert "none without a training set; the student is closer to the teacher than a constant image" in below
    rows = [measurement(run_id="r", source="workspace"), measurement(run_id="r", source="workspace", outside_range="teacher")]
    print_table(rows)
    assert capsys.readouterr().out.count("PFD (diagnostic map)") == 1
