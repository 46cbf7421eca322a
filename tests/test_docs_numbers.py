"""README.md and docs/*.md say what the shipped results say, and no result is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.docs_numbers import __main__ as command
from benchmarks.docs_numbers.markers import MARKED, Problem, documents, rewritten, values_from
from benchmarks.docs_numbers.results import MissingData, Results
from benchmarks.docs_numbers.values import VALUES
from pfd_engine.workspace import PUBLISHED_DATABASE, REPOSITORY

RESULT = re.compile(
    r"[+−-]?\d[\d,.]*\s*\[[^\]]*\d[^\]]*\]"  # a value with its interval
    r"|\[[+−-]?\d[\d,.]*\s*(?:,|to)\s*[+−-]?\d[\d,.]*\]"  # an interval
    r"|\d[\d,.]*\s*%"  # a share
    r"|\bN\s*=\s*\d[\d,]*|\bN\*\s*(?:=|of|is)\s*\d[\d,]*"
    r"|\bp\s*[<=]\s*\d[\d.]*"
    r"|[+−-]?(?<![\w.])\d+\.\d+(?![\w.]*\w)"  # a number with decimals
    r"|\d[\d,.]*\s*(?:[kMG]\s+parameters|students|k-parameter)",
)
# Settings and names that look like results, with the file that they stand in.
ALLOWED = {
    "README.md": ["95 % interval", "95 %\n  interval", "Python 3.11"],
    "docs/double-descent.md": ["95 % confidence", "EMA 0.999"],
}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="module")
def results():
    with Results(PUBLISHED_DATABASE) as results:
        yield results


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_every_marked_text_is_what_the_shipped_results_say(results, path):
    _, problems = rewritten(path, path.read_text(), values_from(results))
    assert [str(problem) for problem in problems] == []


def test_every_value_that_can_be_computed_is_used():
    used = {found["name"] for path in documents() for found in MARKED.finditer(path.read_text()) if found["kind"] == "data"}
    assert used == VALUES.keys()


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_no_result_is_typed_by_hand(path):
    assert typed(path.read_text(), ALLOWED.get(name_of(path), [])) == []


def typed(text, allowed=()):
    """Return what looks like a result in a document, outside of markers, code, addresses and the allowed phrases."""
    for hidden in (MARKED.pattern, r"```.*?```", r"`[^`\n]*`", r"\]\([^)\s]*\)", r"https?://\S+", r"arXiv \d{4}\.\d{5}", r"Apache-2\.0"):
        text = re.sub(hidden, " … ", text, flags=re.DOTALL)
    for phrase in allowed:
        assert phrase in text, f"{phrase!r} stands nowhere any more: take it out of the list"
        text = text.replace(phrase, " … ")
    return [found[0] for found in RESULT.finditer(text)]


@pytest.mark.parametrize(
    "result",
    [
        "a PFD of 3.67 [3.61, 3.74]",
        "between [−0.10, 0.66]",
        "about 228 [219, 236]",
        "85 % of the images",
        "at N = 1,024",
        "E_gen is 4.25.",
        "252 students",
        "from 12 k parameters on",
        "a 36 k-parameter student",
        "clear (p = 0.002)",
        "**0.53**",
    ],
)
def test_a_typed_result_is_found(result):
    assert typed(f"A student lies there: {result}, we think.")
    assert not typed(f"A student lies there: <!-- data: x -->{result}<!-- end -->, we think.")


def test_what_is_no_result_is_not_taken_for_one():
    text = (
        "Heun, 18 steps; `0.53 [0.4, 0.6]` in code; [a link](docs/1.5.md); arXiv 2505.20123; version 3.11.7; 8x8 digits; at 127.0.0.1:8501."
    )
    assert typed(text) == []


def problems_of(text, value=lambda name: "new"):
    return rewritten(Path("page.md"), text, value)


def test_texts_inside_a_line_and_on_lines_of_their_own_are_computed_anew():
    new, problems = problems_of(
        "It is <!-- data: a -->old<!-- end -->.\n\n- list\n  <!-- data: b -->\n  old\n  <!-- end -->\n", lambda name: f"{name}\n{name}"[-3:]
    )
    assert new == "It is <!-- data: a -->a\na<!-- end -->.\n\n- list\n  <!-- data: b -->\n  b\n  b\n  <!-- end -->\n"
    assert [problem.differs for problem in problems] == [True, True]
    assert problems_of(new, lambda name: f"{name}\n{name}"[-3:])[0] == new


def test_what_is_right_already_and_what_is_a_record_stay():
    text = "It is <!-- data: a -->new<!-- end -->; it was <!-- record: withdrawn -->0.75<!-- end -->.\n"
    assert problems_of(text) == (text, [])


def test_missing_data_are_named_and_leave_the_text_as_it_was():
    def value(name):
        raise MissingData("the column spread")

    text = "It is <!-- data: a -->old<!-- end -->.\n"
    assert problems_of(text, value) == (text, [Problem(Path("page.md"), 1, "a", "the results lack the column spread", missing=True)])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("It is <!-- data: unheard-of -->old<!-- end -->.", "no value has this name"),
        ("<!-- data: pair.noises -->old<!-- end --> begins a line.", "cannot begin it"),
        ("- <!-- data: pair.noises -->old<!-- end --> begins an entry.", "cannot begin it"),
        ("It is <!-- data: pair.noises -->old.", "without its partner"),
        ("It is old<!-- end -->.", "without its partner"),
        ("It is <!-- data: pair.noises -->a <!-- data: pair.noises -->b<!-- end -->.", "begins before this one ends"),
    ],
)
def test_wrong_markers_are_told(results, text, says):
    new, problems = problems_of(text, values_from(results))
    assert new == text
    assert says in str(problems[0])


def test_what_the_page_on_double_descent_says_beside_its_numbers_holds(results):
    low, high = bounds(VALUES["dynamics.rare.rise"](results))
    assert low < 0 < high
    constant_image = 4.25
    assert f"-->{constant_image}<!-- end --> from the teacher" in (REPOSITORY / "docs" / "double-descent.md").read_text()
    for name in ("dip", "peak", "peak-16"):
        assert bounds(VALUES[f"dynamics.rare.{name}"](results))[0] > constant_image


def bounds(text):
    """Return both ends of the interval in a text."""
    low, high = re.search(r"\[(.*), (.*)\]", text.replace("−", "-")).groups()
    return float(low), float(high)


def test_results_without_a_sweep_or_an_evaluation_say_what_is_missing(tmp_path):
    from pfd_engine.store.database import Store

    empty = tmp_path / "empty.duckdb"
    with Store(None, None) as store:
        store.snapshot(empty)
    with Results(empty) as results:
        for value in VALUES.values():
            with pytest.raises(
                MissingData, match=r"the sweep '.*': `python -m pfd_engine sweep|an evaluation of digits-.*: `make results`"
            ):
                value(results)


def test_the_command_writes_what_differs_and_checks_without_writing(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("Over <!-- data: pair.noises -->7<!-- end --> noises.\n")
    monkeypatch.setattr(command, "documents", lambda: [page])
    monkeypatch.setattr(command, "REPOSITORY", tmp_path)
    assert command.main(["--check"]) == 1
    assert "page.md, line 1: pair.noises: the results say '1,024', the text '7'" in capsys.readouterr().out
    assert "7" in page.read_text()
    assert command.main([]) == 0
    assert page.read_text() == "Over <!-- data: pair.noises -->1,024<!-- end --> noises.\n"
    assert command.main(["--check"]) == 0
