"""Where an act returns to: always a path of the dashboard, whatever a link or a form says."""

from __future__ import annotations

import re
from contextlib import suppress

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

HOME = "/ui"
# A path below /ui, or /ui with a query, in visible ASCII without a backslash: no browser reads another host in it.
_OURS = re.compile(r"/ui(?:[/?][!-\[\]-~]*)?")
MOST_CHARACTERS = 2000


def checked(place: str) -> str:
    """Return the place if it is one of the dashboard, else its first page."""
    return place if len(place) <= MOST_CHARACTERS and _OURS.fullmatch(place) else HOME


def back_to() -> str:
    """Return the path and the query of the current page; of the answer to a form, the page that the form named."""
    if request.method == "POST":
        return asked()
    query = request.environ.get("QUERY_STRING", "")
    return checked(f"{request.path}?{query}" if query else request.path)


def asked() -> str:
    """Return where the current request wants to be led."""
    given = ""
    # A form that is too long is not read, and the page that says so leads to the first page.
    with suppress(RequestEntityTooLarge):
        given = request.form.get("next", "")
    return checked(given or request.args.get("next", ""))
