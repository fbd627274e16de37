"""What each route says of itself, on its view: who may call it, how long its body may be, if its log line is quiet.

All else that depends on the route is looked up in the table that is made of this, so that a route is written in one
place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from haulier.domain.api_key import Scope

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

View = TypeVar("View", bound=Callable[..., object])

# The longest body of a route that says nothing else, and of a request for no route.
BODY_BYTES = 1024 * 1024
# Beyond this a request is large, and takes its turn with others such: to read it takes milliseconds, in which a thread
# holds the interpreter, and as objects it takes up to thirty times its room.
LARGE_BYTES = 64 * 1024
# Where a request's route stands in its environment.
ROUTE = "haulier.route"
_SAID = "_haulier_route"


class Entry(Enum):
    """Who may call a route that takes no scope."""

    ANYONE = auto()
    READERS = auto()  # of the documentation: anyone, or with DOCS_PUBLIC=0 any key
    ANY_KEY = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """What a view says of the calls that it answers.

    Shape: takes_metrics_token where METRICS_TOKEN opens it as well. every_queue is, where a key of some queues may not
           call it, what of the answer concerns the others.
    """

    needs: Scope | Entry
    most_bytes: int = BODY_BYTES
    is_quiet: bool = False
    takes_metrics_token: bool = False
    every_queue: str | None = None


Routes = Mapping[tuple[str, str], Route]

# Whoever has no key does not find out which paths there are.
NO_ROUTE = Route(Entry.ANY_KEY)
# A view that says nothing is closed rather than open.
UNSAID = Route(Scope.ADMIN)


def needs(
    who: Scope | Entry,
    *,
    most_bytes: int = BODY_BYTES,
    quiet: bool = False,
    takes_metrics_token: bool = False,
    every_queue: str | None = None,
) -> Callable[[View], View]:
    """Say of a view who may call it, and what else a Route has; a quiet one is asked every few seconds by machines."""
    route = Route(who, most_bytes, quiet, takes_metrics_token, every_queue)

    def decorate(view: View) -> View:
        setattr(view, _SAID, route)
        return view

    return decorate


def said_by(app: Flask, rule: Rule, method: str) -> Route | None:
    """Return what the view of this method says of itself, or None."""
    view = app.view_functions[rule.endpoint]
    # A class of views has one for each method.
    of_method = getattr(getattr(view, "view_class", None), method.lower(), view)
    found: Route | None = getattr(of_method, _SAID, None)
    return found


def routes_of(app: Flask) -> Routes:
    """Return the route of each method and rule of the application, those that Flask adds included."""
    found: dict[tuple[str, str], Route] = {}
    for rule in app.url_map.iter_rules():
        methods = sorted(rule.methods or ())
        said = {each: said_by(app, rule, each) or UNSAID for each in methods if each not in ("HEAD", "OPTIONS")}
        found.update(((method, rule.rule), route) for method, route in said.items())
        if "HEAD" in methods:
            found["HEAD", rule.rule] = said["GET"]
        if "OPTIONS" in methods:
            found.setdefault(("OPTIONS", rule.rule), _of_options(next(iter(said.values()))))
    return found


def _of_options(route: Route) -> Route:
    # It only says which methods there are.
    who = route.needs if isinstance(route.needs, Entry) else Entry.ANY_KEY
    return replace(route, needs=who, most_bytes=BODY_BYTES, every_queue=None)


def longer_bodies(routes: Routes) -> dict[tuple[str, str], int]:
    """Return the longest body of each route that takes more than others do, by its method and path.

    Raises: ValueError for a path with variables: gunicorn's worker looks for it as it stands.
    """
    found = {at: route.most_bytes for at, route in routes.items() if route.most_bytes > BODY_BYTES}
    for method, path in found:
        if "<" in path:
            raise ValueError(f"{method} {path} may not take longer bodies: its path has variables")
    return found
