"""The command line: parses the words, calls the engine, and turns every outcome into an exit status and at most one sentence."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pfd_engine.cli_distill import add_distill_options, describe_distillation, distill_config
from pfd_engine.cli_push import add_push_options, push
from pfd_engine.cli_share import add_publish_options, add_pull_options, pull
from pfd_engine.cli_share import publish as share
from pfd_engine.cli_sweep import add_sweep_options, describe_sweep_run, print_cost, print_students, what_was_kept
from pfd_engine.config import EvaluateConfig
from pfd_engine.descriptors import descriptor_names
from pfd_engine.errors import Cancelled, InputError, PFDError
from pfd_engine.run_config import RunConfig
from pfd_engine.solvers import SOLVERS
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace

if TYPE_CHECKING:
    from pfd_engine.runs import Run

OK, FAILED, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
}
TABLE_ROWS = 50
TABLES = ("measurements", "runs", "noise_distances", "checkpoints", "training_sets", "training_curves")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 failed after its start, 2 could not start, 130 interrupted."""
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        options = _parser(words).parse_args(words)
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except SystemExit as stop:
        return int(stop.code or 0)
    except (KeyboardInterrupt, Cancelled):
        return _say("interrupted", INTERRUPTED)
    except InputError as error:
        return _say(str(error), NOT_STARTED)
    except PFDError as error:
        return _say(str(error), FAILED)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        return _unexpected(error)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m pfd_engine", description="Probability flow distance between diffusion models.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        formatter = argparse.ArgumentDefaultsHelpFormatter
        added = commands.add_parser(name, help=text, description=text, formatter_class=formatter, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    _add_evaluate(command("evaluate", _evaluate, "Measure the PFD between a teacher and a student, at once."))
    add_distill_options(command("distill", _distill, "Train a student of a teacher, and measure it."))
    text = "Train and measure the students of an experiment: a bundled spec by name, or a TOML file."
    add_sweep_options(command("sweep", _sweep, text))
    add_push_options(command("push", push, "Put a student on the Hugging Face Hub, with its model card."))

    text = "Publish finished runs as a dataset repository on the Hub, or as a folder."
    add_publish_options(command("publish", lambda options: share(options, _open_results), text))
    add_pull_options(command("pull", pull, "Open published results of others beside your own."))

    worker = command("worker", _worker, "Execute queued runs, each in a process of its own, until stopped.")
    worker.add_argument("--drain", action="store_true", help="stop when nothing is queued or running")
    if words[:1] == ["run"]:  # no command for people: neither the help nor a message names it
        command("run", _run, "Execute one run folder (the worker's child).").add_argument("folder", type=Path)

    results = command("results", _results, "Show measurements, newest run first.")
    _add_filters(results)
    results.add_argument("--limit", type=int, default=None, metavar="N", help="show at most N rows; None: 50 in a table, all otherwise")
    form = results.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array of objects")
    form.add_argument("--csv", action="store_true", help="print CSV with all columns")

    export = command("export", _export, "Write results to a file.")
    _add_filters(export)
    export.add_argument("--table", choices=TABLES, default="measurements", help="what to write; the filters are for measurements")
    export.add_argument("--format", choices=("csv", "parquet", "json"), default="csv", help="format of the file")
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write; replaced as a whole")

    publish = command("publish-results", _publish, "Rewrite the shipped results from finished runs.")
    which = publish.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="run_ids", action="append", metavar="ID", help="a run to publish; may be given again")
    which.add_argument("--all", action="store_true", help="publish every finished run of this workspace")
    publish.add_argument("--output", type=Path, default=PUBLISHED_DATABASE, metavar="FILE", help="the file to rewrite")

    site = command("export-site", _export_site, "Write the finding pages as plain HTML that needs no server and no network.")
    site.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is new, empty or an earlier snapshot")
    site.add_argument(
        "--run", dest="run_ids", action="append", metavar="ID", help="a run to show; may be given again; None: what Home shows"
    )

    doctor = command("doctor", _doctor, "Say what is installed and whether the device, the Hub and the workspace are sound.")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    default = {name: field.default for name, field in EvaluateConfig.model_fields.items()}

    def option(flag: str, name: str, text: str, metavar: str, *, required: bool = False) -> None:
        # Values stay text here: the configuration checks them, in the same words as the form.
        value = argparse.SUPPRESS if required else default[name]
        parser.add_argument(flag, dest=name, metavar=metavar, default=value, required=required, help=text)

    option("--teacher", "teacher", "owner/name[@revision] on the Hub, or a path that starts with '.', '/' or '~'", "REF", required=True)
    option("--student", "student", "the distilled model, named in the same way", "REF", required=True)
    option("--training-set", "training_set", "adds E_mem and the memorization ratio; None: what the student's folder names", "REF")
    option("--noises", "num_noises", "number of noises to compare both models at", "M")
    option("--seed", "seed", "first seed of the noises", "SEED")
    option("--solver", "solver", f"PF-ODE solver: {', '.join(SOLVERS)}", "NAME")
    option("--steps", "steps", "steps of the PF-ODE solver", "N")
    option("--student-steps", "student_steps", "steps of a few-step student; None: what its configuration says", "K")
    option("--sigma-min", "sigma_min", "lowest noise level; None: the models' own range", "SIGMA")
    option("--sigma-max", "sigma_max", "highest noise level; None: the models' own range", "SIGMA")
    option("--descriptor", "descriptor", f"what is compared: {', '.join(descriptor_names())}", "NAME")
    option("--descriptor-file", "descriptor_file", "weights of a descriptor that is not on the Hub", "FILE")
    option("--descriptor-sha256", "descriptor_sha256", "sha256 of that file", "HEX")
    parser.add_argument("--allow-torchscript", action="store_true", help="allow a TorchScript file, which is code, as descriptor")
    option("--batch-size", "batch_size", "noises at a time", "B")
    option("--device", "device", "auto, cpu, cuda or cuda:N", "DEVICE")
    option("--target-relative-error", "target_relative_error", "stop once half the interval is below this share of PFD; None: off", "X")
    parser.add_argument("--queue", action="store_true", help="leave the run to the worker instead of executing it now")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="run_ids", action="append", default=[], metavar="ID", help="only this run; may be given again")
    parser.add_argument(
        "--metric", dest="metrics", action="append", default=[], metavar="NAME", help="only this metric; may be given again"
    )
    parser.add_argument("--teacher", default=None, metavar="REF", help="only this teacher")
    parser.add_argument("--student", default=None, metavar="REF", help="only this student")


