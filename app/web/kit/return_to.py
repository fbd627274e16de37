"""The page to which an act returns: always a path of the dashboard, whatever a link or a form says."""

from __future__ import annotations

import re
from contextlib import suppress

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

HOME = "/ui"
# A path below /ui, or /ui with a query, in visible ASCII without a backslash: no browser takes it for another host.
_OURS = re.compile(r"/ui(?:[/?][!-\[\]-~]*)?")
MOST_CHARACTERS = 2000


def checked(place: str) -> str:
    """Return the path if it belongs to the dashboard, otherwise its first page."""
    return place if len(place) <= MOST_CHARACTERS and _OURS.fullmatch(place) else HOME


def back_to() -> str:
    """Return path and query of the current page; in the answer to a form, the page that the form names."""
    if request.method == "POST":
        return asked()
    query = request.environ.get("QUERY_STRING", "")
    return checked(f"{request.path}?{query}" if query else request.path)


def asked() -> str:
    """Return the page to which the current request wants to return."""
    given = ""
    # A form that is too large is not read. The page that says so leads to the first page.
    with suppress(RequestEntityTooLarge):
        given = request.form.get("next", "")
    return checked(given or request.args.get("next", ""))
