"""Pictures of every page, wide and narrow, light and dark: `python benchmarks/screenshots.py FOLDER [--demo] [--url URL]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb

from benchmarks.browser import DRAWN, REPOSITORY, chromium, serve
from benchmarks.workspaces import measured_workspace, pull_results_of_others

WIDTHS, SCHEMES = (1440, 390), ("light", "dark")


ALL_DRAWN = """() => !document.querySelector('[data-testid=stSkeleton]') && [...document.querySelectorAll('[data-testid=stPlotlyChart]')]
    .every(plot => plot.querySelector('.main-svg'))"""


def picture(browser: Any, url: str, width: int, scheme: str, path: Path) -> None:
    """Save a picture of the whole page, all its plots drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector(DRAWN, state="attached", timeout=60_000)
        page.wait_for_selector("h1", timeout=60_000)
        page.wait_for_function(ALL_DRAWN, timeout=60_000)
        height = 0
        while height < (now := page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")):
            height = now
            page.set_viewport_size({"width": width, "height": max(900, min(height, 8000))})
            page.wait_for_timeout(800)
            page.wait_for_function(ALL_DRAWN, timeout=60_000)
        page.screenshot(path=path)
    finally:
        context.close()


def shipped_evaluation() -> str:
    """Return the run of an evaluation that the repository ships."""
    with duckdb.connect(REPOSITORY / "results.duckdb", read_only=True) as connection:
        (run_id,) = connection.execute("select max(run_id) from runs where kind = 'evaluate'").fetchone()
    return str(run_id)


def main() -> int:
    """Take the pictures: of a server that runs already, of the demo, or of a server with freshly measured results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="a server that runs already; needs --run")
    parser.add_argument("--demo", action="store_true", help="take the pictures of the demo, which shows what the repository ships")
    parser.add_argument("--run", help="the run that the Result page shows")
    parser.add_argument("--only", nargs="*", default=[], help="names of the pages to take, all where none is given")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        base, run_id = options.url, options.run
        if options.demo:
            run_id = run_id or shipped_evaluation()
            base = stack.enter_context(serve(environment={"PFD_MODE": "demo"}))
        elif base is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            run_id = measured_workspace(home)
            if not options.only or "shared" in options.only:
                pull_results_of_others(home)
            base = stack.enter_context(serve(environment={"PFD_HOME": str(home)}))
        browser = stack.enter_context(chromium())
        teacher, student = "./pfd_engine/assets/digits-teacher", "./pfd_engine/assets/digits-student-memorizes"
        pages = {
            "home": "",
            "scaling": "scaling",
            "scaling-rescaled": "scaling?axis=rescaled",
            "dynamics": "dynamics",
            "bias-variance": "bias_variance",
            "trade-offs": "trade_offs",
            "explore": "explore?group=size&group=num_samples&baseline=mlp-32|16",
            "sql": "sql",
            "evaluate": f"evaluate?teacher={teacher}&student={student}",
            "distill": f"distill?teacher={teacher}&objective=consistency&size=mlp-512&warmup_steps=100",
            "sweep": f"sweep?teacher={teacher}&sweep_sizes=mlp-32&sweep_sizes=mlp-64&sweep_num_samples=16,64,256&sweep_steps=2000",
            "runs": "runs",
            "result": f"result?run={run_id}",
            "compare": "compare",
            "compare-difference": f"compare?item={run_id}&view=difference&gain=2&sort=seed",
            "methods": "methods",
            "checkpoints": f"checkpoints?reference={student}",
            "shared": f"shared?repository=owner%2Fname&runs={run_id}",
        }
        for name, path in pages.items():
            if options.only and name not in options.only:
                continue
            for width in WIDTHS:
                for scheme in SCHEMES:
                    target = options.folder / f"{name}-{width}-{scheme}.png"
                    picture(browser, f"{base}/{path}", width, scheme, target)
                    print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
