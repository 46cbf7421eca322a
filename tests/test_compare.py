"""The compare wall: columns of shared noises, their orders, differences to the pixel, the wall as PNG, and what links may ask for."""

from __future__ import annotations

import base64
import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.frame.page import COMPARE, SCALING
from pages.reads import images as compare_data
from pages.reads.images import Column, Kept
from pages.widgets import compare_wall
from pfd_engine.errors import InputError
from pfd_engine.runs.events import EventLog
from pfd_engine.runs.folder import Run, claim_new_run
from pfd_engine.walls import picture as wall_picture
from pfd_engine.workspace import REPOSITORY, Workspace
from tests import page_visits
from tests.finding_samples import finished_sweep
from tests.page_visits import html
from tests.run_samples import a_config, measurement, result


def gray(value: int, side: int = 4) -> np.ndarray:
    return np.full((side, side), value, dtype=np.uint8)


def text(pixels: np.ndarray) -> str:
    return base64.b64encode(wall_picture.encode(pixels)).decode()


def measured(workspace: Workspace, student: str, pairs: dict[int, dict[str, np.ndarray]], teacher: str = "someone/teacher") -> Run:
    """A finished evaluation that kept these images by seed; the distance of noise m is sqrt(m)."""
    run, lock = claim_new_run(workspace, a_config(teacher=teacher, student=student))
    with EventLog(run.events_path) as log:
        for metric in ("PFD", "E_mem"):
            values = [float(seed) for seed in range(128)]
            log.append({"type": "distances", "metric": metric, "seeds_start": 0, "seeds_stop": 128, "values": values}, durable=False)
        for rank, (seed, images) in enumerate(pairs.items()):
            pngs = {f"{name}_png": text(pixels) for name, pixels in images.items()}
            event = {"type": "pair", "seed": seed, "rank": rank, "group": "first", "distance": seed**0.5, **pngs}
            log.append(event, durable=False)
        log.append(measurement(teacher=teacher, student=student, num_samples=64), durable=False)
        log.append({"type": "result", "result": result(run.id)}, durable=False)
    run.write_status(run.status.model_copy(update={"state": "finished", "finished": run.status.created + 2}))
    lock.release()
    return run


def images(teacher: int, student: int, nearest: int, empirical: int | None = None) -> dict[str, np.ndarray]:
    found = {"teacher": gray(teacher), "student": gray(student), "nearest": gray(nearest)}
    return found if empirical is None else found | {"empirical": gray(empirical)}


@pytest.fixture(autouse=True)
def home(bare_home):
    return bare_home


@pytest.fixture
def pair(home):
    """Two students of one teacher that share noises 1 to 5, of which the first alone kept noise 0."""
    teacher = {seed: 20 * seed for seed in range(6)}
    first = {seed: images(teacher[seed], teacher[seed] + 40, teacher[seed] + 10 * seed, 7) for seed in range(6)}
    second = {seed: images(teacher[seed], teacher[seed] + 10 * seed, teacher[seed] + 5) for seed in range(1, 6)}
    return measured(home, "someone/first", first).id, measured(home, "someone/second", second).id


def visit(**query: Any) -> AppTest:
    return page_visits.visit(COMPARE, **query)


def seeds(app: AppTest) -> list[list[int]]:
    """The noise seeds of each wall, in their order."""
    heads = [part.split("</thead>")[0] for part in html(app).split("Noise seed</th>")[1:]]
    return [[int(cell.split("<")[0]) for cell in head.split('<th scope="col">')[1:]] for head in heads]


def said(app: AppTest) -> str:
    found = [element.value for kind in (app.caption, app.info, app.warning) for element in kind]
    return "\n".join(found).replace("\\", "")


def column(seed: int, *students: tuple[int, int, float | None] | None) -> Column:
    """A column whose teacher is black; a student is its gray, that of its nearest training image, and its measured distance."""
    kept = tuple(None if student is None else Kept(gray(0), gray(student[0]), gray(student[1])) for student in students)
    return Column(seed, gray(0), kept, tuple(None if student is None else student[2] for student in students))


