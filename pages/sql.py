"""SQL: a read-only query over all results, in a process of its own (`?query=`); a link fills the query in, and the visitor runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import alert, is_demo, page

if TYPE_CHECKING:
    from pages.frame.address import Choices
    from pfd_engine.store.sql.query import Answer

HEIGHT = 220


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pfd_engine.store.sql.query import AT_ONCE, ROWS, SECONDS

    st.title("SQL")
    st.html(
        '<p class="lead">Ask the results anything, in the SQL of DuckDB. A query only reads, '
        f"has {SECONDS} seconds and returns {ROWS:,} rows at most; this server answers {AT_ONCE} at once.</p>"
    )
    query, run = editor(Choices("sql"))
    result(query, run)
    tables()


def editor(choices: Choices) -> tuple[str, bool]:
    """Draw the examples and the query; returns the query and whether it shall run now."""
    from pages.widgets import html as words
    from pfd_engine.store.sql.query import MAX_QUERY
    from pfd_engine.store.sql.tables import EXAMPLES

    first, key = next(iter(EXAMPLES.values())), choices.key("query")
    if (length := len(st.query_params.get("query", ""))) > MAX_QUERY:
        st.warning(words.markdown(f"The query in the link has {length:,} characters, and {MAX_QUERY:,} are allowed: it is left out."))
        choices.keep("query", "")
    asked = choices.kept("query", "", lambda _: True)
    if key not in st.session_state:
        st.session_state[key] = asked or first

    def fill(text: str) -> None:
        st.session_state[key] = text

    st.caption("Queries to start from")
    with st.container(horizontal=True):
        for name, text in EXAMPLES.items():
            st.button(name, on_click=fill, args=(text,), key=f"sql-example-{name}")
    with st.container(key="sql-editor"), st.form("sql-form", border=False):
        query = st.text_area("Query", key=key, height=HEIGHT, max_chars=MAX_QUERY)
        run = st.form_submit_button("Run", type="primary", key="sql-run")
    query = str(query or "").strip()
    choices.keep("query", "" if query == first else query[:MAX_QUERY])
    return query, bool(run)


def result(query: str, run: bool) -> None:
    """Run the query if it shall, and draw what the latest one brought."""
    from pages.reads import sql as sql_data
    from pages.widgets import html as words

    if run:
        with st.spinner("The query is running"):
            sql_data.ask(query)
    last = sql_data.last()
    if last is None:
        st.caption("Nothing has been run yet: a link only fills the query in.")
        return
    if isinstance(last, str):
        if st.session_state.get(sql_data.ASKED) == query:
            st.html(alert(last))
        return
    answer, age = last
    st.header("Result")
    if st.session_state.get(sql_data.ASKED) != query:
        st.caption("This is the result of the query that was run before: press Run for the one above.")
    table = answer.table
    digits = {field.name: st.column_config.NumberColumn(format="%.6g") for field in table.schema if str(field.type) in ("double", "float")}
    st.dataframe(table, hide_index=True, column_config=digits, key="sql-table")
    told = f"{words.count(answer.rows, 'row')} in {answer.seconds:.2g} s. {answer.cut_note}"
    stale = f" The results are those of {words.duration(age)} ago: run it again for newer ones." if age else ""
    st.caption(words.markdown(f"{told}{stale}".strip()))
    downloads(answer)


def downloads(answer: Answer) -> None:
    """Offer the result as files, made when they are asked for."""
    with st.container(horizontal=True):
        for label, make, mime in (
            ("CSV", answer.csv, "text/csv"),
            ("Parquet", answer.parquet, "application/vnd.apache.parquet"),
            ("JSON", answer.json, "application/json"),
        ):
            name = f"query.{label.lower()}"
            st.download_button(f"Download {label}", make, file_name=name, mime=mime, on_click="ignore", key=f"sql-{label}")


def tables() -> None:
    """Explain the tables."""
    from pages.widgets import html as words
    from pfd_engine.store.sql.tables import MEANINGS, schema

    st.header("Tables")
    st.caption("What does not apply to a row is NULL." + ("" if is_demo() else " Rows that others published have a source of their own."))
    for table, columns in schema().items():
        with st.expander(f"**{table}**: {MEANINGS[table]}"):
            st.html(words.table(("Column", "Type", "Meaning"), columns, prose=True))


with page("SQL"):
    show()
