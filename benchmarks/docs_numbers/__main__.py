"""Write the numbers of the documents, or with `--check` compare them: `python -m benchmarks.docs_numbers [--check] [--database FILE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.docs_numbers.markers import documents, rewritten, values_from
from benchmarks.docs_numbers.results import Results
from pfd_engine.workspace import PUBLISHED_DATABASE, REPOSITORY


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 where the results lack what a text needs or a marker is wrong, and with `--check` where a text differs; else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.docs_numbers", description="Write the numbers of README.md and docs/*.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 and name what differs")
    parser.add_argument("--database", type=Path, default=PUBLISHED_DATABASE, help="the results to read, those that are shipped")
    options = parser.parse_args(arguments)
    failed = False
    with Results(options.database) as results:
        for path in documents():
            text = path.read_text()
            new, problems = rewritten(path, text, values_from(results))
            told = [problem for problem in problems if options.check or not problem.differs]
            print(*told, sep="\n", end="\n" if told else "")
            failed |= bool(told)
            if new != text and not options.check:
                path.write_text(new)
                print(f"{path.relative_to(REPOSITORY)} was rewritten")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
