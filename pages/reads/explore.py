"""What the Explore page reads of the store, kept while nothing is written there; never more than a page of rows or a bounded aggregate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.reads.store import the_store
from pfd_engine.store.queries import explore as queries
from pfd_engine.store.queries.explore import Grouping, Query, Selection

if TYPE_CHECKING:
    import pandas as pd

PAGE_ROWS = 50


def facets() -> tuple[dict[str, dict[str, int]], int]:
    """Return the values of each filter with how many numbers have them, and the largest N."""
    return _facets(the_store().version)


def rows(selection: Selection, order: str, descending: bool, page: int) -> pd.DataFrame:
    """Return one page of numbers."""
    return _rows(the_store().version, selection, order, descending, page)


def groups(selection: Selection, grouping: Grouping, order: str, descending: bool, page: int) -> pd.DataFrame:
    """Return one page of groups."""
    return _groups(the_store().version, selection, grouping, order, descending, page)


def count(selection: Selection, columns: Sequence[str]) -> tuple[int, int]:
    """Return how many numbers are selected, and how many groups by `columns` they make (0 without any)."""
    return _count(the_store().version, selection, tuple(columns))


def points(selection: Selection, x: str, color: str | None, spread: str) -> pd.DataFrame:
    """Return what the plot draws."""
    return _points(the_store().version, selection, x, color, spread)


def behind(selection: Selection, columns: Sequence[str], key: str) -> tuple[pd.DataFrame, int]:
    """Return the first numbers behind a group, one page at most, and how many there are."""
    return _behind(the_store().version, selection, tuple(columns), key)


def experiments(selection: Selection) -> list[str]:
    """Return the experiments of the selected numbers."""
    return _experiments(the_store().version, selection)


def has_group(selection: Selection, columns: Sequence[str], name: str) -> bool:
    """Return whether there is a group of that name."""
    return queries.has_group(the_store(), selection, columns, name)


def items(names: Sequence[str]) -> dict[str, str]:
    """Return those of the named students that there are, with their experiments."""
    return queries.items(the_store(), names) if names else {}


def csv(query: Query) -> Callable[[], bytes]:
    """Return what makes the CSV of a whole query, `MAX_EXPORT` rows at most, when it is asked for."""
    store = the_store()

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.csv"
            store.write(f"{query[0]} limit ?", [*query[1], queries.MAX_EXPORT], path, "csv")
            return path.read_bytes()

    return make


@st.cache_data(max_entries=2, show_spinner=False)
def _facets(version: str) -> tuple[dict[str, dict[str, int]], int]:
    return queries.facets(the_store()), queries.largest_n(the_store())


@st.cache_data(max_entries=100, show_spinner=False)
def _rows(version: str, selection: Selection, order: str, descending: bool, page: int) -> pd.DataFrame:
    return queries.rows_page(the_store(), queries.rows_query(selection, order, descending), page, PAGE_ROWS)


@st.cache_data(max_entries=100, show_spinner=False)
def _groups(version: str, selection: Selection, grouping: Grouping, order: str, descending: bool, page: int) -> pd.DataFrame:
    query = queries.groups_query(selection, grouping, order, descending)
    return queries.groups_page(the_store(), query, grouping.columns, page, PAGE_ROWS)


@st.cache_data(max_entries=200, show_spinner=False)
def _count(version: str, selection: Selection, columns: tuple[str, ...]) -> tuple[int, int]:
    store = the_store()
    return queries.count_rows(store, selection), queries.count_groups(store, selection, columns) if columns else 0


@st.cache_data(max_entries=100, show_spinner=False)
def _experiments(version: str, selection: Selection) -> list[str]:
    return queries.experiments(the_store(), selection)


@st.cache_data(max_entries=32, show_spinner=False)
def _points(version: str, selection: Selection, x: str, color: str | None, spread: str) -> pd.DataFrame:
    return queries.points(the_store(), selection, x, color, spread)


@st.cache_data(max_entries=32, show_spinner=False)
def _behind(version: str, selection: Selection, columns: tuple[str, ...], key: str) -> tuple[pd.DataFrame, int]:
    query = queries.behind_query(selection, columns, key)
    return queries.rows_page(the_store(), query, 1, PAGE_ROWS), queries.count_behind(the_store(), selection, columns, key)
