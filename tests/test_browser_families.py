"""Every model family from the form to a wall of pairs, in a real Chromium, with a Hub on loopback."""

import re
from contextlib import ExitStack

import pytest

from benchmarks.browser import serve
from tests.browser_visits import Visitor, assert_sound, images, stop_workers, wait_for_result
from tests.hub_server import FAMILIES, FEW_STEP

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub_app(hub, tmp_path_factory):
    """A server that reads the Hub on loopback."""
    root = tmp_path_factory.mktemp("hub-app")
    environment = {"PFD_HOME": str(root / "home"), "HF_HOME": str(root / "hub"), "HF_ENDPOINT": hub.endpoint}
    with ExitStack() as stack:
        stack.callback(stop_workers, root / "home")
        yield stack.enter_context(serve(environment=environment)), hub


@pytest.mark.hub
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_from_the_form_to_a_wall_of_pairs(browser, hub_app, family):
    address, hub = hub_app
    with Visitor(browser) as visitor:
        query = f"teacher={hub.reference('own')}&student={hub.reference(family)}&num_noises=24&steps=6"
        page = visitor.open(f"{address}/evaluate?{query}")
        page.wait_for_selector("text=Together")
        page.get_by_role("button", name="Launch").click()
        page.wait_for_url("**/result?run=*")
        wait_for_result(page)
        assert_sound(page)
        drawn = images(page)
        assert len(drawn) >= 2 * 24
        assert all(complete for complete, _ in drawn)
        provenance = page.locator("dl.facts").inner_text()
        assert hub.reference(family) in provenance
        assert re.search(r"Student revision\s+[0-9a-f]{40}", provenance)
        if family in FEW_STEP:
            assert "of its own" in provenance
