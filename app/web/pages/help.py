"""Help: what the search box and the keyboard understand."""

from __future__ import annotations

from ...http.routes import Entry
from ..menu import Link
from ..page import Page
from ..section import Section
from ..templates import menu

section = Section("help", __name__)


@section.page("/help", Entry.ANY_KEY)
def show() -> Page:
    """Return the page."""
    found: list[Link] = [link for _, group in menu() for link in group if link.rail.key]
    return Page("help.html", "Help", links=found)
