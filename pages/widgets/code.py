"""Code to copy that is drawn once it is opened: what a browser loads to draw code takes longer than most pages."""

from __future__ import annotations

import streamlit as st

from pages.frame.page import live


@live(None)
def code(label: str, text: str, language: str, key: str) -> None:
    """Draw a folded text that can be copied."""
    box = st.expander(label, key=key, on_change="rerun")
    if box.open:
        box.code(text, language=language, wrap_lines=True)
