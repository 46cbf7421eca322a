"""Every page for everybody: an audit by axe-core, a phone's width, light and dark, on a machine of one's own and in the demo."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from benchmarks.browser import serve
from pfd_engine.models.bundled import bundled_references
from pfd_engine.store.database import Store
from pfd_engine.workspace import PUBLISHED_DATABASE
from tests.browser_visits import PAGES, Visitor, assert_sound

pytestmark = pytest.mark.browser
ALL_DRAWN = """() => !document.querySelector('[data-testid=stSkeleton]') && [...document.querySelectorAll('[data-testid=stPlotlyChart]')]
    .every(plot => plot.querySelector('.main-svg'))"""


def addresses():
    """Every page, and those that show more when they are asked for something."""
    with Store(None, PUBLISHED_DATABASE) as store:
        evaluation, distillation = (
            store.rows("select run_id from runs where kind = ? order by run_id limit 1", [kind])[0]["run_id"]
            for kind in ("evaluate", "distill")
        )
    teacher, student = bundled_references().teacher, bundled_references().student_memorizes
    return [
        *PAGES.values(),
        f"result?run={evaluation}",
        f"result?run={distillation}",
        "result?run=nothing",
        "scaling?axis=rescaled",
        "explore?group=size&group=num_samples&metric=E_gen",
        f"checkpoints?reference={teacher}",
        f"evaluate?teacher={teacher}&student={student}",
        f"distill?teacher={teacher}&objective=consistency&size=unet-192&flips=true",
        f"sweep?teacher={teacher}",
    ]


def serious(page):
    """What axe-core finds serious or critical, by rule, with the first place of each."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return {v["id"]: (v["help"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")}


@pytest.mark.parametrize(
    ("mode", "width", "scheme"), [("local", 1440, "light"), ("local", 390, "dark"), ("demo", 390, "light"), ("demo", 1440, "dark")]
)
def test_no_page_has_a_serious_finding_or_scrolls_sideways(browser, tmp_path, mode, width, scheme):
    with serve(environment={"PFD_HOME": str(tmp_path / "home"), "PFD_MODE": mode}) as server, Visitor(browser, width, scheme) as visitor:
        findings, wide = {}, {}
        for path in addresses():
            page = visitor.open(f"{server}/{path}")
            page.wait_for_function(ALL_DRAWN)
            assert_sound(page)
            if found := serious(page):
                findings[path] = found
            widths = page.evaluate("[document.documentElement.scrollWidth, document.querySelector('[data-testid=stMain]').scrollWidth]")
            if max(widths) > width:
                wide[path] = widths
        assert findings == {}
        assert wide == {}
