"""A table whose rows can be ticked, in plain HTML: readable, narrow screens and screen readers included, and drawn in no time.

`st.dataframe` makes a browser load 1.2 MB of program first, which is a tenth of the time that a page with a plot takes to appear.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import pandas as pd

BOX = '<div class="ticked" tabindex="0" role="region"></div>'
_draw = st.components.v2.component(
    "ticked_table", html=BOX, js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"), isolate_styles=False
)


def ticked_table(
    table: pd.DataFrame,
    names: Sequence[str],
    ticked: Collection[str],
    key: str,
    on_tick: Callable[[str, bool], None],
    *,
    telling: int,
    full: str = "",
) -> None:
    """Draw a table of texts and numbers, one row a name, those in `ticked` with a tick.

    `on_tick` is called with the name of a row of this table and whether it is ticked now; nothing is ticked but by what the caller makes
    of that. The first `telling` columns tell rows apart; `full` says why no further row can be ticked, where that is so.
    """

    answered = f"{key}-answered"

    def changed() -> None:
        told = st.session_state[key].get("ticked")
        sent, ticks = (told.get("sent"), told.get("ticks")) if isinstance(told, dict) else (None, None)
        for tick in ticks[: len(names)] if isinstance(ticks, list) else []:
            if isinstance(tick, list) and len(tick) == 2 and tick[0] in names:
                on_tick(tick[0], tick[1] is True)
        if isinstance(sent, int):
            st.session_state[answered] = sent

    headings = [str(column) for column in table]
    data = {
        "headings": headings,
        "rows": [[_text(value) for value in row] for row in table.itertuples(index=False)],
        "numbers": [table[column].dtype.kind in "iuf" for column in table],
        "names": list(names),
        "ticked": [name for name in dict.fromkeys(names) if name in ticked],
        "label": f"Table of {', '.join(headings)}",
        "answered": st.session_state.get(answered, 0),
        "telling": telling,
        "full": full,
    }
    _draw(key=key, data=data, on_ticked_change=changed)


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return "–"
    if isinstance(value, float) and value.is_integer():
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, Integral) else str(value)
