"""The dashboard in a real Chromium: the main path from an empty workspace to a shared link, each page first, phones, bad input."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from benchmarks.browser import serve
from pfd_engine.models.bundled import bundled_references
from pfd_engine.workspace import Workspace
from tests.browser_visits import RUN_SECONDS, Visitor, assert_sound, images, numbers, stop_workers, wait_for_result

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A server over an empty workspace, shared by the tests of this module in their order; its address, workspace and log."""
    root = tmp_path_factory.mktemp("app")
    environment = {"PFD_HOME": str(root / "home"), "HF_HOME": str(root / "hub"), "PFD_MODE": ""}
    with serve(environment=environment, log=root / "server.log") as address:
        yield address, Workspace(root / "home"), root / "server.log"
    stop_workers(root / "home")


def test_main_path_from_an_empty_workspace_to_a_shared_link(browser, app):
    address, workspace, log = app
    references = bundled_references()
    with Visitor(browser) as visitor:
        page = visitor.open(address)
        assert "· published" in page.inner_text("[data-testid=stMain]")  # what the repository ships, before anything is measured here

        page.get_by_test_id("stSidebar").get_by_text("Checkpoints").click()
        page.wait_for_url("**/checkpoints")
        page.get_by_label("Reference", exact=True).fill(references.student_memorizes)
        page.get_by_label("Reference", exact=True).press("Enter")
        page.wait_for_selector("text=This model can be measured")
        assert "438 k" in page.inner_text("dl.facts")
        page.get_by_role("button", name="Use as student").click()

        page.wait_for_url("**/evaluate?*")
        page.wait_for_selector("h1:has-text('Evaluate')")
        expect(page.get_by_label("Student", exact=True)).to_have_value(references.student_memorizes)
        page.get_by_label("Teacher", exact=True).fill(references.teacher)
        page.get_by_label("Teacher", exact=True).press("Enter")
        page.wait_for_selector("text=35 network calls per noise")
        page.get_by_label("Noises", exact=True).fill("2048")
        page.get_by_label("Noises", exact=True).press("Enter")
        page.wait_for_selector("code:has-text('--noises 2048')")
        assert not workspace.runs.exists()
        page.get_by_role("button", name="Launch").click()

        page.wait_for_url("**/result?run=*")
        page.wait_for_selector("[data-testid=stProgress]")
        wait_for_result(page)
        assert_sound(page)
        assert page.inner_text("p.verdict").startswith("The student memorizes: it is closer to the map of its 64 training samples")
        walls = images(page)
        assert len(walls) == 3 * 24
        assert all(drawn for drawn, _ in walls)
        shown, link = numbers(page), page.url

        page.reload()
        wait_for_result(page)
        assert numbers(page) == shown
    with Visitor(browser, width=390, scheme="dark") as stranger:
        page = stranger.open(link)
        wait_for_result(page)
        assert numbers(page) == shown
        assert images(page) == walls
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the per-noise distances").click()
        assert Path(download.value.path()).read_text().count("\n") == 2049
    assert "Traceback" not in log.read_text()


def test_runs_and_home_list_what_was_measured(browser, app):
    address, _, _ = app
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/runs")
        page.wait_for_selector("text=finished")
        page.get_by_text("Command and log").first.click()
        page.wait_for_selector("code:has-text('python -m pfd_engine evaluate')")
        page.get_by_text("Open the result").first.click()
        page.wait_for_url("**/result?run=*")
        wait_for_result(page)
        page.get_by_test_id("stSidebar").get_by_text("Home").click()
        page.wait_for_selector("text=Latest results")
        page.wait_for_selector(".wall-cell img")
        assert_sound(page)


def test_the_address_is_that_of_the_result_that_is_shown(browser, app):
    address, _, _ = app
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/result")
        page.get_by_text("Open the result").first.click()
        page.wait_for_url("**/result?run=*")
        wait_for_result(page)
        shown = numbers(page)
        page.reload()
        wait_for_result(page)
        assert numbers(page) == shown
        page.get_by_test_id("stSidebar").get_by_text("Result", exact=True).click()
        page.wait_for_selector("text=Which result would you like to see?")
        page.wait_for_function("location.search === ''")


