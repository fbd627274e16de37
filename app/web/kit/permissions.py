"""The pages and acts that a viewer may use, as each view states: for requests and for each button alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar, cast

from flask import Flask, current_app

from haulier.domain.api_key import Scope

from ...http.auth import caller, refusal
from ...http.request_errors import Forbidden
from ...http.routes import UNSAID, Route, routes_of
from .menu import Link, links
from .refusals import NotHere
from .viewer import viewer

T = TypeVar("T")

_FOR_ACTING, _UNLESS = "haulier_for_acting", "haulier_unless"
READ_ONLY = "this dashboard is read-only (DASHBOARD=read): use the API or the command line"


def for_acting(view: T) -> T:
    """Mark a page as being only for acting."""
    setattr(view, _FOR_ACTING, True)
    return view


def unless(why: Callable[[], str | None]) -> Callable[[T], T]:
    """Mark a view as refused to everybody while `why` returns a reason."""

    def decorate(view: T) -> T:
        setattr(view, _UNLESS, why)
        return view

    return decorate


class Permissions:
    """The permissions of one application."""

    def __init__(self, app: Flask, *, is_read_only: bool) -> None:
        self._app, self.is_read_only = app, is_read_only

    @cached_property
    def _routes(self) -> dict[str, tuple[str, Route]]:
        # At the first request, when every view has been added.
        said = routes_of(self._app)
        return {
            rule.endpoint: (method, said[method, rule.rule])
            for rule in self._app.url_map.iter_rules()
            for method in ("GET", "POST")
            if method in (rule.methods or ())
        }

    def refused(self, method: str, route: Route, endpoint: str | None) -> Forbidden | NotHere | None:
        """Return why the caller may not make this call; None if it may."""
        view = self._app.view_functions.get(endpoint or "")
        acts = method == "POST" or hasattr(view, _FOR_ACTING)
        if self.is_read_only and acts and isinstance(route.needs, Scope):
            return NotHere(READ_ONLY)
        key = caller().key
        if key is not None and (why := refusal(key, route)):
            return why
        # Last: it may ask the database.
        reason: str | None = getattr(view, _UNLESS, _never)()
        return None if reason is None else NotHere(reason)

    def why_not(self, endpoint: str) -> str | None:
        """Return why the viewer may not use this page or act; None if nothing forbids it."""
        if not viewer().is_in:
            return "you are not signed in"
        method, route = self._routes.get(endpoint, ("GET", UNSAID))
        why = self.refused(method, route, endpoint)
        return None if why is None else _told(why)


def first_page() -> Link | None:
    """Return the first page of the menu that the viewer may open, if there is one."""
    found = (link for _, group in links() for link in group)
    return next((link for link in found if permissions().why_not(link.endpoint) is None), None)


def _never() -> None:
    return None


def _told(why: Forbidden | NotHere) -> str:
    text = str(why)
    return f"{text[:1].upper()}{text[1:]}."


def permissions() -> Permissions:
    """Return the permissions of the current application."""
    return cast(Permissions, current_app.extensions["haulier_permissions"])
