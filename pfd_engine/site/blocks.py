"""What a page of the snapshot is made of: blocks that the template draws one below the other."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup

from pfd_engine.findings.tables import Table
from pfd_engine.walls.same_noise import Pair, wall

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Heading:
    """A heading; `level` 2 begins a section."""

    text: str
    level: int = 2
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Sentence:
    """The one sentence that data say, with the color of what it is about; `link` is the page that shows why."""

    text: str
    color: str
    lead: str = ""
    link: str = ""
    label: str = ""
    kind: ClassVar[str] = "sentence"


@dataclass(frozen=True)
class Prose:
    """Paragraphs or a list in the little Markdown that our own texts use; `small` is for captions."""

    markdown: str
    small: bool = False
    kind: ClassVar[str] = "prose"

    @property
    def html(self) -> Markup:
        lines = self.markdown.split("\n")
        if all(line.startswith("- ") for line in lines):
            return Markup("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>")
        return Markup("".join(f"<p>{_inline(line)}</p>" for line in lines))


@dataclass(frozen=True)
class Note:
    """A paragraph as it stands, whatever characters it holds."""

    text: str
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Figure:
    """A plot, what it shows in words, and the frame that it draws, which becomes the file `data/<name>.csv`.

    Of its name only letters, digits and dashes are kept, whatever a sweep is called.
    """

    name: str
    figure: go.Figure
    alt: str
    frame: pd.DataFrame
    caption: str = ""
    kind: ClassVar[str] = "figure"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", re.sub(r"[^A-Za-z0-9_]+", "-", self.name).strip("-")[:120])

    @property
    def json(self) -> Markup:
        """The plot as JSON that a script element can hold; the template's colors are left to the page."""
        values = json.loads(self.figure.to_json() or "{}")
        values["layout"].pop("template", None)
        return Markup(json.dumps(values, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c"))

    @property
    def height(self) -> int:
        return int(self.figure.layout.height or 340)


@dataclass(frozen=True)
class Rows:
    """A table."""

    table: Table
    caption: str = ""
    kind: ClassVar[str] = "rows"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    pairs: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Code:
    """A command or a citation to copy."""

    text: str
    caption: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Wall:
    """Same-noise images; `few` where a student has one or two of each group."""

    pairs: Sequence[Pair]
    caption: str = ""
    few: bool = False
    kind: ClassVar[str] = "wall"

    @property
    def html(self) -> Markup:
        return Markup(wall(self.pairs))


@dataclass(frozen=True)
class Formula:
    """A formula as MathML, with its LaTeX for readers who are read to."""

    mathml: str
    latex: str
    kind: ClassVar[str] = "formula"

    @property
    def html(self) -> Markup:
        return Markup(f'<math display="block" alttext="{escape(self.latex)}">{self.mathml}</math>')


@dataclass(frozen=True)
class Page:
    """One file of the snapshot."""

    file: str
    name: str
    title: str
    blocks: Sequence[Any] = field(default_factory=list)


def _inline(text: str) -> str:
    """Return our own Markdown as HTML: bold, emphasis, links, backslash escapes."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[1])
        return f"\0{len(held) - 1}\0"

    html = escape(re.sub(r"\\(.)", hold, text), quote=False)
    html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html)
    html = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html)
    html = re.sub(r"\[([^]]+)\]\((https://[^)\s\"]+)\)", r'<a href="\2">\1</a>', html)
    return re.sub(r"\0(\d+)\0", lambda match: escape(held[int(match[1])]), html)
