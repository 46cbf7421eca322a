"""Explore: all numbers of all runs, filtered, grouped, plotted and chosen for comparison (`?metric=&group=&x=&color=&item=`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import EVALUATE, is_demo, page

if TYPE_CHECKING:
    from pages.frame.address import Choices
    from pfd_engine.store.queries.explore import Query, Selection

SPREADS = {"stderr": "mean ± one standard error", "range": "smallest to largest", "quantiles": "5 % to 95 % quantile"}
RELATIONS = {"difference": "Difference to the baseline", "ratio": "Ratio to the baseline"}
ROW_ORDERS = {
    "created": "Newest run first", "value": "Value", "num_samples": "N", "parameters": "Parameters", "step": "Training step",
    "metric": "Quantity", "student": "Student", "teacher": "Teacher",
}  # fmt: skip
NONE = "none"
# Choices that a page without numbers leaves in the address.
DRAWN_BELOW = (
    "order", "down", "group_order", "group_down", "page", "baseline", "relation", "x", "log_x", "color", "log_y", "behind", "item", "wall",
)  # fmt: skip


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pages.reads import explore as data
    from pages.widgets import explore as widgets

    st.title("Explore: all runs and numbers")
    facets, largest_n = data.facets()
    if not facets["metric"]:
        empty()
        return
    choices = Choices("explore")
    selection = widgets.filters(choices, facets, largest_n)
    if set(facets["source"]) - {"workspace", "published"} and not dict(selection.chosen).get("source"):
        st.caption("Results of others are left out here until you choose their source.")
    columns, spread = grouping(choices)
    numbers, groups = data.count(selection, columns)
    if not numbers:
        st.info("No number fits these filters: take one away.")
        for name in DRAWN_BELOW:
            choices.kept(name, "", lambda _: True)
        return
    offered: dict[str, str] = {}
    if columns:
        query = group_rows(choices, selection, columns, spread, groups)
    else:
        query, found = number_rows(choices, selection, numbers)
        offered |= {item: widgets.label_of(item) for item in found}
    download(query, groups if columns else numbers)
    plot(choices, selection, spread)
    offered |= {item: widgets.label_of(item) for item in behind(choices, selection, columns)}
    widgets.chosen_students(choices, offered, widgets.asked_items(choices))


def grouping(choices: Choices) -> tuple[tuple[str, ...], str]:
    """Draw by what numbers are grouped, and the band; returns both."""
    from pages.widgets.explore import NAMES
    from pfd_engine.store.queries.explore import GROUPS

    left, right = st.columns(2, gap="medium")
    with left:
        columns = choices.pick_many("group", "Group by", {name: NAMES[name] for name in GROUPS}, placeholder="Nothing: one row a number")
    with right:
        spread = choices.pick("spread", "Band around a mean", SPREADS, "stderr") or "stderr"
    return tuple(columns), spread


def number_rows(choices: Choices, selection: Selection, total: int) -> tuple[Query, list[str]]:
    """Draw a page of numbers and return their query and the items of the page."""
    from pages.reads import explore as data
    from pages.widgets import explore as widgets
    from pfd_engine.store.queries.explore import rows_query

    for of_groups in ("baseline", "relation", "group_order", "group_down"):
        choices.keep(of_groups, "")
    order, descending = ordering(choices, "order", "down", ROW_ORDERS, "created", down=True)
    slot = st.container()
    position = widgets.pager(choices, "page", total, "number")
    with slot:
        found = widgets.number_table(choices, data.rows(selection, order, descending, position), "explore-rows")
    return rows_query(selection, order, descending), found


def group_rows(choices: Choices, selection: Selection, columns: tuple[str, ...], spread: str, total: int) -> Query:
    """Draw a page of groups and return their query."""
    from pages.reads import explore as data
    from pages.widgets import explore as widgets
    from pages.widgets import html as words
    from pfd_engine.store.queries.explore import Grouping, groups_query

    orders = {"groups": "Groups", "mean": "Mean", "numbers": "How many numbers"}
    for of_numbers in ("order", "down"):
        choices.keep(of_numbers, "")
    order, descending = ordering(choices, "group_order", "group_down", orders, "groups", down=False)
    slot = st.container()
    position = widgets.pager(choices, "page", total, "group")
    plain = data.groups(selection, Grouping(columns, spread), order, descending, position)
    names = {name: name.replace("|", ", ") for name in dict.fromkeys(plain["name"])}
    asked = st.session_state.get(choices.key("baseline"), st.query_params.get("baseline"))
    if asked is not None and asked not in names and data.has_group(selection, columns, str(asked)):
        names[str(asked)] = str(asked).replace("|", ", ")
    left, right = st.columns(2, gap="medium")
    with left:
        baseline = choices.pick("baseline", "Baseline", names, None, index=None, placeholder="No group is pinned")
    with right:
        relation = choices.pick("relation", "Set against it by", RELATIONS, "difference") or "difference"
    pinned = Grouping(columns, spread, baseline or "", relation)
    frame = data.groups(selection, pinned, order, descending, position) if baseline else plain
    with slot:
        widgets.group_table(choices, frame, columns, SPREADS[spread], RELATIONS[relation] if baseline else "")
    if baseline:
        st.caption(f"Pinned: {words.markdown(names[baseline])}. Standard errors against it take the groups as independent.")
    return groups_query(selection, pinned, order, descending)


def ordering(choices: Choices, name: str, way: str, orders: dict[str, str], default: str, *, down: bool) -> tuple[str, bool]:
    """Draw the order of rows (the choices `name` and `way`), and return its column and whether it goes down."""
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    with left:
        order = choices.pick(name, "Order", orders, default) or default
    with right:
        return order, choices.flag(way, "Largest first", down)


def download(query: Query, total: int) -> None:
    """Offer all pages of the table as CSV, made when it is asked for."""
    from pages.reads import explore as data
    from pfd_engine.store.queries.explore import MAX_EXPORT

    part = f", the first {MAX_EXPORT:,} rows" if total > MAX_EXPORT else ", all pages"
    st.download_button(
        f"Download the table (CSV{part})", data.csv(query), file_name="explore.csv", mime="text/csv", on_click="ignore", key="explore-csv"
    )


def plot(choices: Choices, selection: Selection, spread: str) -> None:
    """Draw the mean of one quantity against a column, with what it shows as CSV."""
    from pages.reads import explore as data
    from pages.reads.cache import kept
    from pages.reads.findings import version
    from pages.widgets import explore as widgets
    from pages.widgets import finding as finding_widgets
    from pages.widgets import html as words
    from pages.widgets.exports import exports
    from pfd_engine import figures
    from pfd_engine.store.queries.explore import AXES, GROUPS, MAX_POINTS

    st.header("Means")
    left, right = st.columns(2, gap="medium")
    with left:
        x = choices.pick("x", "Horizontal axis", {name: widgets.NAMES[name] for name in AXES}, "num_samples") or "num_samples"
        log_x = choices.flag("log_x", "Logarithmic horizontal axis", True)
    with right:
        colors = {NONE: "Nothing"} | {name: widgets.NAMES[name] for name in GROUPS}
        color = choices.pick("color", "One color a", colors, "size")
        log_y = choices.flag("log_y", "Logarithmic vertical axis")
    if not dict(selection.chosen)["metric"]:
        st.info("Choose one quantity above to plot it.")
        return
    if x == "step":
        selection = replace(selection, last=False)
    frame = data.points(selection, x, None if color == NONE else color, spread)
    if frame.empty:
        st.info(f"No number here states its {widgets.NAMES[x]}: choose another horizontal axis.")
        return
    key = ("explore", version(), str(selection), x, color, spread, log_x, log_y)
    figure = kept(lambda: figures.explore(frame, x, color, widgets.unit(frame), log_x=log_x, log_y=log_y), *key)
    metric = dict(selection.chosen)["metric"][0]
    alt = f"The mean {metric} against {widgets.NAMES[x]}"
    hint = "Select a point to see the numbers behind it below."
    finding_widgets.plot(figure, "explore-plot", alt, lambda point: choices.keep("behind", f"point|{point[0]}"), hint)
    series = len(figures.series(frame))
    parts = [f"Band: {SPREADS[spread]}, of {int(frame['numbers'].sum()):,} numbers."]
    parts += [f"The first {figures.MAX_SERIES} of {series} curves are drawn."] if series > figures.MAX_SERIES else []
    if len(pooled := data.experiments(selection)) > 1:
        named = f"{len(pooled)} experiments ({', '.join(pooled)})"
        parts += [f"It pools {named}, which differ in more than what is drawn: filter to compare like with like."]
    parts += [f"The first {MAX_POINTS:,} points are drawn: filter to see the others."] if len(frame) == MAX_POINTS else []
    st.caption(words.markdown(" ".join(parts)))
    shown = frame.drop(columns=["key", "place"]).rename(columns={"x": x, "color": color if color != NONE else "color"})
    exports(shown.loc[:, ~shown.columns.duplicated()], figure, "explore-means", {}, alt)


def behind(choices: Choices, selection: Selection, columns: tuple[str, ...]) -> list[str]:
    """Draw the numbers behind the selected point or group, and return their items."""
    from pages.reads import explore as data
    from pages.widgets import explore as widgets

    kind, _, key = choices.kept("behind", "", lambda asked: asked.startswith(("point|", "group|")) and len(asked) < 2000).partition("|")
    if kind == "group" and not columns:  # the groups were given up
        choices.keep("behind", "")
        return []
    if not kind:
        return []
    x, color = (st.session_state.get(choices.key(name)) for name in ("x", "color"))
    by = columns if kind == "group" else tuple(dict.fromkeys(name for name in (x, color) if name and name != NONE))
    if kind == "point" and x == "step":
        selection = replace(selection, last=False)
    frame, total = data.behind(selection, by, key)
    st.header(f"Behind the selected {kind}")
    if frame.empty:
        st.info("Nothing here lies behind it any more: select another.")
        return []
    st.caption(f"{len(frame):,} of {total:,} numbers" if total > len(frame) else f"{total:,} numbers")
    return widgets.number_table(choices, frame, "explore-behind")


def empty() -> None:
    """Say how to get results."""
    if is_demo():
        st.info("Nothing is published here yet.")
        return
    st.info("There is no number yet. Measure a pair on the Evaluate page, distil a student, or run a sweep; all their numbers appear here.")
    st.page_link(EVALUATE, label="Go to Evaluate")


with page("Explore"):
    show()
