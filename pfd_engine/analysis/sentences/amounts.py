"""Numbers as sentences state them: a student by its parameters, a list of N, a value with its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pfd_engine.analysis.sentences.wording import Row
from pfd_engine.wording import numbers as words


def student(row: Row) -> str:
    """Return `a 36 k-parameter student`, or name the size where its parameters are not known."""
    if row["parameters"] != row["parameters"]:
        return f"a student of size {row['size']}"
    count = parameters(row["parameters"])
    article = "an" if re.match(r"8|1[18](?!\d|\.)", count) else "a"
    return f"{article} {count}-parameter student"


def parameters(count: float) -> str:
    """Write a number of parameters to whole units: `36 k`, `438 k`, `1.7 M`."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1, "")):
        if count >= limit:
            return f"{count / limit:.0f}{unit}" if count >= 9.95 * limit else f"{count / limit:.2g}{unit}"
    return f"{count:.0f}"


def images(numbers: Sequence[int]) -> str:
    """Return `16 images`, or `256, 1,024 or 4,096 images`: each student sees one number of them."""
    written = [f"{number:,}" for number in numbers]
    listed = f"{', '.join(written[:-1])} or {written[-1]}" if len(written) > 1 else written[0]
    return f"{listed} {'image' if list(numbers) == [1] else 'images'}"


def interval(row: Row, name: str) -> str:
    """Return a value of a row with its interval: `0.45 [0.26, 0.64]`."""
    return words.with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
