"""Turn the result of a view into a response: a whole page, only its <main> for a poll, or 204.

A poll compares the rendered page. `ages` adds later what differs each time.
"""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace
from typing import Any

from flask import Blueprint, g, request
from jinja2.environment import TemplateModule
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from . import ages, cookies, server_timing
from .flash import Said, said
from .menu import WITHIN
from .menu_counts import menu_counts
from .reading import LIVE
from .search_box import EMPTY, Box
from .templates import filled, rendered
from .viewer import viewer

HTML = "text/html; charset=utf-8"
# The header in which a poll gets the counts of the menu.
COUNTS = "Haulier-Counts"
# No inline script or style, nothing from elsewhere; scripts turn text into HTML by one policy only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types haulier"
)


class Page:
    """The result of a view: a template that fills <main>, and the values that it reads as `page`.

    Args:
        is_live: False if the page can no longer change.
        box: The content of the search box, which is outside of <main>.
    """

    def __init__(
        self, template: str, title: str, *, status: int = 200, is_live: bool = True, box: Box = EMPTY, **values: Any
    ) -> None:
        self.template, self.title, self.status, self.is_live, self.box = template, title, status, is_live, box
        self.values = SimpleNamespace(**values)

    def main(self) -> TemplateModule:
        """Return the content of <main>, which templates take as HTML."""
        return filled(self.template, page=self.values)


def answer(page: Page | Response, every: float | None) -> Response:
    """Return the response for the result of a view: 204 if the browser already shows the same.

    Args:
        every: Seconds after which the browser asks whether the page has changed. None: it never asks.
    """
    if isinstance(page, Response):
        return page
    main = page.main()
    # Not for pages about errors: the database may be away.
    g.menu_counts = menu_counts()
    seen, shown = digest(str(main)), request.headers.get(LIVE)
    every = every if page.is_live else None
    if shown is None:
        return whole(page, main, seen=seen, every=every, said=said())
    if shown == seen and page.status == 200:
        response = Response(status=204)
    else:
        response = _html(rendered("main.html", main=main, seen=seen, every=every), page.status)
    # The menu is outside of <main>.
    response.headers[COUNTS] = json.dumps(g.menu_counts)
    return response


def digest(main: str) -> str:
    """Return a short hash of what a page renders."""
    return hashlib.sha256(main.encode()).hexdigest()[:12]


def whole(
    page: Page, main: TemplateModule, *, seen: str, every: float | None, said: Said, again: int | None = None
) -> Response:
    """Return the page with everything around <main>.

    Args:
        again: Seconds after which the browser loads the page again. None: it does not.
    """
    section = (request.blueprint or "").rpartition(".")[2]
    here = WITHIN.get(section, section)
    live = {"main": main, "seen": seen, "every": every}
    around = {"here": here, "title": page.title, "box": page.box, "said": said, "again": again}
    return _html(rendered("base.html", **around, **live), page.status)


def _html(text: str, status: int) -> Response:
    return Response(ages.fill(text, viewer().now), status, content_type=HTML)


def register(ui: Blueprint) -> None:
    """Add the headers of the dashboard and changed cookies to each response."""
    ui.after_request(_finish)


def _finish(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", POLICY)
        # With no referrer at all a form would not say where it comes from, and would be refused.
        response.headers.setdefault("Referrer-Policy", "same-origin")
    if "began_at" in g:
        response.headers["Server-Timing"] = server_timing.header()
    if "new_anonymous" in g:
        cookies.put(response, cookies.ANONYMOUS, g.new_anonymous)
    # Unless the view has set it again.
    is_set = _names(response.headers)
    for name in g.get("drops", ()):
        if name not in is_set:
            cookies.drop(response, name)
    return response


def _names(headers: Headers) -> set[str]:
    return {cookies.plain(each.partition("=")[0]) for each in headers.getlist("Set-Cookie")}
