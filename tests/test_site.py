"""The static snapshot: complete, the same twice, safe from what results are called, and alive in a browser without a network."""

import csv
import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest
from jinja2 import Environment

from pfd_engine.cli.main import main
from pfd_engine.errors import RunError
from pfd_engine.site.blocks import Figure, Prose
from pfd_engine.site.export import _portable, export_site
from pfd_engine.store.database import read_results
from pfd_engine.store.queries.sweeps import FINDING_RULE
from pfd_engine.workspace import Workspace
from tests.finding_samples import EVENTS, finished_sweep
from tests.judged_samples import judged_run, twin_run
from tests.run_samples import a_config, finished_run

PAGES = ["index.html", "scaling.html", "dynamics.html", "bias-variance.html", "trade-offs.html", "results.html", "methods.html"]

ALL_DRAWN = """() => [...document.querySelectorAll('.canvas')].every(canvas =>
    canvas.querySelector('.main-svg') && canvas.querySelector('.scatterlayer .trace path, .barlayer .trace path'))"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A workspace with a sweep of each experiment and an evaluation whose student has script in its name; and its runs' ids."""
    workspace = Workspace(tmp_path_factory.mktemp("measured"))
    runs = {experiment: finished_sweep(workspace, experiment).id for experiment in EVENTS}
    return workspace, runs | {"evaluation": finished_run(workspace, a_config()).id}


