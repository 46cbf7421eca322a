"""Compare: teacher, students, empirical map and nearest training images of the same noises (`?item=RUN|STUDENT&sort=&noises=&size=`)."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import EVALUATE, RESULT, is_demo, page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pages.frame.address import Choices
    from pages.reads.images import Column, Grid, Subject
    from pages.widgets.compare_wall import View

MOST_STUDENTS = 6
ENOUGH_SHARED = 4
FOLDED = ("noises", "columns", "size", "rows", "gain")
BUNDLED = ("digits-student-memorizes", "digits-student-generalizes")
LAYOUTS = {"shared": "Noises that all kept", "all": "All noises, with gaps", "apart": "A wall for each"}


def show() -> None:
    """Draw the page."""
    from pages.frame.address import Choices
    from pages.reads import images as compare_data
    from pages.widgets import html as words

    st.title("Compare images")
    st.caption(
        "Each column starts from one noise, each row is one model: what the teacher draws, what a student makes of the same noise, and "
        "what a perfect copy of its training set would."
    )
    choices = Choices("compare")
    rows = students(choices)
    if not rows:
        return
    subjects = [subject for subject in compare_data.read_subjects(rows) if subject.kept]
    if len(subjects) < len(rows):
        st.info("The images of a student cannot be read and are left out: measure it again.")
    if not subjects:
        return
    sort, view, layout, asked, count = appearance(choices, subjects)
    if len({subject.teacher for subject in subjects}) > 1:
        st.info(
            "These students have different teachers: each wall has its own teacher row. Distances to different teachers do not compare."
        )
    for number, grid in enumerate(compare_data.grids(subjects, together=layout != "apart")):
        draw(number, grid, asked, count, sort, view, layout)
    for subject in subjects:
        st.page_link(RESULT, label=f"Open the run of {words.markdown(subject.label)}", query_params={"run": subject.run_id})


def students(choices: Choices) -> list[Mapping[str, Any]]:
    """Let the visitor choose students, and return their rows in the order chosen; says what to do where there are none."""
    from pages.reads import images as compare_data

    unknown = translate()
    left, right = st.columns([1, 2], gap="medium")
    with left:
        text = choices.text("find", "Find students", placeholder="Words of a name, such as scaling N=16")
    listed = compare_data.listed(text)
    if not listed and not text:
        st.info(
            "Nothing is published here yet." if is_demo() else "No result has kept images yet. Measure a pair, and it will appear here."
        )
        if not is_demo():
            st.page_link(EVALUATE, label="Go to Evaluate")
        return []
    held = [*st.query_params.get_all("item"), *(st.session_state.get(choices.key("item")) or [])]
    usual = compare_data.newest_own(f"evaluate- {name}" for name in BUNDLED)
    usual = usual or dict(list(listed.items())[:1])
    rows = listed | compare_data.found_items(held) | usual
    with right:
        labels = {item: compare_data.label_of(row) for item, row in rows.items()}
        chosen = choices.pick_many(
            "item", "Students", labels, tuple(usual), max_selections=MOST_STUDENTS, placeholder="Choose up to six students"
        )
    if text and not listed:
        st.caption("No student with images has all of these words in its name.")
    if unknown:
        latest = {item: row for item, row in compare_data.listed("", 4).items() if row["student"] is None}
        links = " · ".join(f'<a href="?item={escape(item)}">{escape(compare_data.label_of(row))}</a>' for item, row in latest.items())
        st.html(f'<p class="open-result">The latest results: {links}</p>' if links else "")
    if not chosen:
        st.info("Choose a student above to see its images.")
    return [rows[item] for item in chosen]


def translate() -> bool:
    """Let the run of a sweep stand for its first and last student, and keep a link to a few students; says whether one is unknown."""
    from pages.reads import images as compare_data

    asked = [item for item in dict.fromkeys(st.query_params.get_all("item")) if item]
    found = compare_data.found_items(asked[:MOST_STUDENTS])
    items: list[str] = []
    for item in asked[:MOST_STUDENTS]:
        of_run = [name for name in found if name.startswith(f"{item}|")]
        if item not in found and of_run and "|" not in item:
            st.caption("The link names a whole sweep: its first and last students are shown. Choose others in the list.")
            items += dict.fromkeys([of_run[0], of_run[-1]])
        else:
            items.append(item)
    if len(asked) > MOST_STUDENTS:
        st.warning(f"The link asks for {len(asked)} students: the first {MOST_STUDENTS} are shown.")
    if items[:MOST_STUDENTS] != asked:
        st.query_params["item"] = items[:MOST_STUDENTS]
    return any(item not in found for item in items)


def appearance(choices: Choices, subjects: Sequence[Subject]) -> tuple[str, View, str, list[int], int]:
    """Draw how the wall looks; returns the order of the columns, the view, how several students share columns, the seeds asked for (none:
    the first of the order), and how many columns there are."""
    from pages.reads import images as compare_data
    from pages.widgets.compare_wall import EXTRAS, GAINS, SIZES, View

    left, middle, right = st.columns(3, gap="medium", vertical_alignment="bottom")
    sorts = {name: label for name, label in compare_data.SORTS.items() if name != "disagreement" or len(subjects) > 1}
    with left:
        sort = choices.pick("sort", "Order of the columns", sorts, "distance") or "distance"
    with middle:
        views = {"images": "Images", "difference": "|student − teacher|"}
        view = choices.pick("view", "Students' rows show", views, "images")
    layout = "apart"
    if len(subjects) > 1 and len({subject.teacher for subject in subjects}) < len(subjects):
        shared = set.intersection(*(set(subject.kept) for subject in subjects))
        layouts = {name: label for name, label in LAYOUTS.items() if name != "shared" or shared}
        usual = "shared" if len(shared) >= ENOUGH_SHARED else "apart"
        with right:
            layout = choices.pick("layout", "Several students", layouts, usual) or usual
    with st.expander("Noises, size and rows", expanded=any(name in st.query_params for name in FOLDED)):
        first, second, third, fourth = st.columns([1.2, 1, 1, 1.8], gap="medium", vertical_alignment="bottom")
        with first:
            text = choices.text("noises", "Noise seeds", placeholder="All, or such as 0-15, 20")
        with second:
            count = choices.whole("columns", "Columns", 1, compare_data.MOST_COLUMNS, 12)
        with third:
            side = choices.pick("size", "Size of an image", {str(side): f"{side} pixels" for side in SIZES}, "96") or "96"
        with fourth:
            extras = choices.pick_many("rows", "More rows", EXTRAS, tuple(EXTRAS))
        gains = {str(gain): "as they are" if gain == 1 else f"{gain} times" for gain in GAINS}
        gain = choices.pick("gain", "Differences", gains, "1", width=200) if view == "difference" else "1"
        asked = seeds(text)
    return sort, View(tuple(extras), int(side), view == "difference", int(gain or 1)), layout, asked, count


def seeds(text: str) -> list[int]:
    """Return the noise seeds asked for; says what is wrong with them."""
    from pages.frame.page import alert
    from pages.reads.images import parse_noises
    from pfd_engine.errors import InputError

    try:
        return parse_noises(text)
    except InputError as error:
        st.html(alert(str(error)))
        return []


def draw(number: int, grid: Grid, asked: Sequence[int], count: int, sort: str, view: View, layout: str) -> None:
    """Draw one wall: its noises, its images, what they are, and the same as PNG."""
    from pages.reads import images as compare_data
    from pages.widgets import compare_wall
    from pages.widgets import html as words

    grid = compare_data.with_columns(grid)
    columns = list(grid.columns)
    if layout == "shared":
        columns = [column for column in columns if None not in column.kept]
    if asked:
        missing = sorted(set(asked) - {column.seed for column in columns})
        if missing:
            st.caption(f"No image was kept here of noise {', '.join(map(str, missing[:10]))}{' and others' if len(missing) > 10 else ''}.")
        columns = [column for column in columns if column.seed in asked]
    columns = compare_data.ordered(columns, sort if sort != "disagreement" or len(grid.subjects) > 1 else "distance")
    offered = columns if asked else columns[:count]
    if layout == "shared" and sort == "distance" and not asked:
        whole = [column for column in columns if column.has(view.extras)]
        if len(whole) >= min(count, len(columns)):  # enough noises have an image in every row
            offered = whole[:count]
    if not offered:
        st.info("No noise is left to show: clear the noise seeds, or show all noises with gaps.")
        return
    shown = compare_wall.fitting(grid, offered, view)
    st.html(compare_wall.html(shown, view))
    notes(shown, columns, offered, view)
    order = compare_data.SORTS[sort]
    if sort in compare_data.ORDERS and (len(grid.subjects) > 1 or sort == "memorization"):
        st.caption(words.markdown(f"Columns are sorted by {compare_data.ORDERS[sort]}."))
    st.caption(words.markdown(compare_wall.caption(shown, view, order)))
    st.download_button(
        "Download this wall as PNG",
        lambda: compare_wall.png(shown, view, order),
        file_name=f"compare-{'-'.join(dict.fromkeys(subject.run_id for subject in grid.subjects))[:120]}.png",
        mime="image/png",
        on_click="ignore",
        key=f"wall-{number}",
    )


def notes(shown: Grid, columns: Sequence[Column], offered: Sequence[Column], view: View) -> None:
    """Say what is not there."""
    from pages.widgets import html as words

    if len(shown.columns) < len(offered):
        st.caption(f"Images of this size fill the page: {len(shown.columns)} of {len(offered)} noises are shown. Choose smaller ones.")
    elif len(offered) < len(columns):
        st.caption(f"{len(offered)} of {len(columns)} noises whose images were kept.")
    skipped = [str(column.seed) for column in columns[: columns.index(offered[-1])] if column not in offered]
    if skipped:
        st.caption(
            f"Left out, since not every row has an image: noise {', '.join(skipped)}. Name noise seeds, or show fewer rows, under "
            "*Noises, size and rows* to see them."
        )
    if shown.gaps:
        st.caption(
            f"{words.count(shown.gaps, 'hatched cell')}: a run keeps the images of some noises only, and this student kept none of "
            "that one. Its distance is known all the same."
        )
    if "empirical" in view.extras and any(kept and kept.empirical is None for column in shown.columns for kept in column.kept):
        st.caption("A run keeps the empirical map's images of its first noises only; results from before this page kept none.")


with page("Compare"):
    show()
