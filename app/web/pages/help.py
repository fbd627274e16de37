"""Help: the syntax of the search box, and the keyboard shortcuts."""

from __future__ import annotations

from ...http.routes import Entry
from ..kit.menu import Link
from ..kit.page import Page
from ..kit.section import Section
from ..kit.templates import menu

section = Section("help", __name__)


@section.page("/help", Entry.ANY_KEY)
def show() -> Page:
    """Return the page."""
    found: list[Link] = [link for _, group in menu() for link in group if link.entry.key]
    return Page("help.html", "Help", links=found)
