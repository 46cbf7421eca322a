"""Figures and frames as files: standalone HTML, PNG, SVG and PDF for a paper, and tables as CSV, Parquet, JSON and LaTeX."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfd_engine.errors import InputError, RunError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

TABLE_FORMATS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "json": "application/json"}
IMAGE_FORMATS = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
WIDTHS = {"column": 3.4, "full": 7.0}  # inches, of one column and of both
RATIOS = {"column": 0.72, "full": 0.42}
PIXELS_PER_INCH, PNG_SCALE = 96, 4
FONT_POINTS = 8
SECONDS = 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "brave-browser")
NO_BROWSER = (
    "PNG, SVG and PDF are drawn by a browser, and none is installed here: install Chromium (Debian: apt-get install chromium), or take "
    "the HTML file, which any browser prints"
)
NO_KALEIDO = "PNG, SVG and PDF need the package kaleido, which is not installed here: take the HTML file, which any browser prints"
NAMES = {"run": "run_id", "teacher": "teacher", "descriptor": "descriptor", "num_noises": "num_noises"}
_ONE_AT_A_TIME = threading.Semaphore(1)


def named(frame: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return a frame with the columns that say what it is of, in front, where it lacks them and `facts` knows them.

    They are `run`, `teacher`, `descriptor` and `num_noises` (M); the plotted values are untouched.
    """
    known = {name: facts[name] for name in NAMES if facts.get(name) is not None and not {name, NAMES[name]} & set(frame.columns)}
    named_frame = frame.copy()
    for place, (name, value) in enumerate(known.items()):
        named_frame.insert(place, name, value)
    return named_frame


def table(frame: pd.DataFrame, format: str) -> bytes:
    """Return a frame as `csv`, `parquet` or `json` (an array of objects)."""
    if format == "csv":
        return frame.to_csv(index=False).encode()
    if format == "json":
        rows = [{name: _plain_value(value) for name, value in row.items()} for row in frame.to_dict("records")]
        return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    if format == "parquet":
        stream = io.BytesIO()
        _of_one_kind(frame).to_parquet(stream, index=False)
        return stream.getvalue()
    raise InputError(f"format is {format!r}: choose one of {', '.join(TABLE_FORMATS)}")


def for_paper(figure: go.Figure, width: str = "column") -> go.Figure:
    """Return a copy for print: white, black text of 8 points, as wide as one column (3.4 in) or both (7 in), thin grid lines."""
    if width not in WIDTHS:
        raise InputError(f"width is {width!r}: choose column or full")
    copy = _plain(figure)
    points = FONT_POINTS * PIXELS_PER_INCH / 72
    side = round(WIDTHS[width] * PIXELS_PER_INCH)
    below = max(40, (figure.layout.margin.b or 0) - 12)  # a note below the plot keeps its place
    copy.update_layout(
        width=side,
        height=round(side * RATIOS[width]) + _legend_height(figure, side - 54) + below - 40,
        font={"size": points},
        legend={"font": {"size": points * 0.9}, "tracegroupgap": 0},
        margin={"l": 46, "r": 8, "t": 8, "b": below},
    )
    if width == "column":
        _thin(copy)
    copy.update_annotations(font_size=points * 0.9)
    copy.update_xaxes(title_font_size=points, tickfont_size=points * 0.9, title_standoff=4, automargin=True)
    copy.update_yaxes(title_font_size=points, tickfont_size=points * 0.9, title_standoff=4, automargin=True)
    return copy


def html(figure: go.Figure, title: str) -> bytes:
    """Return a figure as one HTML file that needs no network: plotly.js (4.5 MB) is in it."""
    from html import escape

    copy = _plain(figure)
    copy.update_layout(height=520, autosize=True)
    page = copy.to_html(include_plotlyjs=True, full_html=True, include_mathjax=False, config={"displaylogo": False, "responsive": True})
    return page.replace("<head>", f'<head><title>{escape(title)}</title><meta name="viewport" content="width=device-width">', 1).encode()


def browser_path() -> str | None:
    """Return the browser that draws images: that of `BROWSER_PATH`, else the first one found; None where there is none."""
    if chosen := os.environ.get("BROWSER_PATH"):
        return chosen if os.access(chosen, os.X_OK) and Path(chosen).is_file() else None
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def obstacle() -> str | None:
    """Say in one sentence why PNG, SVG and PDF cannot be made here; None where they can."""
    from importlib.util import find_spec

    if find_spec("kaleido") is None:
        return NO_KALEIDO
    return NO_BROWSER if browser_path() is None else None


