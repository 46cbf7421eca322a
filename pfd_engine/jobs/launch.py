"""Launching, cancelling and trying again on behalf of a user: the policy is asked under a lock, and every outcome leaves a line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from pfd_engine.configs.base import RunConfig
from pfd_engine.errors import InputError
from pfd_engine.jobs import worker
from pfd_engine.jobs.access import DAY, Policy, Used, check_user, may_change, may_launch, normalized
from pfd_engine.runs.folder import LAUNCHED_FILE, Run, create_run, list_runs, replace_file, retry
from pfd_engine.workspace import Workspace

SENTENCE_LENGTH = 300


def launch(workspace: Workspace, config: RunConfig, user: str | None = None) -> Run:
    """Queue a run for a user (None where the server has none), and see that a worker lives; raises InputError where it is not allowed."""
    policy = Policy.from_environment()
    with _decided(workspace, policy, user, "launch") as outcome:
        allowance = may_launch(policy, user, config, used(workspace) if policy.mode == "hosted" else ())
        launched = None if allowance is None else {"user": normalized(user), "seconds": allowance}
        run = create_run(workspace, config, queued=True, launched=launched)
        outcome["run_id"] = run.id
    worker.ensure_worker(workspace)
    return run


def cancel(run: Run, user: str | None = None) -> None:
    """Ask a run to stop, for the user who launched it; raises InputError for anybody else."""
    policy = Policy.from_environment()
    with _decided(run.workspace, policy, user, "cancel", run.id):
        _check_owner(policy, user, run)
        run.cancel()


def try_again(run: Run, user: str | None = None) -> None:
    """Queue a run that failed or was cancelled again, for the user who launched it, within the limits; raises InputError."""
    policy = Policy.from_environment()
    with _decided(run.workspace, policy, user, "retry", run.id):
        _check_owner(policy, user, run)
        if run.status.state == "finished":
            raise InputError(f"run {run.id} has finished: launch it anew from its form")
        allowance = may_launch(policy, user, run.config, used(run.workspace) if policy.mode == "hosted" else ())
        spent = _earlier(run) + min(run.status.seconds or 0.0, DAY)
        retry(run)
        if allowance is not None:  # the new attempt starts its clock anew: what the ones before took is kept here
            record = {"user": normalized(user), "seconds": allowance, "earlier": spent}
            replace_file(run.path / LAUNCHED_FILE, json.dumps(record).encode(), durable=True)
    worker.ensure_worker(run.workspace)


def used(workspace: Workspace) -> list[Used]:
    """Return what the runs of this workspace that somebody launched have cost, from their folders."""
    found = []
    for run in list_runs(workspace):
        if run.owner is not None:
            status = run.status
            found.append(Used(run.owner, status.state, status.started, status.finished, _earlier(run)))
    return found


def note(user: str, action: str, run_id: str | None, outcome: str, workspace: Workspace | None = None) -> None:
    """Append a line to the audit trail, on disk before this returns."""
    workspace = workspace or Workspace.from_environment()
    workspace.root.mkdir(parents=True, exist_ok=True)
    row = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "user": user, "action": action, "run": run_id,
        "outcome": outcome[:SENTENCE_LENGTH],
    }  # fmt: skip
    handle = os.open(audit_path(workspace), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, json.dumps(row).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def audit_path(workspace: Workspace) -> Path:
    """Return the file of the audit trail: one JSON object a line, only ever appended to."""
    return workspace.root / "audit.jsonl"


@contextmanager
def _decided(workspace: Workspace, policy: Policy, user: str | None, action: str, run_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Decide one action at a time, and note how it was decided; the block names a new run in the yielded dictionary."""
    if policy.mode != "hosted":
        check_user(policy, user)
        yield {}
        return
    found: dict[str, Any] = {"run_id": run_id}
    try:
        workspace.root.mkdir(parents=True, exist_ok=True)
        with FileLock(workspace.root / "launching.lock", timeout=30, thread_local=False):
            yield found
    except InputError as error:
        note(user or "nobody", action, found["run_id"], f"refused: {error}", workspace)
        raise
    note(user or "nobody", action, found["run_id"], "done", workspace)


def _check_owner(policy: Policy, user: str | None, run: Run) -> None:
    check_user(policy, user)
    if not may_change(policy, user, run.owner):
        raise InputError("this run was launched by somebody else: only they can cancel it or try it again")


def _earlier(run: Run) -> float:
    earlier = run.launched.get("earlier", 0.0)
    return float(earlier) if isinstance(earlier, (int, float)) else 0.0
