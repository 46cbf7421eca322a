"""The published results as the documents ask for them: a sweep by its name, an evaluation by its student."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pfd_engine.findings.sweeps import ANALYSES, Finding
from pfd_engine.models.bundled import TEACHER
from pfd_engine.store.database import Store
from pfd_engine.store.queries.runs import run
from pfd_engine.store.queries.sweeps import sweep_runs


class MissingData(Exception):
    """The results do not hold what a text needs; the message names it."""


class Results:
    """The published results in one database file: what is asked twice is computed once."""

    def __init__(self, database: Path) -> None:
        if not database.is_file():
            raise FileNotFoundError(f"{database} is not a file: name a database of results")
        self.store = Store(None, database)
        self._findings: dict[str, Finding] = {}
        self._evaluations: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def run_id(self, sweep: str) -> str:
        """Return the run that measured a published sweep, by the name of its spec."""
        found = [row["run_id"] for row in sweep_runs(self.store, _experiment(sweep)) if row["name"] == sweep]
        if not found:
            raise MissingData(f"the sweep {sweep!r}: `python -m pfd_engine sweep {sweep}` measures it")
        return str(found[0])

    def sweep(self, name: str) -> Finding:
        """Return the finding of a published sweep by the name of its spec."""
        if name not in self._findings:
            self._findings[name] = ANALYSES[_experiment(name)](self.store, self.run_id(name))
        return self._findings[name]

    def evaluation(self, student: str) -> dict[str, Any]:
        """Return the newest evaluation of a bundled checkpoint against the bundled teacher: `result`, and the row of each metric."""
        if student not in self._evaluations:
            rows = self.store.rows(
                "select m.*, r.created from measurements m join runs r using (run_id, source) where m.experiment = 'evaluation' "
                "and m.teacher like ? and m.student like ? and m.band is null order by r.created desc",
                [f"%/{TEACHER}", f"%/{student}"],
            )
            if not rows:
                raise MissingData(f"an evaluation of {student}: `make results` measures it")
            newest = rows[0]["run_id"]
            found = {"result": (run(self.store, newest) or {}).get("result") or {}}
            self._evaluations[student] = found | {row["metric"]: row for row in rows if row["run_id"] == newest}
        return self._evaluations[student]

    def row(self, student: str, metric: str, column: str = "value") -> dict[str, Any]:
        """Return one row of an evaluation, with a number in a column; raises MissingData where there is none."""
        found = self.evaluation(student).get(metric)
        if found is None:
            raise MissingData(f"{metric} of {student}: `make results` measures it")
        if found.get(column) is None:
            raise MissingData(
                f"the column {column} in the row {metric} of {student}: an older version measured it, `make results` does anew"
            )
        return found


def _experiment(sweep: str) -> str:
    return sweep.removesuffix("-usual")
