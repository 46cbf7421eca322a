"""The page on double descent states the verdicts and moves that the analysis of the shipped sweeps finds today."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfd_engine.finding_tables import verdicts_table
from pfd_engine.findings import dynamics
from pfd_engine.store import Store
from pfd_engine.sweep_queries import sweep_runs
from pfd_engine.workspace import PUBLISHED_DATABASE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "double-descent.md"


@pytest.mark.parametrize("name", ["training-dynamics", "training-dynamics-usual"])
def test_the_page_has_the_table_of_each_sweep(name):
    written = PAGE.read_text()
    with Store(None, PUBLISHED_DATABASE) as store:
        run = next(sweep["run_id"] for sweep in sweep_runs(store, "training-dynamics") if sweep["name"] == name)
        analysis = dynamics(store, run).analysis
    for row in verdicts_table(analysis, "mlp-64").rows:
        n, verdict, *moves, _ = row
        cells = [n, verdict, *("" if move == "–" else move for move in moves)]
        line = "| " + " | ".join(cells).rstrip() + " |"
        assert line.replace("|  |", "| |") in written.replace(" before the rise |", " |").replace("|  |", "| |"), line
