"""Who the visitor is on a server that allows launching, what that lets them do here, and where they sign in and out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import alert
from pages.widgets import html as words
from pfd_engine.errors import InputError
from pfd_engine.jobs.access import Policy, check_hosted, check_user, is_bundled, mode, verified_email

if TYPE_CHECKING:
    from pfd_engine.configs.base import RunConfig

LOG = logging.getLogger("pfd_engine.pages")
NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")


def visitor() -> str | None:
    """Return the verified e-mail address of whoever looks at this page, None without sign-in; a local server has no users."""
    if mode() != "hosted" or sign_in_problem() is not None:
        return None
    return verified_email(st.user.to_dict())


def may_use() -> bool:
    """Whether this visitor may make the server work for them: look models up, launch, cancel. Launching asks again, with its limits."""
    return mode() == "local" or Policy.from_environment().admits(visitor())


def may_look_at(reference: str) -> bool:
    """Whether the server may look a model up for this visitor; never one of the host's own folders for a stranger."""
    return may_use() and (mode() == "local" or is_bundled(reference) or not reference.startswith((".", "/", "~")))


def check_request(config: RunConfig) -> None:
    """Raise InputError, with the field at fault, for a folder that is not there, or that this server takes from nobody."""
    from pfd_engine.hub.resolve import check_folders

    if mode() != "local":
        check_hosted(config)
    check_folders(config)


def why_not() -> str:
    """Return the sentence that says why this visitor cannot launch; empty where they can."""
    try:
        check_user(Policy.from_environment(), visitor())
    except InputError as error:
        return f"{str(error)[:1].upper()}{str(error)[1:]}."
    return ""


def sign_in() -> None:
    """Draw who is signed in, and the button to sign in or out."""
    if (problem := sign_in_problem()) is not None:
        st.html(alert(problem))
        return
    if not st.user.is_logged_in:
        st.caption("Everybody may look; launching needs sign-in.")
        st.button("Sign in", on_click=st.login, key="sign-in", width="stretch")
        return
    user = visitor()
    st.caption(f"Signed in as {words.markdown(user)}" if user else "Your e-mail address is not verified, so that you cannot launch.")
    if user is not None and not may_use():
        st.caption("This address is not on the list of those who may launch.")
    if user is not None and st.session_state.get("signed-in") != user:
        from pfd_engine.jobs.launch import note

        st.session_state["signed-in"] = user
        note(user, "sign-in", None, "may launch" if may_use() else "not on the list")
    st.button("Sign out", on_click=st.logout, key="sign-out", width="stretch")


def sign_in_problem() -> str | None:
    """Say in one sentence why nobody can sign in on this server; None where they can. What is wrong exactly goes to the log."""
    try:
        settings = st.secrets.get("auth")
        missing = list(NEEDED) if settings is None else [name for name in NEEDED if not isinstance(settings.get(name), str)]
    except Exception as error:  # no file, or none that can be read: Streamlit has an error of its own for each
        LOG.warning("sign-in is not possible: %s", type(error).__name__)
        return "nobody can sign in here: .streamlit/secrets.toml is missing or no valid TOML (docs/hosting.md shows one)"
    if missing:
        return f"nobody can sign in here: [auth] in .streamlit/secrets.toml lacks {', '.join(missing)} (docs/hosting.md shows all)"
    return None
