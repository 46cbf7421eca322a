"""Choices that live in the page's address: a link shows what its sender saw, and they survive a reload and a visit to another page.

An address with any word of a page is a link: what it does not name has its default. A bare address, as the sidebar's, brings back what
this visitor had chosen there before. A name, once used, is never given another meaning; a new name for an old one goes into `RENAMED`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from pages.widgets import html as words

VERSION = 2
RENAMED: Mapping[str, Mapping[str, str]] = {"trade-offs": {"teacher": "group"}}  # version 1 named the teacher and meant the descriptor too
FOREIGN = ("v", "embed", "embed_options", "utm_", "fbclid", "gclid")  # what others add to a link, and the version
LONGEST = 200

Address = dict[str, list[str]]


@dataclass
class _Record:
    """What the session knows of one page: its address, and what its widgets held, when it was drawn last."""

    visit: int = -1
    address: Address = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)


class Choices:
    """The choices of one page. What a link asks for in vain is told where the object was made, below the page's title."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._known: set[str] = set()
        records = st.session_state.setdefault("choices", {})
        self._record: _Record = records.setdefault(page, _Record())
        self._slot = st.container(gap="xsmall")
        self._version_note()
        self._translate()
        self._arrive()
        _OPEN.set(self)

    def key(self, name: str) -> str:
        """Return the session key of a choice."""
        return f"{self._page}-{name}"

    def pick(
        self,
        name: str,
        label: str,
        options: Mapping[str, str],
        default: str | None,
        draw: Callable[..., Any] = st.selectbox,
        *,
        always: bool = False,
        **more: Any,
    ) -> str | None:
        """Draw a choice among `options` (value to label) and return its value; `default` None starts without one.

        `always` names the value in the address even where it is the default.
        """
        key = self._open(name)
        if key not in st.session_state:
            asked = st.query_params.get(name)
            if asked is not None and asked not in options:
                shown = "nothing" if default is None else options[default]
                self._note(f"The link asks for {name} {asked[:40]!r}, which does not exist here: {shown} is shown.")
            st.session_state[key] = asked if asked in options else default
        elif st.session_state[key] not in options:
            st.session_state[key] = default
        value = draw(label, list(options), key=key, format_func=lambda option: options.get(option, str(option)), **more)
        self._write(name, value, None if always else default)
        return None if value is None else str(value)

    def pick_many(
        self,
        name: str,
        label: str,
        options: Mapping[str, str],
        default: Sequence[str] = (),
        **more: Any,
    ) -> list[str]:
        """Draw a choice of several `options` (value to label) and return the chosen values; the address repeats the name for each.

        `max_selections` is kept to, whatever a link asks for.
        """
        key, most = self._open(name), more.get("max_selections") or len(options)
        if key not in st.session_state:
            asked = list(dict.fromkeys(st.query_params.get_all(name)))
            for missing in [value for value in asked if value and value not in options][:3]:
                self._note(f"The link asks for {name} {missing[:40]!r}, which does not exist here: it is left out.")
            found = [value for value in asked if value in options]
            if len(found) > most:
                self._note(f"The link asks for {len(found)} values of {name}, and {most} are allowed: the first {most} are shown.")
                found = found[:most]
            st.session_state[key] = found if found or "" in asked else list(default)
        else:
            st.session_state[key] = [value for value in st.session_state[key] or [] if value in options][:most]
        drawn = st.multiselect(label, list(options), key=key, format_func=lambda o: options.get(o, str(o)), wrap=True, **more)
        values = [str(value) for value in drawn or []]
        self._write_all(name, values or [""], list(default) or [""])
        return values

    def text(self, name: str, label: str, default: str = "", max_length: int = LONGEST, **more: Any) -> str:
        """Draw a text field and return its text, without white space around it."""
        key = self._open(name)
        if key not in st.session_state:
            asked = st.query_params.get(name, default)
            if len(asked) > max_length:
                self._note(f"The link asks for {name} with {len(asked):,} characters, and {max_length:,} are allowed: it is left out.")
                asked = default
            st.session_state[key] = asked
        value = str(st.text_input(label, key=key, max_chars=max_length, **more) or "").strip()
        self._write(name, value, default)
        return value

    def flag(self, name: str, label: str, default: bool = False, draw: Callable[..., Any] = st.toggle, **more: Any) -> bool:
        """Draw a switch and return whether it is on; the address says `yes` or `no`."""
        key = self._open(name)
        if key not in st.session_state:
            asked = st.query_params.get(name)
            if asked not in (None, "yes", "no"):
                self._note(f"The link asks for {name} = {asked[:40]!r}, which is neither yes nor no.")
            st.session_state[key] = asked == "yes" if asked in ("yes", "no") else default
        value = bool(draw(label, key=key, **more))
        self._write(name, "yes" if value else "no", "yes" if default else "no")
        return value

    def whole(self, name: str, label: str, low: int, high: int, default: int, **more: Any) -> int:
        """Draw a field for a whole number from `low` to `high` and return it."""
        key = self._open(name)
        if key not in st.session_state:
            number = self._asked_number(name, low, high, default)
            st.session_state[key] = round(number)
        else:
            st.session_state[key] = min(high, max(low, int(st.session_state[key])))
        value = int(st.number_input(label, low, high, key=key, step=1, **more))
        self._write(name, str(value), str(default))
        return value

    def slide(self, name: str, label: str, low: float, high: float, step: float, default: float, **more: Any) -> float:
        """Draw a slider and return its value; `default` is brought into the range and onto the steps."""
        default = _on_grid(default, low, high, step)
        key = self._open(name)
        if key not in st.session_state:
            st.session_state[key] = _on_grid(self._asked_number(name, low, high, default), low, high, step)
        chosen = float(st.slider(label, low, high, step=step, key=key, **more))
        self._write(name, f"{chosen:g}", f"{default:g}")
        return chosen

    def span(self, name: str, label: str, values: Sequence[int], **more: Any) -> tuple[int, int]:
        """Draw a slider with two ends over sorted `values`, none where there is one alone; return the ends. The address: `low-high`."""
        key, whole = self._open(name), (values[0], values[-1])
        if len(values) < 2:
            return whole
        if key not in st.session_state:
            asked = st.query_params.get(name)
            low, _, high = (asked or "").partition("-")
            ends = {str(value): value for value in values}
            found = (ends.get(low, whole[0]), ends.get(high, whole[1]))
            if asked is not None and (low not in ends or high not in ends or found[0] > found[1]):
                self._note(f"The link asks for {name} {asked[:40]!r}, which is no range of {whole[0]:,} to {whole[1]:,}: all is shown.")
                found = whole
            st.session_state[key] = found
        elif not (isinstance(held := st.session_state[key], (tuple, list)) and len(held) == 2 and set(held) <= set(values)):
            st.session_state[key] = whole
        low_end, high_end = st.select_slider(label, list(values), key=key, format_func=lambda value: f"{value:,}", **more)
        self._write(name, f"{low_end}-{high_end}", f"{whole[0]}-{whole[1]}")
        return int(low_end), int(high_end)

    def kept(self, name: str, default: str, allowed: Callable[[str], bool]) -> str:
        """Return what the address holds of something that has no widget, `default` where it holds nothing that is allowed."""
        self._known.add(name)
        asked = st.query_params.get(name, default)
        if asked != default and not allowed(asked):
            self._note(f"The link asks for {name} {asked[:40]!r}, which does not exist here.")
            self.keep(name, "")
            return default
        return asked

    def keep(self, name: str, value: str) -> None:
        """Write what has no widget into the address; an empty text takes it out."""
        self._known.add(name)
        self._write(name, value, "")

    def finish(self) -> None:
        """Say which words of the address this page does not know, once the page has drawn all of its choices."""
        unknown = [name for name in st.query_params if name not in self._known and not name.startswith(FOREIGN)]
        if unknown:
            named = ", ".join(repr(name[:40]) for name in unknown[:3]) + (" and others" if len(unknown) > 3 else "")
            self._note(f"This page knows nothing of {named} in the link, which is left out.")
            for name in unknown:
                del st.query_params[name]
            self._record.address = _address()

    def _asked_number(self, name: str, low: float, high: float, default: float) -> float:
        asked = st.query_params.get(name)
        if asked is None:
            return default
        try:
            value = float(asked)
        except ValueError:
            value = math.nan
        if low <= value <= high:
            return value
        self._note(f"The link asks for {name} = {asked[:40]!r}, which is no number from {low:g} to {high:g}: {default:g} is shown.")
        return default

    def _arrive(self) -> None:
        """Bring back what was chosen here before where the address is bare; else let a link, or a step back, win over the widgets.

        A rerun that a widget asked for may bring an address that is a moment old: then the widgets win.
        """
        record, visit, address = self._record, st.session_state.get("visit", 0), _address()
        arrived, record.visit = record.visit != visit, visit
        if arrived and not address and record.address:
            st.query_params.from_dict(record.address)
        elif arrived or (address != record.address and not self._touched()):
            self._forget()
        record.address = _address()

    def _forget(self) -> None:
        for key in self._record.held:
            st.session_state.pop(key, None)
        self._record.held.clear()

    def _touched(self) -> bool:
        return any(st.session_state.get(key, value) != value for key, value in self._record.held.items())

    def _open(self, name: str) -> str:
        self._known.add(name)
        return self.key(name)

    def _note(self, note: str) -> None:
        self._slot.warning(words.markdown(note))

    def _version_note(self) -> None:
        asked = st.query_params.get("v", "")
        if asked.isdecimal() and len(asked) < 10 and int(asked) > VERSION:
            self._note("A newer version of this dashboard made this link: what this one does not know is left out.")

    def _translate(self) -> None:
        for old, new in RENAMED.get(self._page, {}).items():
            if old in st.query_params:
                if new not in st.query_params:
                    st.query_params[new] = st.query_params.get_all(old)
                del st.query_params[old]

    def _write(self, name: str, value: str | None, default: str | None) -> None:
        """Keep the address equal to what is shown; a default needs no word there."""
        self._write_all(name, [] if value is None else [value], [] if default is None else [default])

    def _write_all(self, name: str, values: list[str], default: list[str]) -> None:
        if not values or values == default:
            if name in st.query_params:
                del st.query_params[name]
        elif st.query_params.get_all(name) != values:
            st.query_params[name] = values
        if (key := self.key(name)) in st.session_state:
            self._record.held[key] = st.session_state[key]
        self._record.address = _address()


_OPEN: ContextVar[Choices | None] = ContextVar("choices", default=None)


def finish() -> None:
    """End the choices that the page made in this run, if it made any."""
    if (choices := _OPEN.get()) is not None:
        _OPEN.set(None)
        choices.finish()


def _address() -> Address:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def _on_grid(value: float, low: float, high: float, step: float) -> float:
    return min(high, max(low, round(round(value / step) * step, 10)))
