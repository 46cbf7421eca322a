"""A frame as a LaTeX table with booktabs rules: values with their intervals, sensible digits, everything escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfd_engine.wording.numbers import digits_for

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 500
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "Ψ": r"$\Psi$",
    "Φ": r"$\Phi$",
    "σ": r"$\sigma$",
    "∼": r"$\sim$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "√": r"$\surd$",
    "→": r"$\to$",
    "‖": r"$\Vert$",
    "∑": r"$\sum$",
    "₂": r"\textsubscript{2}",
    "ᵃ": r"\textsuperscript{a}",
    "…": r"\ldots{}",
    "†": r"\textdagger{}",
    "²": r"\textsuperscript{2}",
    "−": "$-$",
    "–": "--",
    "·": r"\textperiodcentered{}",
}
# What pdfLaTeX prints without a package: the accented letters that it can compose, and quotes.
_PRINTED = re.compile("(?:(?![«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ])[\x00-\u017f‘’“”])*")
_ENDS = (("_low", "_high"), ("_ci_low", "_ci_high"))


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it: no character of it is a command."""
    return "".join(_ESCAPES.get(letter, letter) for letter in re.sub(r"\s+", " ", text) if letter.isprintable())


def latex_table(frame: pd.DataFrame, caption: str, label: str = "tab:pfd") -> str:
    """Return a `table` with booktabs rules (`\\usepackage{booktabs}`): a value and its interval share a cell.

    The interval of a column `x` is `x_low` and `x_high`; that of `value` (and of `E_gen`, where it has none) also `ci_low` and `ci_high`.
    Columns that are empty throughout are left out; at most 500 rows, which a comment says, as it does where letters need LuaLaTeX.
    """
    intervals = _intervals([str(name) for name in frame.columns])
    taken = {end for ends in intervals.values() for end in ends}
    shown = [str(name) for name in frame.columns if str(name) not in taken and frame[name].notna().any()]
    numeric = {name for name in shown if frame[name].dtype.kind in "fiu"}
    head = " & ".join(escaped(name.replace("_", " ") if name.islower() else name) for name in shown)
    rows = [_row(row, shown, intervals) for row in frame.head(MOST_ROWS).to_dict("records")]
    more = [f"% {len(frame) - MOST_ROWS} further rows are left out"] if len(frame) > MOST_ROWS else []
    caption_text = escaped(caption)
    plain = _PRINTED.fullmatch("".join([caption_text, head, *rows]))
    return "\n".join(
        [
            *([] if plain else ["% for LuaLaTeX or XeLaTeX, with a font that has all of these letters: pdfLaTeX has none"]),
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{caption_text}}}",
            rf"  \label{{{re.sub(r'[^A-Za-z0-9:-]', '-', label)}}}",
            rf"  \begin{{tabular}}{{{''.join('r' if name in numeric else 'l' for name in shown)}}}",
            r"    \toprule",
            rf"    {head} \\",
            r"    \midrule",
            *(rf"    {row} \\" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            *more,
            r"\end{table}",
            "",
        ]
    )


def _intervals(names: list[str]) -> dict[str, tuple[str, str]]:
    found = {}
    for name in names:
        for low, high in _ENDS:
            if name + low in names and name + high in names:
                found[name] = (name + low, name + high)
    if {"ci_low", "ci_high"} <= set(names):
        owner = next((name for name in ("value", "mean", "E_gen", "estimate") if name in names and name not in found), None)
        if owner is not None:
            found[owner] = ("ci_low", "ci_high")
    return found


def _row(row: Mapping[Any, Any], shown: list[str], intervals: Mapping[str, tuple[str, str]]) -> str:
    cells = []
    for name in shown:
        value, ends = row[name], [row[end] for end in intervals.get(name, ())]
        spread = (ends[1] - ends[0]) / 4 if len(ends) == 2 and all(_is_finite(end) for end in ends) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            cells.append("--" if value is None or value != value else escaped(str(value)))
        elif not _is_finite(value):
            cells.append("--")
        elif float(value).is_integer() and spread is None:
            cells.append(f"${int(value)}$")
        else:
            digits = digits_for(spread, value)
            interval = "" if spread is None else rf"\;[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
            cells.append(f"${value:.{digits}f}{interval}$")
    return " & ".join(cells)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
