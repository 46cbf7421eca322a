"""What a bundle of results holds: the names of its files, its provenance.json, and how much of everything is allowed."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from pfd_engine.runs.folder import RUN_ID
from pfd_engine.store.schema import MIGRATIONS, TABLES

FORMAT: Final = "pfd-results"
FORMAT_VERSION: Final = 1
SCHEMA_VERSION = len(MIGRATIONS)
PROVENANCE_FILE, CARD_FILE, FIGURES_FILE, WALLS = "provenance.json", "README.md", "figures.html", "walls"
TABLE_FILES = {name: f"{name}.parquet" for name in TABLES}
PULLED_FILES = (PROVENANCE_FILE, *TABLE_FILES.values())

MAX_PROVENANCE_BYTES = 16 * 2**20
MAX_BYTES = 2 * 2**30
MAX_ROWS = {
    "runs": 10_000,
    "measurements": 2_000_000,
    "checkpoints": 100_000,
    "training_sets": 100_000,
    "noise_distances": 200_000,
    "training_curves": 2_000_000,
    "pairs": 200_000,
}
MAX_DISTANCES = 50_000_000
MAX_NAME, MAX_TEXT = 1024, 10_000

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(max_length=MAX_NAME, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]*$")]  # printable
Version = Annotated[str, Field(max_length=100, pattern=r"^[0-9A-Za-z.+_-]+$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
RunId = Annotated[str, Field(pattern=f"^{RUN_ID.pattern}$")]


class RunProvenance(BaseModel):
    """How one run came about; `revisions` maps what was measured to its revision."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run_id: RunId
    kind: Name
    command: Text | None = None
    config: dict[str, Any] | None = None
    git_commit: Name | None = None
    versions: Annotated[dict[Name, Name], Field(max_length=100)] = {}
    revisions: Annotated[dict[Name, Name], Field(max_length=1000)] = {}


class Provenance(BaseModel):
    """The contents of provenance.json; `tables` maps a table to its number of rows, `created` is a unix time."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal["pfd-results"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    software_version: Version
    git_commit: Name | None = None
    versions: Annotated[dict[Name, Name], Field(max_length=100)] = {}
    created: Annotated[float, Field(ge=0)]
    license: Annotated[str, Field(max_length=100, pattern=r"^[\w.+-]+$")]
    tables: dict[Name, Count]
    runs: Annotated[list[RunProvenance], Field(max_length=MAX_ROWS["runs"])]
