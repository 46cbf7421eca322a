"""What two workspaces with the same sweep must agree in: every row but for ids and times."""

from __future__ import annotations

from typing import Any

from pfd_engine.store.database import Store
from pfd_engine.workspace import Workspace

TABLES = ("measurements", "training_sets", "noise_distances", "training_curves", "pairs", "checkpoints")


def contents(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table, in an order of their own, without the run's id; the metric `seconds` is a time."""
    with Store(workspace, None) as store:
        store.ingest()
        found = {table: store.rows(f"select * exclude (run_id) from {table} order by all") for table in TABLES}
    found["measurements"] = [row for row in found["measurements"] if row["metric"] != "seconds"]
    return found