def image(figure: go.Figure, format: str, width: str = "column", seconds: float = SECONDS) -> bytes:
    """Return a figure `for_paper` as `png`, `svg` or `pdf`, drawn by a browser in a process of its own.

    One is drawn at a time; all of its processes end after `seconds`. Raises InputError where there is no browser, and RunError where it
    fails or takes too long.
    """
    if format not in IMAGE_FORMATS:
        raise InputError(f"format is {format!r}: choose one of {', '.join(IMAGE_FORMATS)}")
    if (problem := obstacle()) is not None:
        raise InputError(problem)
    paper = for_paper(figure, width)
    task = {
        "figure": json.loads(paper.to_json()),
        "options": {
            "format": format,
            "width": paper.layout.width,
            "height": paper.layout.height,
            "scale": PNG_SCALE if format == "png" else 1,
        },
        "path": browser_path(),
        "seconds": seconds,
    }
    if not _ONE_AT_A_TIME.acquire(timeout=seconds):
        raise RunError("others are having their figures drawn: try again in a minute, or take the HTML file")
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return _drawn(json.dumps(task).encode(), folder, seconds)
    finally:
        _ONE_AT_A_TIME.release()


def _drawn(task: bytes, folder: str, seconds: float) -> bytes:
    """Run the process that draws, within its time; the browser's profile is in `folder` and goes with it."""
    command = [sys.executable, "-c", _CHILD]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"TMPDIR": folder},
    ) as child:  # fmt: skip
        try:
            output, _ = child.communicate(task, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RunError(f"the browser did not draw the figure within {seconds:g} seconds: try again, or take the HTML file") from None
        finally:
            _end(child)
    if child.returncode != 0 or not output:
        raise RunError("the browser could not draw the figure: take the HTML file, which any browser prints")
    return output


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process and every process that it started: a browser that hangs starts sessions of its own."""
    import psutil

    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(child.pid)
        started = [*process.children(recursive=True), process]
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    child.wait()


# MathJax off: kaleido would fetch it from elsewhere. plotly.js is the one inside the package plotly.
_CHILD = """
import json, sys
import kaleido
task = json.load(sys.stdin)
options = {"mathjax": False, "timeout": task["seconds"], "path": task["path"]}
sys.stdout.buffer.write(kaleido.calc_fig_sync(task["figure"], task["options"], kopts=options))
"""


def _plain(figure: go.Figure) -> go.Figure:
    """Return a copy on white with black text and a thin grid, whatever the theme of the page."""
    import plotly.graph_objects as go

    copy = go.Figure(figure)
    copy.update_layout(
        template="none", paper_bgcolor="white", plot_bgcolor="white", font={"color": "black", "family": "Arial, Helvetica, sans-serif"}
    )
    axes = {
        "color": "black",
        "gridcolor": "#e3e3e3",
        "linecolor": "black",
        "showline": True,
        "ticks": "outside",
        "ticklen": 3,
        "zeroline": False,
    }
    copy.update_xaxes(**axes)
    copy.update_yaxes(**axes)
    return copy


def _plain_value(value: Any) -> Any:
    """Return a cell as JSON has it: every digit of a number; null for what is missing or not finite."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return (
        value if isinstance(value, float) and math.isfinite(value) else None if value != value or isinstance(value, float) else str(value)
    )


def _legend_height(figure: go.Figure, width: float) -> int:
    """Return about how many pixels the legend above a plot needs: plotly breaks its entries into lines."""
    lines, used = 0, width
    for trace in figure.data:
        if trace.name and trace.showlegend is not False:
            entry = 46 + 5.4 * len(trace.name)
            lines, used = (lines + 1, entry) if used + entry > width else (lines, used + entry)
    return 17 * lines


def _thin(figure: go.Figure) -> None:
    """Make marks and lines smaller, for a figure of one column."""
    for trace in figure.select_traces(selector={"type": "scatter"}):
        if trace.marker.size is not None and isinstance(trace.marker.size, (int, float)):
            trace.marker.size = 0.6 * trace.marker.size
        elif trace.mode and "markers" in trace.mode and trace.marker.size is None:
            trace.marker.size = 4
        if trace.line.width != 0:
            trace.line.width = 0.65 * (trace.line.width or 2)
        trace.error_x.update(thickness=1, width=2)
        trace.error_y.update(thickness=1, width=2)


def _of_one_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose columns of mixed types are texts, as Parquet has one type a column."""
    mixed = [name for name in frame.columns if frame[name].dtype == object and frame[name].dropna().map(type).nunique() > 1]
    return frame.assign(**{name: frame[name].map(lambda value: value if value is None else str(value)) for name in mixed})