def test_columns_are_ordered_by_what_their_order_says():
    columns = [
        column(4, (100, 90, 2.0), (100, 20, 4.0)),  # the students agree; one is near its training image
        column(2, (200, 50, 5.0), (50, 0, 3.0)),
        column(9, (10, 9, 0.5), (30, 0, 1.5)),
        column(7, (10, 210, None), None),
    ]
    expected = {
        "seed": [2, 4, 7, 9],
        "distance": [9, 4, 2, 7],
        "farthest": [2, 4, 9, 7],
        "disagreement": [2, 9, 4, 7],
        "memorization": [4, 9, 2, 7],
    }
    assert set(expected) == set(compare_data.SORTS)
    for how, order in expected.items():
        for shuffled in itertools.islice(itertools.permutations(columns), 0, 24, 5):
            assert [c.seed for c in compare_data.ordered(shuffled, how)] == order, how


def test_disagreement_is_the_distance_in_data_units():
    """Two images of 16 pixels that differ by 127.5 levels, 1 in data units, everywhere: sqrt(16)."""
    assert wall_picture.distance(gray(0), gray(255)) == pytest.approx(2 * 4)
    assert column(0, (0, 0, 1.0), (255, 0, 1.0), (100, 0, 1.0)).disagreement == pytest.approx(8)
    assert wall_picture.distance(gray(0), gray(0, side=8)) is None


@pytest.mark.parametrize(("gain", "expected"), [(1, 55), (4, 220), (8, 255)])
def test_a_difference_is_exact_to_the_pixel_and_has_no_sign(gain, expected):
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(2))
    apart = wall_picture.difference(first, second, gain)
    assert apart is not None
    assert (apart == np.minimum(np.abs(first.astype(int) - second.astype(int)) * gain, 255)).all()
    assert (apart == wall_picture.difference(second, first, gain)).all()
    assert wall_picture.difference(gray(200), gray(145), gain) is not None
    assert (wall_picture.difference(gray(200), gray(145), gain) == expected).all()
    assert wall_picture.difference(gray(0), np.zeros((4, 4, 3), np.uint8)) is None


@pytest.mark.parametrize(
    ("asked", "found"), [("", []), ("3", [3]), ("0-2, 7", [0, 1, 2, 7]), ("5 – 6", [5, 6]), ("4,4 4", [4]), ("1-64", list(range(1, 65)))]
)
def test_noises_are_seeds_and_ranges(asked, found):
    assert compare_data.parse_noises(asked) == found


@pytest.mark.parametrize("asked", ["a", "5-2", "1;2", "0-64", "-3", "1.5", "0-60, 70-80", "9" * 100_000, "<script>alert(1)</script>"])
def test_noises_of_any_other_kind_are_refused_in_a_sentence(asked):
    with pytest.raises(InputError, match=r"give seeds and ranges|at most 64") as refused:
        compare_data.parse_noises(asked)
    assert len(str(refused.value)) < 120


def test_small_images_are_enlarged_by_repeating_pixels():
    checkers = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    large = np.asarray(wall_picture.scaled(checkers, 64))
    assert large.shape == (64, 64)
    assert (large == np.kron(checkers, np.ones((32, 32), dtype=np.uint8))).all()


def test_the_picture_is_a_png_with_room_for_its_caption():
    row = wall_picture.Row("Teacher", "#1f77b4", [gray(255), None], ["1.0", ""])
    short, long = "One line.", "A caption of many words. " * 40
    pictures = {caption: Image.open(io.BytesIO(wall_picture.picture([row], ["0", "1"], caption, 96))) for caption in (short, long)}
    font = wall_picture.ImageFont.load_default(wall_picture.CAPTION_SIZE)
    lines = {caption: len(wall_picture.wrapped(caption, font, p.width - 2 * wall_picture.MARGIN)) for caption, p in pictures.items()}
    assert lines[short] == 1 < lines[long]
    assert pictures[long].height - pictures[short].height == wall_picture.caption_height(lines[long] - 1)
    for caption, picture in pictures.items():
        picture.load()
        assert picture.format == "PNG"
        assert picture.text["Description"] == caption
    drawn = np.asarray(pictures[long])[-wall_picture.MARGIN - wall_picture.caption_height(lines[long]) :]
    assert (drawn < 128).any(), "the caption is drawn"


