"""What all forms are made of: widgets whose values live in the URL, what a link may ask of them, and the values that they hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pfd_engine.configs.base import RunConfig
from pfd_engine.errors import InputError

LARGEST = 2**53 - 1
UNKNOWN = "\0"
Slot = st.delta_generator.DeltaGenerator


Cell = tuple[Callable[..., Slot], str, str, dict[str, Any]]


def draw_rows(rows_by_heading: Mapping[str, Sequence[Sequence[Cell]]]) -> dict[str, Slot]:
    """Draw rows of fields below headings; a cell is how it is drawn, the field, its label and its options."""
    slots: dict[str, Slot] = {}
    for heading, rows in rows_by_heading.items():
        st.markdown(f"**{heading}**")
        for cells in rows:  # row by row, so that a phone, which has one column, shows them in this order
            ticks = any(getattr(cell[0], "__name__", "") == "tick" for cell in cells)
            aligned: Literal["top", "bottom"] = "bottom" if ticks else "top"
            columns = st.columns(len(cells), vertical_alignment=aligned)
            for column, (draw, name, label, options) in zip(columns, cells, strict=True):
                with column:
                    slots[name] = draw(name, label, **options)
    return slots


@dataclass(frozen=True)
class Form:
    """The form of one kind of run, a field of its configuration each.

    `renamed` maps a field to its name in the URL and the session where another form uses its own name for something else; `folded`
    are the fields below Advanced; `references` those that have a field for the revision beside them.
    """

    config: type[RunConfig]
    folded: tuple[str, ...]
    references: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Return the name of a field in the URL and the session."""
        return self.renamed.get(name, name)

    def default(self, name: str) -> Any:
        return self.config.model_fields[name].default

    def value(self, name: str) -> Any:
        """Return what a field holds now, None where it is not drawn."""
        return st.session_state.get(self.key(name))

    def kinds(self, name: str) -> set[Any]:
        """Return the types that the values of a field have, None left out."""
        annotation = self.config.model_fields[name].annotation
        return set(get_args(annotation) or (annotation,)) - {type(None)}

    def is_number(self, name: str) -> bool:
        return self.kinds(name) in ({int}, {float})

    def text(self, name: str, label: str, **options: Any) -> Slot:
        """Draw a text field; returns its container, in which an error can be put below it."""
        return self._draw("text_input", name, label, **options)

    def number(self, name: str, label: str, **options: Any) -> Slot:
        """Draw a number field, empty where the default is None; the configuration checks its limits, and says what is allowed."""
        shape = {"step": 1} if self.kinds(name) == {int} else {"format": "%g"}
        return self._draw("number_input", name, label, **{"value": self.default(name), **shape, **options})

    def choice(self, name: str, label: str, options: Collection[str], **more: Any) -> Slot:
        """Draw a choice, empty where the default is None."""
        listed, default = list(options), self.default(name)
        index = listed.index(default) if default in listed else None if default is None else 0
        return self._draw("selectbox", name, label, listed, **{"index": index, **more})

    def several(self, name: str, label: str, options: Collection[str], **more: Any) -> Slot:
        """Draw a choice of any number of options."""
        return self._draw("multiselect", name, label, list(options), **more)

    def tick(self, name: str, label: str, **options: Any) -> Slot:
        """Draw a box to tick."""
        return self._draw("checkbox", name, label, **options)

    def _draw(self, widget: str, name: str, *arguments: Any, **options: Any) -> Slot:
        slot = st.container(gap="xsmall")
        getattr(slot, widget)(*arguments, key=self.key(name), bind="query-params", persist_state="session", **options)
        return slot

    def refuse_link_values(self, choices: Mapping[str, Collection[str]]) -> None:
        """Drop what a link asks for and no field accepts, before the fields are drawn; `link_notes` then tells what is used instead.

        `choices` are the options of the fields that have some. Left alone, Streamlit replaces some of these values in silence and
        stumbles over others.
        """
        dropped = False
        for name in self.config.model_fields:
            reasons = {asked: self._refusal(name, asked, choices.get(name)) for asked in st.query_params.get_all(self.key(name))}
            asked, reason = next(((asked, reason) for asked, reason in reasons.items() if reason), ("", ""))
            if not reason:
                continue
            spelled = name.replace("num_", "").replace("_", " ")
            self._notes[name] = (f"the link asked for {spelled} {asked[:40]}, {reason}", UNKNOWN)
            with suppress(StreamlitAPIException):  # a field that is drawn already keeps its value anyway
                del st.query_params[self.key(name)]
                dropped = True
        if dropped:
            st.rerun()  # this run would still fill the fields from the address as it was

    def link_notes(self) -> Iterator[tuple[str, str]]:
        """Yield field and sentence for each refused value of the link, until the visitor changes that field."""
        for name, (sentence, used) in list(self._notes.items()):
            value = self.value(name)
            if used is UNKNOWN:
                self._notes[name] = (sentence, value)
            elif used != value:
                del self._notes[name]
                continue
            yield name, f"{sentence}: {'the field is left empty' if value in (None, []) else f'{value} is used'}"

    @property
    def _notes(self) -> dict[str, tuple[str, Any]]:
        notes: dict[str, tuple[str, Any]] = st.session_state.setdefault(f"link_notes_{self.config.model_fields['kind'].default}", {})
        return notes

    def _refusal(self, name: str, asked: str, options: Collection[str] | None) -> str:
        if options is not None:
            return "" if asked in options else "which does not exist here"
        if self.kinds(name) == {bool}:
            return "" if asked in ("true", "false") else "which is neither true nor false"
        if not self.is_number(name):
            return ""
        try:
            value = float(asked)
        except ValueError:
            return "which is no number"
        if not math.isfinite(value):
            return "which is no finite number"
        whole = self.kinds(name) == {float} or (value.is_integer() and abs(value) <= LARGEST)
        return "" if whole else "which is no whole number in range"

    def folded_is_used(self) -> bool:
        """Whether any folded setting has a value of its own, in the form or in the link; once it had, the answer stays yes."""
        state, kept = st.session_state, f"folded_is_used_{self.config.model_fields['kind'].default}"
        keys = {self.key(name): self.default(name) for name in self.folded}
        used = any(state.get(key, default) not in (default, "") or key in st.query_params for key, default in keys.items())
        state[kept] = state.get(kept, False) or used
        return bool(state[kept])

    def link(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the query parameters that fill the form with a configuration; defaults are left out."""
        fields = {}
        for name, known in self.config.model_fields.items():
            value = values.get(name, known.default)
            if name != "kind" and value is not None and value != known.default and isinstance(value, (str, int, float)):
                fields[self.key(name)] = str(value).lower() if isinstance(value, bool) else str(value)
        return fields

    def read(self, drawn: Collection[str]) -> dict[str, Any]:
        """Return the values of the drawn fields as the configuration's `parse` takes them; raises InputError with the field at fault."""
        values: dict[str, Any] = {}
        for name, known in self.config.model_fields.items():
            if name not in drawn:
                continue
            value = self.value(name)
            if isinstance(value, str):
                value = value.strip()
            if value not in (None, ""):
                values[name] = value
            elif known.is_required() and name not in self.references:
                raise InputError(f"the {name.replace('_', ' ')} is missing: choose one", name)
            elif self.is_number(name) and known.default is not None:
                raise InputError(f"{name.replace('_', ' ')} is empty: give a number, {known.default} if unsure", name)
        for name in self.references:
            revision = str(st.session_state.get(f"{name}_revision") or "").strip()
            values[name] = _with_revision(name, values.get(name, ""), revision)
        return values


def _with_revision(role: str, reference: str, revision: str) -> str:
    if not reference:
        raise InputError(f"the {role} is missing: name a repository on the Hub or a folder", role)
    if not revision:
        return reference
    field = f"{role}_revision"
    if reference.startswith((".", "/", "~")):
        raise InputError(f"a folder has no revision: leave the {role}'s revision empty", field)
    if "@" in reference:
        raise InputError(
            f"the {role} already names the revision {reference.partition('@')[2][:60]!r}: leave the field beside it empty", field
        )
    return f"{reference}@{revision}"