@pytest.fixture(scope="module")
def site(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "site"
    with read_results(measured[0], None) as store:
        assert export_site(store, folder) == PAGES
    return folder


class Links(HTMLParser):
    """Every address that a page names, and its headings."""

    def __init__(self, text):
        super().__init__()
        self.links, self.headings, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(values)


def test_every_page_is_there_and_links_lead_to_files_of_the_snapshot(site):
    for name in PAGES:
        found = Links((site / name).read_text())
        for link in found.links:
            if link.startswith(("data:", "https://arxiv.org/", "#")):
                continue
            assert not re.match(r"[a-z]+:|/", link), link
            assert (site / link.partition("#")[0]).is_file(), link
        assert found.headings[0] == 1
        assert found.headings.count(1) == 1
        assert all(image.get("alt") for image in found.images)
        assert set(PAGES) <= set(found.links)


def test_findings_are_stated_drawn_tabulated_and_shown_in_images(site, measured):
    home = (site / "index.html").read_text()
    assert home.count('class="verdict"') == 3
    for name, plots in (("scaling.html", 2), ("dynamics.html", 2), ("bias-variance.html", 2), ("results.html", 1), ("trade-offs.html", 2)):
        text = (site / name).read_text()
        assert text.count("data-plot=") >= plots, name
        assert "python -m pfd_engine" in text
    assert "data:image/png;base64," in (site / "scaling.html").read_text()
    assert "data:image/png;base64," in (site / "results.html").read_text()
    assert "N*" in (site / "scaling.html").read_text()
    assert "<math" in (site / "methods.html").read_text()
    assert measured[1]["scaling"] in (site / "scaling.html").read_text()


def test_what_a_figure_plots_is_in_its_csv(site):
    text = (site / "bias-variance.html").read_text()
    name = re.search(r'data-plot="(parts-[^"]+)">(.*?)</script>', text)
    bars = next(trace for trace in json.loads(name[2])["data"] if trace["name"] == "bias²")
    with (site / "data" / f"{name[1]}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["bias2"]) for row in rows] == [point[2] for point in bars["customdata"]]


def test_the_same_results_give_the_same_bytes_and_an_earlier_snapshot_is_replaced(site, measured, tmp_path):
    def contents(folder):
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    shutil.copytree(site, tmp_path / "again")
    (tmp_path / "again" / "stale.html").write_text("old")
    with read_results(measured[0], None) as store:
        export_site(store, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(site)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_named_runs_alone_are_shown(measured, tmp_path):
    workspace, runs = measured
    with read_results(workspace, None) as store:
        export_site(store, tmp_path / "site", [runs["scaling"]])
    assert (tmp_path / "site" / "index.html").read_text().count('class="verdict"') == 1
    assert "Nothing of this kind" in (tmp_path / "site" / "dynamics.html").read_text()
    assert "Nothing of this kind" in (tmp_path / "site" / "results.html").read_text()
    assert "data-plot=" in (tmp_path / "site" / "scaling.html").read_text()


def test_results_have_their_verdict_what_they_are_set_beside_and_what_limits_them(tmp_path):
    workspace = Workspace(tmp_path / "home")
    judged_run(workspace, solver_error=0.03, solver_error_extrapolated=True)
    judged_run(workspace, "./diagnostic", outside_range="teacher", memorization=None)
    twin_run(workspace)
    with read_results(workspace, None) as store:
        export_site(store, tmp_path / "site")
    text = (tmp_path / "site" / "results.html").read_text()
    for part in (
        "<strong>The student generalizes</strong>: it is closer to its teacher",
        "Best constant image", "Shuffled ceiling", "Retrained floor", "PFD contains solver error", "cannot rule out",
        "this is a diagnostic map", "<strong>Retrained teacher</strong>",
    ):  # fmt: skip
        assert part in text, part
    ranked = (tmp_path / "site" / "trade-offs.html").read_text()
    assert "student" in ranked
    assert not {"twin", "diagnostic"} & set(re.findall("twin|diagnostic", ranked))


def test_no_path_of_this_machine_is_written(site, measured):
    for path in site.rglob("*.*"):
        if path.name != "plotly.min.js":
            assert str(measured[0].root).encode() not in path.read_bytes(), path


def test_a_place_is_replaced_however_it_was_escaped():
    place = '/home/o\'hara & "co"/'
    text = Environment(autoescape=True).from_string("{{ place }}runs").render(place=place)
    assert _portable(f"{text}|{json.dumps(place + 'runs')}", {place: "./"}) == b'./runs|"./runs"'


def test_names_with_script_in_them_stay_text(tmp_path):
    workspace = Workspace(tmp_path / "workspace")
    hostile = "</script><script>alert(1)</script>"
    events = ({**event, "student": hostile} if event.get("student") else event for event in EVENTS["scaling"]())
    finished_sweep(workspace, "scaling", events, {"finding": f"{hostile} & <b>", "finding_rule": FINDING_RULE})
    with read_results(workspace, None) as store:
        export_site(store, tmp_path / "site")
    for name in PAGES:
        assert "<script>alert" not in (tmp_path / "site" / name).read_text()
    import pandas as pd
    import plotly.graph_objects as go

    figure = Figure("../../etc/<b>", go.Figure(go.Scatter(x=[1], y=[1], name=hostile)), "", pd.DataFrame())
    assert figure.name == "etc-b"
    assert "<" not in figure.json
    assert str(Prose("**a** <b> \\*c\\* *d* [e](https://f.g) [h](javascript:i)").html) == (
        '<p><strong>a</strong> &lt;b&gt; *c* <em>d</em> <a href="https://f.g">e</a> [h](javascript:i)</p>'
    )


@pytest.mark.parametrize(("make", "sentence"), [("file", "is a file"), ("full", "holds other files"), ("orphan", "there is no folder")])
def test_a_folder_that_cannot_be_used_is_refused_in_one_sentence_and_left_alone(make, sentence, tmp_path, capsys):
    target = tmp_path / "site"
    if make == "file":
        target.write_text("mine")
    if make == "full":
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
    if make == "orphan":
        target = tmp_path / "a" / "b"
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main(["export-site", str(target)]) == 2
    shown = capsys.readouterr().err.strip()
    assert sentence in shown
    assert len(shown.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_unknown_run_is_refused_before_anything_is_written(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PFD_HOME", str(measured[0].root))
    assert main(["export-site", str(tmp_path / "site"), "--run", "<nothing>"]) == 2
    assert "there is no run '<nothing>' here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_earlier_snapshot(site, measured, tmp_path, monkeypatch):
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "mark").write_text("earlier")

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    with read_results(measured[0], None) as store:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="could not be written"):
            export_site(store, tmp_path / "site", [measured[1]["bias-variance"]])
    assert (tmp_path / "site" / "mark").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.browser
def test_it_opens_from_the_disk_without_a_network_and_every_plot_is_drawn(site, browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light", offline=True)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda asked: None if asked.url.startswith(("file://", "data:", "blob:")) else problems.append(asked.url))
    page.on("requestfailed", lambda asked: problems.append(f"failed: {asked.url}"))
    page.goto((site / "index.html").as_uri())
    colors = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    drawn = 0
    for name in PAGES[1:]:
        page.click(f'nav a[href="{name}"]')
        page.wait_for_url(f"**/{name}")
        expected = len(re.findall("data-plot=", (site / name).read_text()))
        page.wait_for_function(ALL_DRAWN)
        assert page.locator(".canvas").count() == expected
        assert page.evaluate(colors) == ["rgb(255, 255, 255)", "rgb(31, 36, 48)"]
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)"), name
        page.set_viewport_size({"width": 390, "height": 900})
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("[...document.querySelectorAll('.main-svg')].every(svg => svg.getBoundingClientRect().right <= 390)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate(colors) == ["rgb(20, 22, 27)", "rgb(231, 233, 238)"]
        if expected:
            page.wait_for_function("getComputedStyle(document.querySelector('.xtick text')).fill === 'rgb(231, 233, 238)'")
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")
        drawn += expected
    assert drawn >= 9
    context.close()
    assert problems == []