def test_a_caption_is_drawn_in_letters_that_the_font_has():
    """A letter that the font lacks would be drawn as a box."""
    font = wall_picture.ImageFont.load_default(16)
    box = bytes(font.getmask("\uffff"))
    drawn = wall_picture.drawable("|é − teacher| of σ², Ψ – 漢")
    assert drawn == "|e - teacher| of sigma2, Psi - ?"
    assert all(bytes(font.getmask(letter)) != box for letter in drawn if letter != " ")


def test_a_picture_of_everything_stays_small_enough():
    rows = [wall_picture.Row("Student", "#ff0000", [gray(9)] * 64, [""] * 64)] * 19
    picture = Image.open(io.BytesIO(wall_picture.picture(rows, [str(seed) for seed in range(64)], "Caption.", 512)))
    assert picture.width * picture.height < 1.2 * wall_picture.MOST_PIXELS


@pytest.mark.parametrize("png", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", wall_picture.encode(gray(0, side=513))])
def test_what_is_no_image_of_the_wall_is_refused(png):
    with pytest.raises(InputError, match="image of the wall"):
        wall_picture.decode(png)


def test_a_page_of_large_images_is_bounded():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    kept = {seed: Kept(noise, noise, noise, noise) for seed in range(64)}
    subject = compare_data.Subject("run", "run", "student", {}, kept)
    columns = tuple(Column(seed, noise, (kept[seed],), (1.0,)) for seed in range(64))
    shown = compare_wall.fitting(compare_data.Grid((subject,), columns), columns, compare_wall.View(side=512))
    assert 1 <= len(shown.columns) < 8
    assert len(compare_wall.html(shown, compare_wall.View(side=512))) < 1.6 * compare_wall.PAGE_BYTES


def test_two_students_share_the_columns_of_the_noises_that_both_kept(pair):
    app = visit(item=list(pair))
    assert seeds(app) == [[1, 2, 3, 4, 5]]
    drawn = html(app)
    for name in ("Teacher: someone/teacher", "Student: someone/first", "Student: someone/second", "Its empirical map"):
        assert f">{name}</th>" in drawn
    assert f"{5**0.5:.2f}</td>" in drawn
    assert "noises whose images" not in said(app)
    assert seeds(visit(item=list(pair), sort="disagreement")) == [[1, 2, 3, 5, 4]]


def test_noises_with_every_row_are_preferred_unless_others_are_asked_for(home):
    teacher = {seed: 20 * seed for seed in range(7)}
    kept = {seed: images(teacher[seed], teacher[seed] + 30, teacher[seed] + 10, 7 if seed > 1 else None) for seed in teacher}
    pair = [measured(home, name, kept).id for name in ("someone/first", "someone/second")]
    few = visit(item=pair, columns="4")
    assert seeds(few) == [[2, 3, 4, 5]]
    assert "4 of 7 noises whose images were kept." in said(few)
    assert "not every row has an image: noise 0, 1." in said(few)
    assert seeds(visit(item=pair)) == [[0, 1, 2, 3, 4, 5, 6]], "as many as there are, with gaps"
    assert seeds(visit(item=pair, columns="4", rows="nearest")) == [[0, 1, 2, 3]]
    assert seeds(visit(item=pair, columns="4", sort="farthest")) == [[6, 5, 4, 3]]
    assert seeds(visit(item=pair, columns="4", sort="seed")) == [[0, 1, 2, 3]]
    assert seeds(visit(item=pair, noises="0-3")) == [[0, 1, 2, 3]]


def test_a_first_visit_shows_ones_own_students_before_those_of_others(monkeypatch):
    rows = {"a": {"source": "hub:someone/results"}, "b": {"source": "published"}, "c": {"source": "workspace"}}
    monkeypatch.setattr(compare_data, "listed", lambda text, limit=300: rows if text == "known" else {})
    assert compare_data.newest_own(["known", "unknown"]) == {"b": rows["b"]}


def test_gaps_are_shown_and_told_where_all_noises_are_wanted(pair):
    app = visit(item=list(pair), layout="all", sort="seed")
    assert seeds(app) == [[0, 1, 2, 3, 4, 5]]
    assert html(app).count('class="none"') == 2, "the student's and that of its nearest training image"
    assert "1 hatched cell" in said(app)
    app = visit(item=list(pair), layout="apart", sort="farthest", columns="2")
    assert seeds(app) == [[5, 4], [5, 4]]


def test_a_difference_view_shows_what_the_pixels_say(pair):
    app = visit(item=pair[0], view="difference", gain="2", noises="3", rows="")
    [teacher, apart] = [part.split('"')[0] for part in html(app).split("data:image/png;base64,")[1:]]
    assert (wall_picture.decode(base64.b64decode(teacher)) == 60).all()
    assert (wall_picture.decode(base64.b64decode(apart)) == 80).all()
    assert "|student − teacher| of each pixel: black is 0, white 1 or more" in said(app)


def test_students_of_different_teachers_have_walls_of_their_own(home, pair):
    other = measured(home, "someone/third", {3: images(1, 2, 3)}, teacher="someone/else").id
    app = visit(item=[*pair, other])
    assert len(seeds(app)) == 3, "with a teacher of another kind no noise is shared by all three"
    assert "different teachers" in said(app)


def test_an_unknown_student_is_told_and_the_latest_results_are_offered(pair):
    app = visit(item="evaluate-nothing")
    assert "'evaluate-nothing', which does not exist here" in said(app)
    assert f'href="?item={pair[1]}"' in html(app)
    assert seeds(app)


def test_a_whole_sweep_stands_for_its_first_and_last_student(home):
    run = finished_sweep(home, "scaling")
    app = visit(item=run.id)
    assert [item.partition("|")[0] for item in app.query_params["item"]] == [run.id, run.id]
    assert "first and last students" in said(app)
    assert seeds(app) == [[7], [7]], "with so few shared noises each has a wall of its own"


def test_hostile_names_and_links_stay_text(home):
    name = "someone/<img src=x onerror=alert(1)>"
    run, lock = claim_new_run(home, a_config())
    with EventLog(run.events_path) as log:
        pngs = {f"{role}_png": text(gray(3)) for role in ("teacher", "student")}
        log.append(
            {"type": "pair", "seed": 1, "rank": 0, "group": "first", "distance": 1.0, "student": name, "step": 1, **pngs}, durable=False
        )
        log.append(measurement(student=name, teacher=name), durable=False)
    run.write_status(run.status.model_copy(update={"state": "finished"}))
    lock.release()
    app = visit(
        item=f"{run.id}|{name}", find="<script>alert(1)</script>", sort="<b>", noises="<i>", size="1e9", columns="-1", unknown="x" * 10_000
    )
    assert "<img src=x" not in html(app)
    assert "&lt;img src=x" in html(app)
    assert "<i>" not in html(app)
    assert "<script>alert" not in html(app)
    assert len(seeds(app)[0]) == 1


def test_an_empty_workspace_says_what_to_do_and_a_demo_does_not_launch(home, monkeypatch):
    assert "Measure a pair" in said(visit())
    monkeypatch.setenv("PFD_MODE", "demo")
    assert "Nothing is published here yet" in said(visit())


def test_a_selected_students_wall_leads_to_its_comparison(home):
    run = finished_sweep(home, "scaling")
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
    app.switch_page(SCALING)
    app.query_params["student"] = "mlp-32 N=16 seed 0"
    app.run()
    links = [link.proto for link in app.get("page_link")]
    [link] = [link for link in links if link.label == "Compare it with others"]
    assert run.id in link.query_string
    assert "Select a point to see its images below." in said(app)


def test_the_shipped_pair_is_what_a_first_visit_shows(monkeypatch):
    from pfd_engine.workspace import PUBLISHED_DATABASE

    monkeypatch.setattr("pages.reads.store.PUBLISHED_DATABASE", PUBLISHED_DATABASE)
    drawn = html(visit())
    assert "digits-student-memorizes</th>" in drawn
    assert "digits-student-generalizes</th>" in drawn
