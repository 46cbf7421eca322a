"""What the Explore page draws: the filters, tables of numbers and of groups, and the chosen students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame.address import Choices
from pages.frame.page import COMPARE
from pages.reads import explore as explore_data
from pages.reads.explore import PAGE_ROWS
from pages.widgets import html as words
from pfd_engine.store.queries.explore import FILTERS, Selection

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "experiment": "Experiment", "source": "Source", "teacher": "Teacher", "family": "Family", "objective": "Objective", "size": "Size",
    "metric": "Quantity", "descriptor": "Descriptor", "state": "State of the run", "num_samples": "N", "student_seed": "Student seed",
    "student_steps": "Student's own steps", "step": "Training step", "run_id": "Run", "student": "Student", "parameters": "Parameters",
    "num_noises": "Noises M", "band": "Part of the spectrum", "numbers": "Numbers", "runs": "Runs",
}  # fmt: skip
DISTANCES, SQUARES = ("PFD", "E_gen", "E_mem", "E_emp"), ("E_gen2", "bias2", "variance")
ALL = "all"
MOST_COMPARED = 6
NARROWING = (*(name for name in FILTERS if name != "metric"), "student", "n_from", "n_to")


def filters(choices: Choices, facets: Mapping[str, Mapping[str, int]], largest_n: int) -> Selection:
    """Draw the filters and return what they select; a filter without a choice admits everything."""
    known = facets["metric"]
    metrics = {metric: f"{metric} ({count:,})" for metric, count in sorted(known.items())} | {ALL: "All quantities"}
    default = next((metric for metric in ("E_gen", "PFD", *known) if metric in known), ALL)
    left, right = st.columns(2, gap="medium")
    with left:
        metric = choices.pick("metric", "Quantity", metrics, default) or default
    with right:
        steps = choices.pick("steps", "Training steps", {"last": "Each run's last step", ALL: "All steps"}, "last")
    narrowed = Selection((("metric", () if metric == ALL else (metric,)),), last=steps == "last")
    used = sum(_is_used(choices, name, largest_n) for name in NARROWING)
    # Once it was open because of a filter, it is not folded by the change that takes the last filter away.
    expanded = st.session_state["explore-filters-used"] = st.session_state.get("explore-filters-used", False) or used > 0
    box = st.expander(f"Filters ({used} in use)" if used else "Filters", key="explore-filters", on_change="rerun", expanded=expanded)
    if not box.open and not used:  # a dozen fields that nobody looks at would take half of the time that the page takes
        return narrowed
    with box:
        return _narrow(choices, narrowed, facets, largest_n)


def _is_used(choices: Choices, name: str, largest_n: int) -> bool:
    """Whether a filter narrows anything: as its field holds it or, before it is drawn, as the address does."""
    key = choices.key(name)
    held = st.session_state[key] if key in st.session_state else st.query_params.get(name)
    admits_all = {"n_from": "0", "n_to": f"{largest_n}"}.get(name, "")
    return held not in (None, []) and str(held).strip() != admits_all


def _narrow(choices: Choices, selection: Selection, facets: Mapping[str, Mapping[str, int]], largest_n: int) -> Selection:
    """Draw the filters inside the box and return what they leave."""
    chosen = list(selection.chosen)
    columns = st.columns(2, gap="medium")
    for position, name in enumerate(name for name in FILTERS if name != "metric"):
        with columns[position % 2]:
            options = {value: f"{words.short(value)} ({count:,})" for value, count in facets[name].items()}
            chosen.append((name, tuple(sorted(choices.pick_many(name, NAMES[name], options, placeholder="Any")))))
    with columns[0]:
        student = choices.text("student", "Student's name contains")
    with columns[1]:
        left, right = st.columns(2)
        with left:
            low = choices.whole("n_from", "N from", 0, largest_n, 0)
        with right:
            high = choices.whole("n_to", "N to", 0, largest_n, largest_n)
    return replace(
        selection, chosen=tuple(chosen), student=student, n_low=low if low > 0 else None, n_high=high if high < largest_n else None
    )


def number_table(choices: Choices, frame: pd.DataFrame, key: str) -> list[str]:
    """Draw a page of numbers, a row each, with a tick at those of the chosen students; return the items of all rows."""
    import pandas as pd

    from pages.widgets.ticked_table import ticked_table

    value = [
        words.with_interval(row["value"], _known(row["ci_low"]), _known(row["ci_high"]))
        if _known(row["ci_low"]) is not None
        else words.number(row["value"], _known(row["stderr"]))
        for row in frame.to_dict("records")
    ]
    shown = ["student", "teacher", "size", "num_samples", "student_seed", "step", "descriptor", "experiment", "state", "source", "run_id"]
    table = pd.DataFrame({"metric": _quantities(frame), "value": value} | {name: frame[name] for name in shown})
    table = table.assign(teacher=frame["teacher"].map(words.short)).rename(columns=NAMES | {"value": "Value [95 % interval]"})
    found, chosen = items_of(frame), chosen_items(choices)
    full = f"{MOST_COMPARED} students are chosen, which is the most" if len(chosen) >= MOST_COMPARED else ""
    ticked_table(table, found, chosen, key, partial(choose, choices), telling=3, full=full)
    return found


def group_table(choices: Choices, frame: pd.DataFrame, columns: tuple[str, ...], spread: str, relative: str) -> None:
    """Draw a page of groups: their values, the mean with its standard error, the band named `spread`, and what stands relative to the
    baseline under the heading `relative` (empty: no baseline); with a tick at the group whose numbers are shown."""
    import pandas as pd

    from pages.widgets.ticked_table import ticked_table

    def look(group: str, on: bool) -> None:
        if on or st.query_params.get("behind") == group:
            choices.keep("behind", group if on else "")

    rows = frame.to_dict("records")
    table = pd.DataFrame({name: frame[name].map(words.short) if name == "teacher" else frame[name] for name in columns})
    table["quantity"] = _quantities(frame)
    if frame["descriptor"].nunique() > 1:
        table["descriptor"] = frame["descriptor"]
    table["mean"] = [_with_error(row["mean"], row["stderr"]) for row in rows]
    table["spread"] = [words.interval(_known(row["low"]), _known(row["high"])) or "–" for row in rows]
    if relative:
        table["relative"] = [_with_error(row["relative"], row["relative_stderr"]) for row in rows]
    table["numbers"], table["runs"] = frame["numbers"], frame["runs"]
    names = NAMES | {"quantity": "Quantity", "mean": "Mean ± standard error", "spread": f"[{spread}]", "relative": relative}
    table = table.rename(columns=names)
    shown = st.query_params.get("behind", "")
    ticked_table(table, [f"group|{key}" for key in frame["key"]], [shown], "explore-groups", look, telling=len(columns) + 1)


def pager(choices: Choices, name: str, total: int, noun: str) -> int:
    """Draw the choice of a page of `total` rows, and return it; the first is 1."""
    pages = max(1, -(-total // PAGE_ROWS))
    if pages == 1:
        if choices.key(name) in st.session_state:  # the visitor left pages behind by a filter, and did not ask for one by a link
            choices.keep(name, "")
        else:
            choices.kept(name, "1", lambda asked: asked == "1")
        st.caption(words.count(total, noun))
        return 1
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with right:
        page = choices.whole(name, f"Page of {pages:,}", 1, pages, 1)
    with left:
        st.caption(f"{(page - 1) * PAGE_ROWS + 1:,} to {min(total, page * PAGE_ROWS):,} of {words.count(total, noun)}")
    return page


def chosen_students(choices: Choices, offered: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Draw the chosen students: `offered` maps an item to its label, `known` those chosen before to their experiments."""
    from pages.reads.findings import PAGES, TITLES
    from pages.widgets.finding import draw_wall

    st.header("Chosen students")
    options = {item: label_of(item) for item in known} | dict(offered)
    chosen = choices.pick_many(
        "item", "Students to look at and to compare", options, placeholder="Tick rows above, or choose here", max_selections=MOST_COMPARED
    )
    if not chosen:
        return
    if len(chosen) > 1:
        st.page_link(COMPARE, label=f"Compare the {len(chosen)} students", query_params=[("item", item) for item in chosen])
        seen = choices.pick("wall", "Images of", {item: options[item] for item in chosen}, chosen[0]) or chosen[0]
    else:
        seen = chosen[0]
        choices.keep("wall", "")
    run_id, _, student = seen.partition("|")
    draw_wall(run_id, student or None)
    if (experiment := known.get(seen)) in PAGES:
        st.page_link(PAGES[experiment], label=f"See its sweep under {TITLES[experiment]}", query_params={"run": run_id})


