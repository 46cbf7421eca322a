"""The numbers of README.md and docs/*.md, written from the shipped results: `make numbers`, or `python -m benchmarks.docs_numbers --check`.

In the Markdown, what comes from data stands between invisible markers and is never typed:

- `<!-- data: NAME -->text<!-- end -->` inside a line, for a number or a part of a sentence. It cannot begin a line: Markdown would take the
  whole line for HTML. The same with a line of its own for each marker holds whole sentences, one a line, or a table.
- `<!-- record: WHY -->text<!-- end -->` marks numbers of the past that the results do not carry. They are left as they are.

This stands beside the other programs that make documentation (`benchmarks/screenshots.py`), because neither the dashboard nor its users
need it.
"""
