"""The compare wall and the exports in a real Chromium, with the shipped results and no write: what a visitor of the demo downloads."""

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.browser import serve
from tests.browser_visits import Visitor, assert_sound

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(environment={"PFD_HOME": str(tmp_path_factory.mktemp("home")), "PFD_MODE": "demo"}) as address:
        yield address


def downloaded(page, name):
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name=name, exact=True).first.click()
    return Path(download.value.path()).read_bytes()


def test_a_wall_is_chosen_by_its_link_and_downloaded_with_its_caption(browser, server):
    with Visitor(browser) as visitor:
        page = visitor.open(f"{server}/compare?find=digits-student&sort=memorization&size=64")
        walls = page.locator("table.compare")
        walls.first.wait_for()
        assert walls.count() == 1  # the shipped pair kept the same first noises
        assert page.locator("table.compare img").first.evaluate("image => [image.naturalWidth, image.clientWidth]") == [8, 64]
        picture = Image.open(io.BytesIO(downloaded(page, "Download this wall as PNG")))
        assert "digits-student" in picture.text["Description"]
        assert "memorization, most first" in picture.text["Description"]
        assert picture.width > 640
        assert_sound(page)


def test_a_plot_is_downloaded_as_a_page_without_network_and_as_a_pdf(browser, server, tmp_path):
    with Visitor(browser) as visitor:
        page = visitor.open(f"{server}/scaling")
        page.get_by_role("button", name="Other formats").click()
        figure = downloaded(page, "Download scaling.html")
        (tmp_path / "figure.html").write_bytes(figure)
        page.get_by_role("combobox", name="Format").click()
        page.get_by_role("option", name="Figure: PDF").click()
        page.get_by_role("button", name="Draw the PDF").click()
        assert downloaded(page, "Download scaling-column.pdf").startswith(b"%PDF")
        assert_sound(page)
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.goto((tmp_path / "figure.html").as_uri())
        page.wait_for_selector(".main-svg")
        assert page.locator(".scatterlayer .trace").count() > 2
    finally:
        context.close()
