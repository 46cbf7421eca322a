"""Sweeps in files: the bundled specs, TOML read and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.errors import InputError
from pfd_engine.workspace import REPOSITORY

SPECS = Path(__file__).resolve().parent / "specs"
MAX_SPEC_BYTES = 2**18


def bundled_specs() -> list[str]:
    """Return the names of the specs that come with the engine."""
    return sorted(path.stem for path in SPECS.glob("*.toml"))


def load_spec(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> SweepConfig:
    """Read a bundled spec by its name, or a TOML file by a path that ends in `.toml`; raises InputError with one sentence."""
    bundled = SPECS / f"{name_or_path}.toml"
    path = bundled if name_or_path in bundled_specs() else Path(name_or_path).expanduser()
    if path != bundled and path.suffix != ".toml":
        raise InputError(f"spec is {name_or_path[:80]!r}: name one of {', '.join(bundled_specs())}, or a file that ends in .toml", "spec")
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise InputError(f"{path} is larger than a spec can be ({MAX_SPEC_BYTES // 1024} KiB): name another file", "spec")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8 text'}): name another file", "spec"
        ) from None
    values = parse_toml(text, str(path))
    if path == bundled:
        values["teacher"] = _from_here(values["teacher"])
    return SweepConfig.parse(values | dict(overrides or {}))


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """Read TOML; raises InputError with one sentence, in which the text is called `what`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what} is no valid TOML ({' '.join(str(error).split())}): correct it", "spec") from None
    except RecursionError:
        raise InputError(f"{what} is no valid TOML (it is nested too deeply): correct it", "spec") from None


def spec_text(config: SweepConfig) -> str:
    """Return a sweep as TOML that reads as the same sweep; defaults are left out."""
    known = SweepConfig.model_fields
    lines, tables = [], []
    for name, value in config.model_dump(mode="json", exclude_defaults=True).items():
        if name == "kind":
            continue
        if isinstance(value, dict):
            tables += [f"\n[{name}]", *(f"{key} = {json.dumps(entry)}" for key, entry in value.items())]
        elif value != known[name].default:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join([*lines, *tables]) + "\n"


def name_of(config: SweepConfig) -> str | None:
    """Return the name of the bundled spec that means the same sweep, if one does."""
    for name in bundled_specs():
        try:
            if load_spec(name) == config:
                return name
        except InputError:
            continue
    return None


def question_of(name: str) -> str:
    """Return what a bundled spec asks: the comment on its first line."""
    first = (SPECS / f"{name}.toml").read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def _from_here(reference: str) -> str:
    """Return a bundled spec's teacher, which it names from the repository's folder, so that it is found from this one."""
    return str(REPOSITORY / reference) if reference.startswith("./") and Path.cwd() != REPOSITORY else reference
