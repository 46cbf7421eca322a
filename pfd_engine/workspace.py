"""Where a user's own runs, cache and results live on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PUBLISHED_DATABASE = REPOSITORY / "results.duckdb"
ASSETS = Path(__file__).resolve().parent / "assets"


@dataclass(frozen=True)
class Workspace:
    """The folder that holds everything measured on this machine; see `Workspace.from_environment`."""

    root: Path

    @classmethod
    def from_environment(cls) -> Workspace:
        """Return the folder named by `PFD_HOME`, or `workspace/` beside the code. Nothing is created here."""
        return cls(Path(os.environ.get("PFD_HOME") or REPOSITORY / "workspace").expanduser().absolute())

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def database(self) -> Path:
        return self.root / "results.duckdb"

    @property
    def pulled(self) -> Path:
        return self.root / "pulled"