def choose(choices: Choices, item: str, on: bool) -> None:
    """Add a student to the chosen ones, unless they are as many as can be compared, or let it go."""
    chosen = chosen_items(choices)
    if on and item not in chosen:
        chosen = [*chosen, item][:MOST_COMPARED]
    st.session_state[choices.key("item")] = chosen if on else [other for other in chosen if other != item]


def chosen_items(choices: Choices) -> list[str]:
    """Return the chosen students; before they are drawn, those of the link that there are."""
    if (key := choices.key("item")) in st.session_state:
        return list(st.session_state[key] or [])
    return list(asked_items(choices))[:MOST_COMPARED]


def asked_items(choices: Choices) -> dict[str, str]:
    """Return the students that are chosen or that a link asks for, as far as there are any, with their experiments."""
    asked = st.session_state.get(choices.key("item"), st.query_params.get_all("item")) or []
    return explore_data.items(list(dict.fromkeys(asked))[: 2 * MOST_COMPARED])


def items_of(frame: pd.DataFrame) -> list[str]:
    """Return the item of each number: the run of an evaluation, the run and the student of a sweep."""
    rows = zip(frame["run_id"], frame["experiment"], frame["student"], strict=True)
    return [run_id if experiment == "evaluation" else f"{run_id}|{student}" for run_id, experiment, student in rows]


def label_of(item: str) -> str:
    """Return what names an item in a list."""
    run_id, _, student = item.partition("|")
    return f"{student} of {run_id}" if student else run_id


def unit(frame: pd.DataFrame) -> str:
    """Return the unit of the quantity of a frame; empty where it has none."""
    metric = str(frame["metric"].iloc[0]) if len(frame) else ""
    names = frame["descriptor"].dropna().unique()
    of = words.unit(names[0] if len(names) else None) if len(names) < 2 else "units of the descriptor"
    return of if metric in DISTANCES else f"{of}²" if metric in SQUARES else "s" if metric == "seconds" else ""


def _quantities(frame: pd.DataFrame) -> list[str]:
    return [
        f"{metric}, {band}" if isinstance(band, str) else str(metric) for metric, band in zip(frame["metric"], frame["band"], strict=True)
    ]


def _with_error(value: Any, error: Any) -> str:
    if _known(value) is None:
        return "–"
    return words.number(value, _known(error)) + (f" ± {words.number(error, error)}" if _known(error) else "")


def _known(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
