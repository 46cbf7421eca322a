"""Choices that live in the page's address: what a link asks for is checked against what there is, and a bad value is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from pages.common import words


class Choices:
    """The choices of one page; `notes()` draws what a link asked for in vain."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._notes: list[str] = []

    def key(self, name: str) -> str:
        """Return the session key of a choice."""
        return f"{self._page}-{name}"

    def pick(
        self, name: str, label: str, options: Mapping[str, str], default: str | None, draw: Callable[..., Any] = st.selectbox, **more: Any
    ) -> str | None:
        """Draw a choice among `options` (value to label) and return its value; `default` None starts without one."""
        key = self.key(name)
        if key not in st.session_state:
            asked = st.query_params.get(name)
            if asked is not None and asked not in options:
                shown = "nothing" if default is None else options[default]
                self._notes.append(f"The link asks for {name} {asked[:40]!r}, which does not exist here: {shown} is shown.")
            st.session_state[key] = asked if asked in options else default
        elif st.session_state[key] not in options:
            st.session_state[key] = default
        value = draw(label, list(options), key=key, format_func=lambda option: options.get(option, str(option)), **more)
        self._write(name, value, default)
        return None if value is None else str(value)

    def slide(self, name: str, label: str, low: float, high: float, step: float, default: float, **more: Any) -> float:
        """Draw a slider and return its value; `default` is brought into the range and onto the steps."""
        default = _on_grid(default, low, high, step)
        key = self.key(name)
        if key not in st.session_state:
            asked, value = st.query_params.get(name), default
            if asked is not None:
                try:
                    value = float(asked)
                except ValueError:
                    value = math.nan
                if not low <= value <= high:
                    self._notes.append(
                        f"The link asks for {name} = {asked[:40]!r}, which is no number from {low:g} to {high:g}: {default:g} is shown."
                    )
                    value = default
            st.session_state[key] = _on_grid(value, low, high, step)
        chosen = float(st.slider(label, low, high, step=step, key=key, **more))
        self._write(name, f"{chosen:g}", f"{default:g}")
        return chosen

    def notes(self) -> None:
        """Say what a link asked for and could not have."""
        for note in self._notes:
            st.warning(words.markdown(note))

    def _write(self, name: str, value: str | None, default: str | None) -> None:
        """Keep the address equal to what is shown; a default needs no word there."""
        if value is None or value == default:
            if name in st.query_params:
                del st.query_params[name]
        elif st.query_params.get(name) != value:
            st.query_params[name] = value


def _on_grid(value: float, low: float, high: float, step: float) -> float:
    return min(high, max(low, round(round(value / step) * step, 10)))
