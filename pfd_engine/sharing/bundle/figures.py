"""One standalone HTML page with the figures of the sweeps in a bundle: it needs no server, no network and no browser to be written."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pfd_engine.site.finding_pages import DRAW, NAMES, chosen_sweeps
from pfd_engine.store.database import Store

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Figures</title>
<style>body {{ font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328; background: #fff }}
h2 {{ margin-top: 2.5rem }} figure {{ margin: 1rem 0 }}</style></head>
<body><h1>Figures</h1>
{body}
</body></html>
"""


def figures_page(store: Store, run_ids: Sequence[str]) -> str | None:
    """Return the page as HTML, with the program that draws inside it (4.8 MB); None where no run is a sweep that has a figure."""
    parts, scripted = [], False
    for experiment, draw in DRAW.items():
        for sweep in chosen_sweeps(store, experiment, list(run_ids)):
            drawn = [block for block in draw(store, sweep) if block.kind == "figure"]
            if drawn:
                parts.append(f"<h2>{NAMES[experiment]}: {escape(sweep.name)}</h2><p>{escape(sweep.sentence)}</p>")
            for block in drawn:
                html = block.figure.to_html(full_html=False, include_plotlyjs=not scripted, config={"displaylogo": False})
                parts.append(
                    f"<figure>{html}<figcaption>{escape(block.alt.removesuffix(sweep.sentence).rstrip(' .'))}</figcaption></figure>"
                )
                scripted = True
    return _PAGE.format(body="\n".join(parts)) if parts else None
