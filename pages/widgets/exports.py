"""What every plot offers as a file, and the block that says how to report it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.page import alert, live
from pages.widgets import html as words

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FORMATS = {
    "html": "Figure: HTML, works anywhere",
    "pdf": "Figure: PDF",
    "svg": "Figure: SVG",
    "png": "Figure: PNG",
    "parquet": "Numbers: Parquet",
    "json": "Numbers: JSON",
    "tex": "Numbers: LaTeX table",
}
WIDTHS = {"column": "One column, 3.4 in", "full": "Full width, 7 in"}


def exports(frame: pd.DataFrame, figure: go.Figure | None, name: str, facts: Mapping[str, Any], title: str, label: str = "") -> None:
    """Offer exactly what a plot draws: as CSV at once, in other formats on request.

    `facts` name the run, the teacher, the descriptor and the noises, which become columns where the frame lacks them. `label` is that of
    the CSV button; `figure` None offers the numbers alone.
    """
    from pfd_engine.figures.export import named, table

    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            label or "Download what is plotted (CSV)",
            lambda: table(named(frame, facts), "csv"),
            file_name=f"{file_name(name)}.csv",
            mime="text/csv",
            on_click="ignore",
            key=f"csv-{name}",
        )
        _more(frame, figure, name, facts, title)


@live(None)
def _more(frame: pd.DataFrame, figure: go.Figure | None, name: str, facts: Mapping[str, Any], title: str) -> None:
    """Draw the other formats, once they are opened."""
    popover = st.popover("Other formats", key=f"formats-{name}", on_change="rerun")
    if popover.open:
        with popover:
            panel(frame, figure, name, facts, title)


def panel(frame: pd.DataFrame, figure: go.Figure | None, name: str, facts: Mapping[str, Any], title: str) -> None:
    """Draw the choice of a format, and the button that gives it."""
    from pfd_engine.figures import export as figure_export
    from pfd_engine.wording import latex

    offered = {form: label for form, label in FORMATS.items() if figure is not None or label.startswith("Numbers")}
    form = st.selectbox("Format", list(offered), format_func=lambda value: offered.get(value, value), key=f"format-{name}")
    stem, plain = file_name(name), figure_export.named(frame, facts)
    if form == "html" and figure is not None:
        shown = figure
        _button(lambda: figure_export.html(shown, title), f"{stem}.html", "text/html", name)
        st.caption("4.8 MB: the drawing program is in the file, which needs no network.")
    elif form in figure_export.IMAGE_FORMATS and figure is not None:
        _image(figure, form, name)
    elif form == "tex":
        known = {name: plain[name].iloc[0] for name in plain.columns if name not in frame.columns and len(plain)}
        shared = "; ".join([*(f"{name.replace('_', ' ')} {value}" for name, value in known.items()), "in brackets: intervals"])
        text = latex.latex_table(frame, f"{title.rstrip('.')} ({shared}).", f"tab:{stem}")
        st.caption("Needs booktabs in the preamble. Columns that you do not want are easily deleted.")
        _button(lambda: text.encode(), f"{stem}.tex", "application/x-tex", name)
    else:
        _button(lambda: figure_export.table(plain, form), f"{stem}.{form}", figure_export.TABLE_FORMATS[form], name)


@live(None)
def citation(methods: str, bibtex: str) -> None:
    """Draw how to report what a page shows, once it is opened: a paragraph of methods, and what to cite; both can be copied."""
    box = st.expander("Methods and citation", key="citation", on_change="rerun")
    if not box.open:  # a browser loads 1.5 MB to draw code
        return
    with box:
        st.caption("A paragraph for the methods section, from the record of this measurement. Read it before you use it.")
        st.code(methods, language=None, wrap_lines=True)
        st.caption("What to cite: the paper that introduced the distance, and this software.")
        st.code(bibtex, language="bibtex", wrap_lines=True)


def file_name(name: str) -> str:
    """Return a name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "figure"


def _button(data: Any, name: str, mime: str, key: str) -> None:
    st.download_button(f"Download {name}", data, file_name=name, mime=mime, on_click="ignore", key=f"other-{key}")


def _image(figure: go.Figure, form: str, name: str) -> None:
    """Draw the figure as an image when asked to: it takes a browser on the server, and seconds."""
    from pfd_engine.errors import PFDError
    from pfd_engine.figures import export as figure_export

    if problem := figure_export.obstacle():
        st.html(alert(problem))
        return
    width = st.radio("Width", list(WIDTHS), format_func=lambda value: WIDTHS.get(value, value), key=f"width-{name}")
    drawn = hashlib.sha256(f"{form} {width} {figure.to_json()}".encode()).hexdigest()
    if st.button(f"Draw the {form.upper()}", key=f"draw-{name}"):
        try:
            with st.spinner("A browser on the server draws it…"):
                st.session_state["drawn"] = (drawn, figure_export.image(figure, form, width))
        except PFDError as error:
            st.html(alert(str(error)))
    held, data = st.session_state.get("drawn", ("", b""))
    if held == drawn:
        stem = f"{file_name(name)}-{width}.{form}"
        _button(data, stem, figure_export.IMAGE_FORMATS[form], name)
        st.caption(words.markdown(f"{len(data) / 1024:,.0f} kB, on white, with text of 8 points."))
