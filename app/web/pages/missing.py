"""Answer 404 to paths below /ui that are no page."""

from __future__ import annotations

from typing import NoReturn

from werkzeug.exceptions import NotFound

from ...http.routes import Entry
from ..kit.section import Section

section = Section("missing", __name__)


@section.page("/", Entry.ANY_KEY)
def show() -> NoReturn:
    """Refuse the path with only a slash."""
    raise NotFound


@section.page("/<path:rest>", Entry.ANY_KEY)
def page(rest: str) -> NoReturn:
    """Refuse a path that no other rule matches."""
    raise NotFound


@section.act("/<path:rest>", Entry.ANY_KEY)
def act(rest: str) -> NoReturn:
    """Refuse a form for a path that no other rule matches."""
    raise NotFound
