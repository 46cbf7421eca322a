"""How long the pages take in a real browser, against bare Streamlit pages in the same run: `python benchmarks/pages.py`.

Every load is a first visit (a fresh browser context, nothing cached) to a server that has drawn the page once before. Loads of the
pages and of the bare ones are interleaved in random order; the medians are compared. Targets: at most 1.3 times the bare page.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.browser import REPOSITORY, chromium, serve
from benchmarks.workspaces import measured_workspace

TARGET = 1.3
PLOTS = ("Result", "Scaling", "Dynamics", "Bias-variance", "Trade-offs")
BARE = {
    "app.py": 'import streamlit as st\nst.title("Bare")\nst.write("A page with one line of text.")\n',
    "pages/plot.py": 'import plotly.graph_objects as go\nimport streamlit as st\nst.title("Bare")\n'
    "st.plotly_chart(go.Figure(go.Scatter(x=[1, 2, 3], y=[1, 3, 2])))\n",
}
PLOT = ".js-plotly-plot:has(.main-svg)"


def bare_app(folder: Path) -> None:
    """Write a Streamlit app of one text page and one page with a plot, with the settings of ours."""
    (folder / "pages").mkdir()
    for name, text in BARE.items():
        (folder / name).write_text(text)
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "config.toml").write_bytes((REPOSITORY / ".streamlit" / "config.toml").read_bytes())


def load(browser: Any, url: str, last: str, count: int) -> float:
    """Return the seconds from asking for a page until its title and `count` elements of the selector `last`, its last ones, are drawn."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        start = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_selector("h1", timeout=60_000)
        page.wait_for_function("([last, count]) => document.querySelectorAll(last).length >= count", arg=[last, count], timeout=60_000)
        return time.perf_counter() - start
    finally:
        context.close()


def main() -> int:
    """Measure, print, and return 1 where a page misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        home, bare = Path(name) / "home", Path(name) / "bare"
        bare.mkdir()
        bare_app(bare)
        run_id = measured_workspace(home)
        with serve(bare) as plain, serve(environment={"PFD_HOME": str(home)}) as ours, chromium() as browser:
            main = "[data-testid=stMain]"
            cases = {
                "bare text": (f"{plain}/", f"{main} [data-testid=stMarkdownContainer] p", 1),
                "Home": (f"{ours}/", f"{main} [data-testid=stPageLink]", 9),  # five results, four findings
                "bare one plot": (f"{plain}/plot", PLOT, 1),
                "Result": (f"{ours}/result?run={run_id}", PLOT, 2),
                "Scaling": (f"{ours}/scaling", PLOT, 1),
                "Dynamics": (f"{ours}/dynamics", PLOT, 2),
                "Bias-variance": (f"{ours}/bias_variance", PLOT, 2),
                "Trade-offs": (f"{ours}/trade_offs", PLOT, 1),
                "Evaluate": (f"{ours}/evaluate", f"{main} button[kind=primary]", 1),
                "Runs": (f"{ours}/runs", f"{main} [data-testid=stExpander]", 2),
                "Checkpoints": (f"{ours}/checkpoints", f"{main} [data-testid=stAlert]", 1),
            }
            for case in cases.values():
                load(browser, *case)
            times: dict[str, list[float]] = {case: [] for case in cases}
            for _ in range(repeats):
                for case in random.sample(list(cases), len(cases)):
                    times[case].append(load(browser, *cases[case]))
    medians = {case: median(values) for case, values in times.items()}
    print(f"median of {repeats} interleaved first visits")
    for case, seconds in medians.items():
        against = "bare one plot" if case in PLOTS else "bare text"
        print(f"{case:14} {seconds:6.2f} s   {seconds / medians[against]:5.2f} x {against}")
    held = {"Home": "bare text"} | dict.fromkeys(PLOTS, "bare one plot")
    missed = [case for case, against in held.items() if medians[case] > TARGET * medians[against]]
    print(f"target {TARGET} x: " + (f"missed by {', '.join(missed)}" if missed else "met"))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
