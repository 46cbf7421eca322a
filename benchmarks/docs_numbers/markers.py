"""Markers in Markdown, and the texts between them: what differs from the results, and the document with all of them computed anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from benchmarks.docs_numbers.results import MissingData, Results
from benchmarks.docs_numbers.values import VALUES
from pfd_engine.workspace import REPOSITORY

MARKED = re.compile(r"<!-- (?P<kind>data|record): (?P<name>[^\n]+?) -->(?P<text>.*?)<!-- end -->", re.DOTALL)
MARKER = re.compile(r"<!--\s*(?:data|record|end)\b.*?-->")


class UnknownName(Exception):
    """No text has this name."""


class Problem(NamedTuple):
    """One marked place that is wrong: it `differs` from the results, they lack what it needs (`missing`), or its markers are not right."""

    path: Path
    line: int
    name: str
    says: str
    differs: bool = False
    missing: bool = False

    def __str__(self) -> str:
        return f"{self.path.name}, line {self.line}: {self.name}: {self.says}"


def documents() -> list[Path]:
    """Return the Markdown files whose numbers are computed."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def rewritten(path: Path, text: str, value: Callable[[str], str]) -> tuple[str, list[Problem]]:
    """Return a document with every marked text computed anew, and what differed or could not be computed (which is left as it was).

    `value` returns the text of a name; it raises UnknownName and MissingData where the results do not hold it.
    """
    problems = []

    def replace(found: re.Match[str]) -> str:
        name, shown, start = found["name"], found["text"], found.start()
        line = text.count("\n", 0, start) + 1
        before = text[text.rfind("\n", 0, start) + 1 : start]
        own_lines = shown.startswith("\n")
        if not own_lines and ("\n" in shown or not before.strip(" \t-*>")):
            problems.append(Problem(path, line, name, "a marker inside a line cannot begin it, and its end stands on the same line"))
            return found[0]
        if MARKER.search(shown):
            problems.append(Problem(path, line, name, "another marker begins before this one ends"))
            return found[0]
        if found["kind"] == "record":
            return found[0]
        try:
            computed = value(name)
        except UnknownName:
            problems.append(Problem(path, line, name, "no value has this name: benchmarks/docs_numbers/values.py lists them"))
            return found[0]
        except MissingData as missing:
            problems.append(Problem(path, line, name, f"the results lack {missing}", missing=True))
            return found[0]
        if own_lines:
            computed = "".join(f"\n{before}{row}" for row in computed.split("\n")) + f"\n{before}"
        if computed != shown:
            told, written = _first_difference(computed.strip(), shown.strip())
            says = f"the results say {told!r}, the text {written!r}: `make numbers` writes it"
            problems.append(Problem(path, line, name, says, differs=True))
        return f"<!-- data: {name} -->{computed}<!-- end -->"

    result = MARKED.sub(replace, text)
    for stray in MARKER.finditer(MARKED.sub("", text)):
        problems.append(Problem(path, text.count("\n", 0, text.index(stray[0])) + 1, stray[0], "a marker without its partner"))
    return result, problems


def _first_difference(computed: str, shown: str) -> tuple[str, str]:
    """Return the first lines that differ."""
    pairs = zip_longest(computed.split("\n"), (line.strip() for line in shown.split("\n")), fillvalue="")
    return next(((ours, theirs) for ours, theirs in pairs if ours != theirs), (computed, shown))


def values_from(results: Results) -> Callable[[str], str]:
    """Return the function that computes the text of a name; it raises UnknownName, and MissingData where the results lack it."""

    def value(name: str) -> str:
        if name not in VALUES:
            raise UnknownName(name)
        return VALUES[name](results)

    return value
