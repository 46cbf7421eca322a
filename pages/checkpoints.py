"""Checkpoints: what a Hub reference or folder holds, before any weight is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import EVALUATE, alert, page
from pages.widgets import html as words

if TYPE_CHECKING:
    from pfd_engine.models.inspect import CheckpointInfo


def checkpoints() -> None:
    """Draw the page."""
    from pages.forms.models import bundled_choices, inspect_checkpoint
    from pages.frame.sign_in import may_look_at, may_use, why_not
    from pfd_engine.errors import InputError

    st.title("Checkpoints")
    st.caption("Look a model up before you use it. Only its configuration and file headers are read.")
    if not may_use():
        st.info(
            f"{why_not()} Looking a model up would ask the Hub for its configuration, and say whether it can be measured: its family, "
            "parameters, noise range and license. On your own machine, this opens the app with the look-up on:"
        )
        st.code("make run", language="bash", wrap_lines=True)
        return
    field = st.container()
    reference = field.text_input(
        "Reference", key="reference", bind="query-params", placeholder="owner/name[@revision], or a path that starts with . / or ~"
    ).strip()
    bundled_choices("reference")
    if not reference:
        st.info("Type a reference above, for example a diffusion model repository on the Hub, or pick a bundled model.")
        return
    if not may_look_at(reference):
        field.html(alert("this server looks no folders up for visitors: name a repository on the Hub as owner/name"))
        return
    try:
        with st.spinner("Looking it up…"):
            info = inspect_checkpoint(reference)
    except InputError as error:
        field.html(alert(str(error)))
        return
    st.header(words.markdown(words.short(info.reference, 80)))
    if info.loadable:
        st.success("This model can be measured.")
    else:
        st.warning("This model cannot be measured: " + words.markdown(info.reason or "its format is not known"))
    shape = "×".join(map(str, info.shape)) if info.shape else "–"
    known_range = info.sigma_min is not None and info.sigma_max is not None
    rows = [
        ("Family", info.family or "–"),
        ("Parameters", words.parameters(info.parameters)),
        ("Sample shape", f"{shape} (channels × height × width)" if shape.count("×") == 2 else shape),
        ("Noise range (sigma)", f"{info.sigma_min:.4g} to {info.sigma_max:.4g}" if known_range else "–"),
        ("Kind of map", kind_of_map(info)),
        ("Revision", info.revision or "–"),
        ("License", info.license or "not stated"),
        ("Size on disk", words.size(info.size_bytes)),
        ("Training set", info.training_set or "not named"),
    ]
    st.html(words.facts(rows))
    if info.loadable:
        with st.container(horizontal=True):
            roles = ("student",) if info.few_step else ("teacher", "student")
            for role in roles:
                if st.button(f"Use as {role}", key=f"use_{role}", type="primary" if role == roles[0] else "secondary"):
                    st.switch_page(EVALUATE, query_params={role: reference})


def kind_of_map(info: CheckpointInfo) -> str:
    """Name how a model maps noise to an image, where its files tell."""
    if info.family is None:
        return "–"
    return f"few-step student, {words.count(info.steps or 1, 'step')}" if info.few_step else "probability flow ODE"


with page("Checkpoints"):
    checkpoints()
