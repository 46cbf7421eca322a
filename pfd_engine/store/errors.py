"""Why results cannot be had from the database: it is another process's, cannot be written, or the question is too large."""

from __future__ import annotations

from pfd_engine.errors import PFDError


class OwnedElsewhere(PFDError):
    """Another process owns the workspace database (the app's server, mostly): read the run folders instead."""


class Unwritable(PFDError):
    """The workspace's database cannot be written here (a read-only or full disk): read the run folders instead."""


class TooLarge(PFDError):
    """A question whose answer does not fit into the memory that the database may take."""
