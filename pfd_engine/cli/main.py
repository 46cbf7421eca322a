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

from pfd_engine.cli.distill import add_distill_options, describe_distillation, distill_config
from pfd_engine.cli.evaluate import add_evaluate_options, evaluate_config
from pfd_engine.cli.push import add_push_options, push
from pfd_engine.cli.results import (
    add_export_options,
    add_publish_results_options,
    add_results_options,
    add_site_options,
    export,
    export_site,
    publish_results,
    results,
)
from pfd_engine.cli.share import add_publish_options, add_pull_options, publish, pull
from pfd_engine.cli.sweep import add_sweep_options, describe_sweep_run, print_cost, print_students, what_was_kept
from pfd_engine.configs.base import RunConfig
from pfd_engine.errors import Cancelled, InputError, PFDError
from pfd_engine.workspace import Workspace

if TYPE_CHECKING:
    from pfd_engine.runs.folder import Run

OK, FAILED, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
}


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

    add_evaluate_options(command("evaluate", _evaluate, "Measure the PFD between a teacher and a student, at once."))
    add_distill_options(command("distill", _distill, "Train a student of a teacher, and measure it."))
    text = "Train and measure the students of an experiment: a bundled spec by name, or a TOML file."
    add_sweep_options(command("sweep", _sweep, text))
    add_push_options(command("push", push, "Put a student on the Hugging Face Hub, with its model card."))

    text = "Publish finished runs as a dataset repository on the Hub, or as a folder."
    add_publish_options(command("publish", publish, text))
    add_pull_options(command("pull", pull, "Open published results of others beside your own."))

    worker = command("worker", _worker, "Execute queued runs, each in a process of its own, until stopped.")
    worker.add_argument("--drain", action="store_true", help="stop when nothing is queued or running")
    if words[:1] == ["run"]:  # no command for people: neither the help nor a message names it
        command("run", _run, "Execute one run folder (the worker's child).").add_argument("folder", type=Path)

    add_results_options(command("results", results, "Show measurements, newest run first."))
    add_export_options(command("export", export, "Write results to a file."))
    add_publish_results_options(command("publish-results", publish_results, "Rewrite the shipped results from finished runs."))
    text = "Write the finding pages as plain HTML that needs no server and no network."
    add_site_options(command("export-site", export_site, text))

    doctor = command("doctor", _doctor, "Say what is installed and whether the device, the Hub and the workspace are sound.")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _evaluate(options: argparse.Namespace) -> int:
    from pfd_engine.cli.output import describe_result

    return _execute(evaluate_config(options), options, describe_result)


def _distill(options: argparse.Namespace) -> int:
    return _execute(distill_config(options), options, describe_distillation)


def _sweep(options: argparse.Namespace) -> int:
    from pfd_engine.configs.sweep_files import load_spec

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
    from pfd_engine.cli.output import ProgressBar
    from pfd_engine.jobs.execute import LogBuffer, execute_here
    from pfd_engine.runs.folder import create_run

    workspace = Workspace.from_environment()
    if options.queue:
        from pfd_engine.hub.resolve import check_folders

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
    from pfd_engine.jobs.worker import Worker

    worker = Worker(Workspace.from_environment(), report=lambda line: print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True))
    if not worker.serve(drain=options.drain):
        print("another worker serves this workspace", file=sys.stderr)
    return OK


def _run(options: argparse.Namespace) -> int:
    from pfd_engine.jobs.execute import execute_folder
    from pfd_engine.runs.folder import RUN_ID, Run

    folder = options.folder.absolute()
    if not RUN_ID.fullmatch(folder.name) or not (folder / "status.json").is_file():
        raise InputError(f"{options.folder} is no run folder: give one of the folders in the workspace's runs")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.WARNING)
    return execute_folder(Run(folder))


def _doctor(options: argparse.Namespace) -> int:
    from pfd_engine.cli.doctor import examine

    checks = examine(Workspace.from_environment())
    sound = all(check.ok for check in checks)
    if options.json:
        print(json.dumps({"ok": sound, "checks": [check._asdict() for check in checks]}))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    return OK if sound else FAILED


def _say(sentence: str, status: int) -> int:
    """Print one line on stderr and return the exit status."""
    with suppress(OSError):
        print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    return status


def _unexpected(error: Exception) -> int:
    """Keep the traceback of an error that nobody foresaw in the workspace's log, and say so in one sentence."""
    from pfd_engine.errors import is_disk_full
    from pfd_engine.jobs.execute import write_log

    workspace = Workspace.from_environment()
    if is_disk_full(error):
        return _say(f"the disk is full: free space where {workspace.root} lies and try again", FAILED)
    if isinstance(error, OSError) and error.filename is not None:
        return _say(f"{error.filename}: {error.strerror}: check the path and who may write there", NOT_STARTED)
    path = workspace.root / "errors.log"
    write_log(path, f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{''.join(traceback.format_exception(error))}")
    return _say(f"unexpected error ({type(error).__name__}): the details are in {path}", NOT_STARTED)
