"""Sharing in a real Chromium: a copied link shows the same numbers to somebody else, a file holds what is plotted, and ways lead back."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.browser import serve
from tests.browser_visits import Visitor, assert_sound

pytestmark = pytest.mark.browser
CSV = "Download what is plotted (CSV)"
POINTS = """() => document.querySelector('.js-plotly-plot')._fullData.filter(line => line.customdata && line.customdata[0].length > 2)
    .flatMap(line => [...line.y].map((y, i) => [line.customdata[i][0], Number(line.customdata[i][1]), y]))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server over the shipped results and an empty workspace."""
    with serve(environment={"PFD_HOME": str(tmp_path_factory.mktemp("sharing") / "home"), "PFD_MODE": ""}) as served:
        yield served


def downloaded(page, label):
    with page.expect_download() as download:
        page.get_by_role("button", name=label).first.click()
    return Path(download.value.path()).read_bytes()


def copied_link(visitor):
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.page.get_by_role("button", name="Copy link").click()
    visitor.page.get_by_text("Link copied").wait_for()
    return visitor.page.evaluate("navigator.clipboard.readText()")


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.keyboard.type(option)
    page.get_by_role("option").filter(has_text=option).first.wait_for()
    page.keyboard.press("Enter")


def plotted(page):
    page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg')")
    return page.evaluate(POINTS)


def click_a_point(page):
    """Click the middle of some point of the first plot that no other point covers."""
    page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg')")
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    box = page.locator(".js-plotly-plot .scatterlayer .trace .points path").last.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(300)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@pytest.mark.parametrize("where", ["scaling", "explore"])
def test_a_copied_link_shows_somebody_else_the_same_numbers_to_the_byte(browser, address, where):
    with Visitor(browser) as sender:
        page = sender.open(f"{address}/{where}")
        if where == "scaling":
            page.get_by_text("N / parameters").first.click()
            page.wait_for_url("**axis=rescaled**")
            choose(page, "Size", "mlp-128")
        else:
            choose(page, "Band around a mean", "5 % to 95 % quantile")
            page.wait_for_url("**spread=quantiles**")
            sender.settle()
            choose(page, "Horizontal axis", "Parameters")
        page.wait_for_url(re.compile("size=mlp-128|x=parameters"))
        sender.settle()
        sent, link = downloaded(page, CSV), copied_link(sender)
    assert "v=2" in link
    with Visitor(browser, width=390, scheme="dark") as reader:
        page = reader.open(link)
        assert downloaded(page, CSV) == sent
        assert_sound(page)
    assert sent.count(b"\n") >= 8


def test_the_csv_holds_what_is_plotted(browser, address):
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/scaling")
        drawn = {(size, n, round(y, 9)) for size, n, y in plotted(page)}
        frame = pd.read_csv(io.BytesIO(downloaded(page, CSV)))
    curves = frame[frame["metric"] != "N*"]
    assert len(curves) == 7 * 9 * 2
    assert drawn == {(row.size_, row.num_samples, round(row.value, 9)) for row in curves.rename(columns={"size": "size_"}).itertuples()}


def test_from_a_filter_to_a_plot_a_run_its_wall_and_back(browser, address):
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/explore?metric=E_gen&experiment=scaling&size=mlp-64")
        click_a_point(page)
        page.wait_for_selector("text=Behind the selected point")
        visitor.settle()
        filtered = page.url
        assert "behind=point" in filtered
        choose(page, "Students to look at and to compare", "seed 2")
        page.keyboard.press("Escape")
        page.wait_for_selector(".wall-cell img")
        assert_sound(page)
        chosen = page.url
        page.get_by_text("Compare it with others").first.click()
        page.wait_for_url("**/compare?*")
        page.wait_for_selector("h1:has-text('Compare')")
        visitor.settle()
        assert page.locator("[data-testid=stMain] img").count() > 3
        page.go_back()
        page.wait_for_url("**/explore?*")
        page.wait_for_selector(".wall-cell img")
        assert set(chosen.partition("?")[2].split("&")) == set(page.url.partition("?")[2].split("&"))
        assert_sound(page)


def test_rows_are_ticked_by_hand_and_by_keyboard_and_their_link_ticks_them_again(browser, address):
    def students(page):
        return [tick.get_attribute("value") for tick in page.locator(".ticked input:checked").all()]

    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/explore?metric=E_gen&experiment=scaling&size=mlp-64")
        ticks = page.locator(".ticked input")
        ticks.nth(1).check()
        page.wait_for_url("**item=*")
        page.wait_for_selector(".wall-cell img")
        visitor.settle()
        ticks.nth(3).focus()
        page.keyboard.press("Space")
        page.wait_for_selector("text=Compare the 2 students")
        visitor.settle()
        chosen, link = students(page), page.url
        assert len(chosen) == 2
        assert page.evaluate("document.activeElement.value") == chosen[1]  # where the keyboard was, it stays
        ticks.nth(1).uncheck()
        page.wait_for_selector("text=Compare the 2 students", state="detached")
        assert students(page) == chosen[1:]
        page.goto(link)
        page.wait_for_selector("text=Compare the 2 students")
        assert students(page) == chosen
        page.evaluate("[4, 5, 6].map(row => document.querySelectorAll('.ticked input')[row].click())")  # faster than any answer
        page.wait_for_selector("text=Compare the 5 students")
        visitor.settle()
        assert len(students(page)) == 5
        assert page.url.count("item=") == 5
        page.goto(f"{address}/explore?group=size")
        ticks.nth(2).check()
        page.wait_for_selector("text=Behind the selected group")
        ticks.nth(4).check()
        page.wait_for_url("**behind=group%7Cmlp-128*")
        page.wait_for_function("document.querySelectorAll('.ticked input:checked').length === 1")
        assert_sound(page)


def test_the_box_of_filters_stays_open_while_its_last_filter_changes(browser, address):
    with Visitor(browser) as visitor:
        page = visitor.open(f"{address}/explore")
        page.get_by_text("Filters", exact=True).click()
        field = page.get_by_label("Student's name contains")
        for text, label in (("N=64", "Filters (1 in use)"), ("", "Filters"), ("N=16 seed 1", "Filters (1 in use)")):
            field.fill(text)
            field.press("Enter")
            page.get_by_text(label, exact=True).wait_for()
            visitor.settle()
            assert field.input_value() == text
        assert "student=N%3D16" in page.url
        assert_sound(page)


def test_two_tabs_of_one_browser_keep_their_own_choices(browser, address):
    with Visitor(browser) as visitor:
        first = visitor.open(f"{address}/scaling?size=mlp-64")
        second = visitor.context.new_page()
        second.goto(f"{address}/scaling?size=mlp-256")
        second.wait_for_selector("[data-testid=stPlotlyChart] .main-svg")
        visitor.page.bring_to_front()
        first.get_by_text("N / parameters").first.click()
        first.wait_for_url("**axis=rescaled**")
        for page, size, other in ((first, "mlp-64", "mlp-256"), (second, "mlp-256", "mlp-64")):
            page.reload()
            page.wait_for_selector("h1")
            names = {name for name, _, _ in plotted(page)}
            assert names == {size}, other
        assert "axis" not in second.url
