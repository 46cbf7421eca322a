"""Each page as the first address of a fresh server, on a machine of one's own and in the demo, in a real Chromium."""

import pytest

from benchmarks.browser import serve
from tests.browser_visits import PAGES, Visitor, assert_sound

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("mode", ["local", "demo"])
@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_sound_as_the_first_url_of_a_fresh_server(browser, tmp_path, name, mode):
    log = tmp_path / "server.log"
    with serve(environment={"PFD_HOME": str(tmp_path / "home"), "PFD_MODE": mode}, log=log) as address, Visitor(browser) as visitor:
        page = visitor.open(f"{address}/{PAGES[name]}")
        assert_sound(page)
        sidebar = page.get_by_test_id("stSidebar").inner_text()
        assert all(label in sidebar for label in PAGES)
        assert page.title().endswith("Probability flow distance")
        assert page.locator("[data-testid=stSidebarNav]").count() == 0
        if mode == "demo":
            assert page.get_by_role("button", name="Launch").count() == 0
    assert "Traceback" not in log.read_text()
    assert mode == "local" or not (tmp_path / "home").exists()
