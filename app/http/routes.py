"""The properties of each route, stated on its view: who may call it, its longest body, whether it is slow or quiet.

Everything that depends on a route is looked up in the table made of these, so that a route is described in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

from haulier.domain.api_key import ApiKey, Scope
from haulier.domain.errors import KeyMoved

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

View = TypeVar("View", bound=Callable[..., object])

# The longest body by default, and of a request that matches no route.
BODY_BYTES = 1024 * 1024
# A longer request is large, and takes its turn with other large ones: parsing it takes milliseconds, in which a thread
# holds the interpreter, and as objects it takes up to thirty times its size.
LARGE_BYTES = 64 * 1024
# The key of a request's route in its WSGI environment.
ROUTE = "haulier.route"
# The key of its rule there, such as `/jobs/<uuid:job_id>`; absent if it matches no route.
RULE = "haulier.rule"
# Methods by which nothing is changed.
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SAID = "_haulier_route"


class Entry(Enum):
    """Who may call a route that needs no scope."""

    ANYONE = auto()
    READERS = auto()  # of the documentation: anyone, or with DOCS_PUBLIC=0 any key
    ANY_KEY = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """The properties that a view states of its calls.

    `takes_metrics_token`: METRICS_TOKEN opens the route as well. every_queue: API keys that may use only some queues
    are refused, for this reason; None admits them. also: a second scope that is needed. enqueues: it makes a job
    although it needs no scope ENQUEUE. is_slow: a caller makes few such calls at once (request_limit.py); or whether
    that holds for the current request.
    """

    needs: Scope | Entry
    most_bytes: int = BODY_BYTES
    is_quiet: bool = False
    takes_metrics_token: bool = False
    every_queue: str | None = None
    also: Scope | None = None
    enqueues: bool = False
    is_slow: bool | Callable[[], bool] = False

    @property
    def makes_jobs(self) -> bool:
        """Return whether a call by which something is changed makes new jobs."""
        return self.enqueues or Scope.ENQUEUE in self.scopes

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Return the scopes that a key needs, all of them."""
        return tuple(each for each in (self.needs, self.also) if isinstance(each, Scope))


Routes = Mapping[tuple[str, str], Route]

# A path that does not exist needs a key too, so that a caller without one does not learn which paths exist.
NO_ROUTE = Route(Entry.ANY_KEY)
# A view that states nothing is only for ADMIN: a forgotten `needs` must not open it.
UNSAID = Route(Scope.ADMIN)


class Stated(TypedDict, total=False):
    """What a view may state besides, under the names of Route."""

    most_bytes: int
    takes_metrics_token: bool
    every_queue: str | None
    also: Scope | None
    enqueues: bool


def needs(
    who: Scope | Entry, *, quiet: bool = False, slow: bool | Callable[[], bool] = False, **more: Unpack[Stated]
) -> Callable[[View], View]:
    """State who may call a view, and its other properties.

    `quiet` is for one that machines call every few seconds; slow for one that may read many rows, or compute, always or
    if the function says so of the current request.
    """
    route = Route(who, is_quiet=quiet, is_slow=slow, **more)

    def decorate(view: View) -> View:
        setattr(view, _SAID, route)
        return view

    return decorate


def said_by(app: Flask, rule: Rule, method: str) -> Route | None:
    """Return the properties that the view of this method states, or None."""
    view = app.view_functions[rule.endpoint]
    # A class of views has one for each method.
    of_method = getattr(getattr(view, "view_class", None), method.lower(), view)
    found: Route | None = getattr(of_method, _SAID, None)
    return found


def check_cell(key: ApiKey, route: Route, method: str) -> None:
    """Return unless the call makes new jobs of a key that another cell takes. Raises: KeyMoved."""
    if key.moved_to is not None and route.makes_jobs and method not in SAFE_METHODS:
        raise KeyMoved(key.moved_to)


def routes_of(app: Flask) -> Routes:
    """Return the route of each method and rule of the application, including the methods that Flask adds."""
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
    # Any key will do: the answer only lists the methods.
    who = route.needs if isinstance(route.needs, Entry) else Entry.ANY_KEY
    return replace(route, needs=who, most_bytes=BODY_BYTES, every_queue=None, also=None, enqueues=False, is_slow=False)


def longer_bodies(routes: Routes) -> dict[tuple[str, str], int]:
    """Return the longest body of each route that takes more than BODY_BYTES, by method and path.

    Raises: ValueError for a path with variables: gunicorn's worker compares paths literally.
    """
    found = {at: route.most_bytes for at, route in routes.items() if route.most_bytes > BODY_BYTES}
    for method, path in found:
        if "<" in path:
            raise ValueError(f"{method} {path} may not take longer bodies: its path has variables")
    return found
