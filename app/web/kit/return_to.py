"""The page to which an act returns: always a path of the dashboard, whatever a link or a form says."""

from __future__ import annotations

import re
from contextlib import suppress

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from ...http.own_path import own_path

HOME = "/ui"
# What may follow /ui: a path or a query, in visible ASCII without a backslash: no browser takes it for another host.
_REST = re.compile(r"(?:[/?][!-\[\]-~]*)?")
MOST_CHARACTERS = 2000


def checked(place: str) -> str:
    """Return the path if it belongs to the dashboard, otherwise its first page."""
    home = own_path(HOME)
    is_ours = place.startswith(home) and _REST.fullmatch(place, len(home))
    return place if is_ours and len(place) <= MOST_CHARACTERS else home


def back_to() -> str:
    """Return path and query of the current page; in the answer to a form, the page that the form names."""
    if request.method == "POST":
        return asked()
    query = request.environ.get("QUERY_STRING", "")
    path = own_path(request.path)
    return checked(f"{path}?{query}" if query else path)


def asked() -> str:
    """Return the page to which the current request wants to return."""
    given = ""
    # A form that is too large is not read. The page that says so leads to the first page.
    with suppress(RequestEntityTooLarge):
        given = request.form.get("next", "")
    return checked(given or request.args.get("next", ""))
