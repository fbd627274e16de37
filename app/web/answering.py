"""From what a view returns to an answer: a page, its content alone for a browser that has it, or 204."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, g, request
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from haulier.domain.text import duration

from . import cookies, pace
from .rail import WITHIN
from .reading import LIVE
from .saying import said
from .search_box import EMPTY, Box
from .templates import rendered
from .viewer import viewer

HTML = "text/html; charset=utf-8"
# No inline script, no inline style, nothing from elsewhere; scripts make pages of text by one policy alone.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types haulier"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as a view returns it.

    Shape: page is a frozen dataclass, and all that the template reads, as `page`: if that is equal, so is what is seen.
           is_live: False where nothing of it can change any more. text is the page as `written` returns it,
           where that is kept with it. box is what stands in the search box, which is no part of what polls compare.
    """

    template: str
    page: Any
    title: str
    status: int = 200
    is_live: bool = True
    text: str | None = None
    box: Box = EMPTY


def answer(found: Shown | Response, every: float | None) -> Response:
    """Return the answer. Units: the browser is to ask again after `every` so many seconds."""
    if isinstance(found, Response):
        return found
    seen = _digest(found)
    has = request.headers.get(LIVE)
    if has == seen and found.status == 200:
        return Response(status=204)
    live = {"seen": seen, "every": every if found.is_live else None}
    if has is not None:
        return page("alone.html", found, **live)
    return page("base.html", found, **live, said=said())


def page(layout: str, found: Shown, **more: Any) -> Response:
    """Return the page in this layout."""
    section = (request.blueprint or "").rpartition(".")[2]
    here = WITHIN.get(section, section)
    given = {"page": found.page, "title": found.title, "box": found.box, **more}
    text = rendered(found.template, layout=layout, here=here, **given)
    return Response(text, found.status, content_type=HTML)


def _digest(found: Shown) -> str:
    """Return what is another one whenever the page looks different, but for how long ago things were."""
    by = viewer()
    told = [found.template, found.title, found.status, by.sight, by.prefers, by.is_in]
    text = written(found.page) if found.text is None else found.text
    return hashlib.sha256(f"{written(told)}{text}".encode()).hexdigest()[:12]


def written(value: Any) -> str:
    """Return a page as text, which is another one whenever the page looks different."""
    return json.dumps(value, default=_plain, sort_keys=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _as_told(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)}
    return str(value)


def _as_told(name: str, value: Any) -> Any:
    """Return seconds as pages tell them: by the clock alone they differ each time, and "3 h 20 min" does not."""
    return duration(value) if name.endswith("_seconds") and isinstance(value, float) else value


def register(ui: Blueprint) -> None:
    """Add to each answer the headers of the dashboard, and the cookies that it is to change."""
    ui.after_request(_finish)


def _finish(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", POLICY)
        # With no referrer at all a form would not say where it comes from, and would be refused.
        response.headers.setdefault("Referrer-Policy", "same-origin")
    if "began_at" in g:
        response.headers["Server-Timing"] = pace.told()
    if "new_anonymous" in g:
        cookies.put(response, cookies.ANONYMOUS, g.new_anonymous)
    # Unless the view has set it anew.
    is_set = _names(response.headers)
    for name in g.get("drops", ()):
        if name not in is_set:
            cookies.drop(response, name)
    return response


def _names(headers: Headers) -> set[str]:
    return {each.partition("=")[0].removeprefix("__Host-") for each in headers.getlist("Set-Cookie")}