def _evaluate(options: argparse.Namespace) -> int:
    from pfd_engine.cli_output import describe_result

    config = EvaluateConfig.parse({name: getattr(options, name) for name in EvaluateConfig.model_fields if hasattr(options, name)})
    return _execute(config, options, describe_result)


def _distill(options: argparse.Namespace) -> int:
    return _execute(distill_config(options), options, describe_distillation)


def _sweep(options: argparse.Namespace) -> int:
    from pfd_engine.experiments.spec_files import load_spec

    config = load_spec(options.spec)
    if options.dry_run or not options.queue:
        print_cost(config)
    if options.dry_run:
        print_students(config)
        return OK
    return _execute(config, options, describe_sweep_run, what_was_kept)


def _execute(
    config: RunConfig,
    options: argparse.Namespace,
    describe: Callable[[dict[str, Any]], str],
    interrupted: Callable[[Run], str] | None = None,
) -> int:
    """Queue a run, or execute it now and print its result; `options` has `queue` and `json`, `interrupted` says more of such an end."""
    from pfd_engine.cli_output import ProgressBar
    from pfd_engine.execution import LogBuffer, execute_here
    from pfd_engine.runs import create_run

    workspace = Workspace.from_environment()
    if options.queue:
        from pfd_engine.hub import check_folders

        check_folders(config)
        run = create_run(workspace, config)
        print(json.dumps({"run_id": run.id, "state": "queued"}) if options.json else run.id)
        return OK
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    log = LogBuffer()
    logging.basicConfig(handlers=[log], level=logging.WARNING)
    logging.captureWarnings(True)
    with _termination_as_interrupt(), ProgressBar() as bar, redirect_stdout(sys.stderr):  # a library's print must not spoil the answer
        run, status, message = execute_here(config, workspace, bar.show, log)
    if status == INTERRUPTED and interrupted is not None:
        message = interrupted(run)
    if status != OK:
        return _say(message or "the run failed", FAILED if status == NOT_STARTED else status)
    result = run.result or {}
    print(json.dumps(result) if options.json else describe(result))
    return OK


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the run is recorded as cancelled."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _worker(options: argparse.Namespace) -> int:
    from pfd_engine.worker import Worker

    worker = Worker(Workspace.from_environment(), report=lambda line: print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True))
    if not worker.serve(drain=options.drain):
        print("another worker serves this workspace", file=sys.stderr)
    return OK


