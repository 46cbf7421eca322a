"""What the tests in a real Chromium share: the browser, a visitor who notices what goes wrong, and what pages are made of."""

import re
from pathlib import Path

import psutil

from benchmarks.browser import DRAWN

PAGES = {
    "Home": "",
    "Result": "result",
    "Explore": "explore",
    "SQL": "sql",
    "Compare": "compare",
    "Shared results": "shared",
    "Scaling": "scaling",
    "Training dynamics": "dynamics",
    "Bias-variance": "bias_variance",
    "Trade-offs": "trade_offs",
    "Evaluate": "evaluate",
    "Distill": "distill",
    "Sweep": "sweep",
    "Runs": "runs",
    "Checkpoints": "checkpoints",
    "Methods": "methods",
}
RUN_SECONDS = 120
# Streamlit looks for itself below each page's path first; that is its own noise.
PROBES = re.compile(r"/_stcore/(health|host-config)$")


def stop_workers(home: Path) -> None:
    """End the worker that the app of this workspace started, and no other."""
    for process in psutil.process_iter():
        try:
            if "worker" in process.cmdline() and process.environ().get("PFD_HOME") == str(home):
                process.terminate()
                process.wait(20)
        except psutil.Error:
            continue


class Visitor:
    """A browser tab that collects what goes wrong while it is used."""

    def __init__(self, browser, width=1440, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.problems = []
        self.page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        self.page.on("console", self._console)
        self.page.on("response", lambda r: r.status >= 400 and not PROBES.search(r.url) and self.problems.append(f"{r.status} {r.url}"))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type == "error" and not (PROBES.search(message.location.get("url", "")) and "404" in message.text):
            self.problems.append(f"console: {message.text}")

    def _request(self, request):
        if not re.match(r"(http|ws)://127\.0\.0\.1[:/]|data:|blob:", request.url):
            self.problems.append(f"fetched from elsewhere: {request.url}")

    def open(self, url):
        self.page.goto(url)
        self.page.wait_for_selector("h1")
        self.settle()
        return self.page

    def settle(self):
        self.page.wait_for_selector(f"{DRAWN}:not(:has([data-testid=stSkeleton]))", state="attached")  # its components are loaded, too
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.context.close()
        if error is None:
            assert self.problems == []


def assert_sound(page):
    text = page.inner_text("[data-testid=stApp]")
    assert "Traceback" not in text
    assert "could not be drawn" not in text
    assert page.locator("[data-testid=stException]").count() == 0


def wait_for_result(page, plots=2):
    page.wait_for_selector("text=Where this comes from", timeout=RUN_SECONDS * 1000)
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot:has(.main-svg)').length === {plots}")


def images(page):
    return page.evaluate("[...document.querySelectorAll('.wall-cell img')].map(i => [i.complete && i.naturalWidth > 0, i.src])")


def numbers(page):
    return page.locator("dl.numbers").inner_text()