def test_a_problem_in_an_advanced_field_is_seen_and_does_not_fold_away(browser, app):
    address, _, _ = app
    references = bundled_references()
    with Visitor(browser) as visitor:
        page = visitor.open(
            f"{address}/evaluate?teacher={references.teacher}&student={references.student_memorizes}&sigma_max=500&num_noises=1e400"
        )
        box = page.get_by_label("Largest sigma", exact=True)
        box.wait_for()
        page.locator(".field-error", has_text="sigma_max is 500").nth(1).wait_for()
        assert page.get_by_text("The link asked for noises 1e400").is_visible()
        box.fill("")
        box.press("Enter")
        page.wait_for_selector(".field-error", state="detached")
        assert box.is_visible()
        assert_sound(page)


def test_a_run_that_cannot_start_says_why_and_leads_back_to_the_form(browser, app, tmp_path):
    address, _, _ = app
    references = bundled_references()
    query = f"teacher={references.teacher}&student={references.student_memorizes}&training_set={tmp_path}/nothing-here"
    (tmp_path / "nothing-here").mkdir()
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/evaluate?{query}")
        page.get_by_role("button", name="Launch").click()
        page.wait_for_url("**/result?run=*")
        page.wait_for_selector("[role=alert]", timeout=RUN_SECONDS * 1000)
        assert "nothing-here" in page.inner_text("[role=alert]")
        assert_sound(page)
        page.get_by_text("Change it and try again").click()
        page.wait_for_url("**/evaluate?*")
        page.wait_for_selector("h1:has-text('Evaluate')")
        expect(page.get_by_label("Training set of the student", exact=True)).to_have_value(re.compile("nothing-here$"))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [("Noises", "0", "number of noises is 0"), ("Noises", "1000000000", "number of noises is"), ("Student", "nobody", "is no reference")],
)
def test_bad_input_is_explained_just_below_its_field(browser, app, field, value, sentence):
    address, workspace, _ = app
    before = sorted(workspace.runs.iterdir())
    references = bundled_references()
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/evaluate?teacher={references.teacher}&student={references.student_memorizes}")
        box = page.get_by_label(field, exact=True)
        box.fill(value)
        box.press("Enter")
        alert = page.locator("[role=alert]", has_text=sentence)
        alert.wait_for()
        page.get_by_role("button", name="Launch").click()
        visitor.settle()
        above, below = box.bounding_box(), alert.bounding_box()
        assert 0 <= below["y"] - (above["y"] + above["height"]) < 30
        assert abs(below["x"] - above["x"]) < 30
        assert_sound(page)
        assert page.url.startswith(f"{address}/evaluate")
    assert sorted(workspace.runs.iterdir()) == before


def test_a_student_is_distilled_from_the_form_to_its_wall_and_measured_again(browser, app):
    address, _, log = app
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/distill?distill_batch_size=16&num_noises=32&solver_steps=4")
        page.get_by_role("button", name="their teacher").click()
        expect(page.get_by_label("Teacher", exact=True)).to_have_value(bundled_references().teacher)
        page.wait_for_selector("tr[aria-current]:has-text('121 k')")
        visitor.settle()
        page.get_by_label("Training steps", exact=True).fill("30")
        page.get_by_label("Training steps", exact=True).press("Enter")
        page.wait_for_selector("code:has-text('--steps 30')")
        page.get_by_label("Training samples N", exact=True).fill("24")
        page.get_by_label("Training samples N", exact=True).press("Enter")
        page.wait_for_selector("code:has-text('--num-samples 24 --steps 30')")
        assert "168 teacher calls" in page.inner_text("dl.facts")
        visitor.settle()
        page.get_by_role("button", name="Launch").click()
        page.wait_for_url("**/result?run=distill*")
        wait_for_result(page, plots=3)
        assert_sound(page)
        walls = images(page)
        assert len(walls) >= 2 * 24
        assert all(drawn for drawn, _ in walls)
        assert "24 of the teacher's samples" in page.inner_text("[data-testid=stMain]")
        page.get_by_text("Evaluate it again").click()
        page.wait_for_url("**/evaluate?teacher=*")
        page.wait_for_selector("text=35 network calls per noise")
        page.wait_for_function("[...document.querySelectorAll('input')].some(field => field.value.endsWith('/student'))")
        assert_sound(page)
    assert "Traceback" not in log.read_text()