def _run(options: argparse.Namespace) -> int:
    from pfd_engine.execution import execute_folder
    from pfd_engine.runs import RUN_ID, Run

    folder = options.folder.absolute()
    if not RUN_ID.fullmatch(folder.name) or not (folder / "status.json").is_file():
        raise InputError(f"{options.folder} is no run folder: give one of the folders in the workspace's runs")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.WARNING)
    return execute_folder(Run(folder))


def _results(options: argparse.Namespace) -> int:
    from pfd_engine.cli_output import print_csv, print_table
    from pfd_engine.store_queries import measurements_query

    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit is {options.limit}: give a whole number from 1")
    filters = {"run_ids": options.run_ids, "metrics": options.metrics, "teacher": options.teacher, "student": options.student}
    total = 0
    few = options.limit is None and not (options.json or options.csv)
    with _open_results() as store:
        sql, parameters = measurements_query(**filters, limit=TABLE_ROWS if few else options.limit)
        _check_runs(store, options.run_ids)
        rows, columns = store.rows(sql, parameters), store.columns(sql, parameters)
        if few and len(rows) == TABLE_ROWS:
            everything, parameters = measurements_query(**filters)
            total = store.rows(f"select count(*) as total from ({everything})", parameters)[0]["total"]
    if options.json:
        print(json.dumps(rows))
    elif options.csv:
        print_csv(columns, rows)
    else:
        print_table(rows)
        if total > len(rows):
            more = f"{total - len(rows):,} more rows are not shown: filter by --run or --metric"
            print(f"{more}, or give --limit {total} for all of them as a table, --csv or --json for all columns", file=sys.stderr)
    return OK


def _check_runs(store: Any, run_ids: Sequence[str]) -> None:
    """Raise InputError for a run by name that is not here."""
    known = {row["run_id"] for row in store.rows("select run_id from runs")} if run_ids else set()
    for run_id in run_ids:
        if run_id not in known:
            raise InputError(f"there is no run {run_id[:80]!r} here: the Runs page and `python -m pfd_engine results` list what there is")


def _export(options: argparse.Namespace) -> int:
    from pfd_engine.publish import export_file
    from pfd_engine.store_queries import measurements_query

    filters = {"run_ids": options.run_ids, "metrics": options.metrics, "teacher": options.teacher, "student": options.student}
    if options.table != "measurements" and any(filters.values()):
        raise InputError(f"--table is {options.table}: the filters --run, --metric, --teacher and --student are for measurements only")
    sql, parameters = measurements_query(**filters) if options.table == "measurements" else (f"select * from {options.table}", [])
    with _open_results() as store:
        _check_runs(store, options.run_ids)
        export_file(store, sql, parameters, options.output, options.format)
    print(options.output)
    return OK


def _publish(options: argparse.Namespace) -> int:
    from pfd_engine.publish import publish

    with _open_results() as store:
        counts = publish(store, None if options.all else options.run_ids, options.output)
    print(f"{options.output}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    return OK


def _export_site(options: argparse.Namespace) -> int:
    from pfd_engine.site.export import check_folder, export_site

    check_folder(options.folder.absolute())
    with _open_results() as store:
        _check_runs(store, options.run_ids or ())
        pages = export_site(store, options.folder, options.run_ids)
    print(options.folder / pages[0])
    return OK


def _doctor(options: argparse.Namespace) -> int:
    from pfd_engine.doctor import examine

    checks = examine(Workspace.from_environment())
    sound = all(check.ok for check in checks)
    if options.json:
        print(json.dumps({"ok": sound, "checks": [check._asdict() for check in checks]}))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    return OK if sound else FAILED


def _open_results() -> Any:
    """Open the store for reading, beside a running app too; what it had to leave out is said on stderr."""
    from pfd_engine.store import read_results

    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s", stream=sys.stderr)
    store = read_results(Workspace.from_environment())
    for warning in store.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return store


def _say(sentence: str, status: int) -> int:
    """Print one line on stderr and return the exit status."""
    with suppress(OSError):
        print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    return status


def _unexpected(error: Exception) -> int:
    """Keep the traceback of an error that nobody foresaw in the workspace's log, and say so in one sentence."""
    from pfd_engine.errors import is_disk_full
    from pfd_engine.execution import write_log

    workspace = Workspace.from_environment()
    if is_disk_full(error):
        return _say(f"the disk is full: free space where {workspace.root} lies and try again", FAILED)
    if isinstance(error, OSError) and error.filename is not None:
        return _say(f"{error.filename}: {error.strerror}: check the path and who may write there", NOT_STARTED)
    path = workspace.root / "errors.log"
    write_log(path, f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{''.join(traceback.format_exception(error))}")
    return _say(f"unexpected error ({type(error).__name__}): the details are in {path}", NOT_STARTED)
