"""What pages have made of data that does not change (figures, their frames), kept for the next visitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

Made = TypeVar("Made")
KEPT = 48


def kept(make: Callable[[], Made], *key: str | float | None) -> Made:
    """Return what `make` returned for this key before, or call it; the key names everything that it depends on.

    What is returned belongs to all visitors: draw it, and change it never.
    """
    made: Made = _kept(make, key)
    return made


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _kept(_make: Callable[[], Any], key: tuple[str | float | None, ...]) -> Any:
    return _make()
