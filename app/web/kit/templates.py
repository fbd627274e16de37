"""The templates: each compiled once, with everything escaped. An undefined name is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from flask import g, url_for
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.environment import TemplateModule

from haulier.postgres.connection import parse
from haulier.version import version

from ...http.own_path import own_path
from ...http.service import service
from ..words import filters
from ..words.filters import dated, exact
from .actors import actor_name
from .menu import Link, links
from .permissions import first_page, permissions
from .return_to import back_to
from .search_box import suggestions
from .static_files import address
from .viewer import Preferences, viewer, zone_of

P = ParamSpec("P")
T = TypeVar("T")

# Times nearer than this are shown by how long ago they were.
NEAR = timedelta(days=1)
FOLDER = Path(__file__).parents[1] / "templates"


@cache
def environment() -> Environment:
    """Return the environment of the templates.

    A template is compiled at its first use: all of them take half a second, in which API calls would wait for this
    thread, or the process would not serve yet.
    """
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(filters.FILTERS)
    made.globals.update(
        asset=address,
        url=url,
        docs_url=lambda: own_path("/docs"),
        viewer=viewer,
        why_not=(refusal := once_per_request(why_not)),
        may=lambda endpoint: refusal(endpoint) is None,
        first_page=first_page,
        menu=menu,
        menu_counts=lambda: g.get("menu_counts", {}),
        when=when,
        lasting=lasting,
        installation=installation,
        actor_name=actor_name,
        suggestions=suggestions,
        back_to=once_per_request(back_to),
        csrf_token=once_per_request(lambda: viewer().csrf),
        is_read_only=lambda: permissions().is_read_only,
        version=version(),
    )
    # Their results depend only on the arguments, and rows repeat them. Typed, because escaped text equals plain text.
    parts = made.get_template("parts.html").module
    for name in ("state", "mark", "num"):
        setattr(parts, name, lru_cache(1000, typed=True)(getattr(parts, name)))
    return made


def rendered(template: str, **given: Any) -> str:
    """Return the template, filled in."""
    return environment().get_template(template).render(given)


def filled(template: str, **given: Any) -> TemplateModule:
    """Return the template, filled in, for other templates to show as HTML: all of it is escaped."""
    return environment().get_template(template).make_module(given)


def url(endpoint: str, **given: Any) -> str:
    """Return the URL of a page or an act, such as `jobs.show`, without arguments that are None or ""."""
    arguments = ((name, tuple(each) if isinstance(each, list) else each) for name, each in given.items())
    return _url(own_path(""), endpoint, *arguments)


# An open page has the same links at each poll, and Flask takes 20 µs to build one. All begin with the root.
@lru_cache(4_000)
def _url(_root: str, endpoint: str, *given: tuple[str, Any]) -> str:
    return url_for(f"ui.{endpoint}", **{name: value for name, value in given if value not in (None, "", ())})


def once_per_request(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function with its results kept until the request ends: rows of lists ask again and again."""

    def remembered(*args: P.args, **kwargs: P.kwargs) -> T:
        results = g.setdefault("results", {})
        if (function, args) not in results:
            results[function, args] = function(*args, **kwargs)
        return cast(T, results[function, args])

    return remembered


def why_not(endpoint: str) -> str | None:
    """Return why the viewer may not use the page or act; None if they may."""
    return permissions().why_not(f"ui.{endpoint}")


def when(at: datetime | None) -> str:
    """Return a time as an element: how long ago it was if that is less than a day, otherwise exactly."""
    if at is None:
        return "–"
    by = viewer()
    return time_element(at, by.prefers, by.now)


def time_element(at: datetime, prefers: Preferences, now: datetime) -> str:
    """Return a time as an element with these preferences; `ages.fill` adds how long ago it was."""
    year = now.astimezone(prefers.time_zone).year
    return _time(at, prefers.zone, year, is_near=abs(now - at) < NEAR, is_exact=prefers.is_exact)


# An open page has the same times at each poll, and a list has two in each row.
@lru_cache(4_000)
def _time(at: datetime, zone: str, this_year: int, *, is_near: bool, is_exact: bool) -> str:
    exactly = dated(at, zone_of(zone) or UTC, this_year)
    text = "" if is_near and not is_exact else exactly
    return _element(at, exactly, text, ago="" if is_near or is_exact else None)


def lasting(since: datetime) -> str:
    """Return how long something has lasted, as an element."""
    by = viewer()
    exactly = f"since {exact(since, by.prefers.time_zone, by.now)}"
    return _element(since, exactly, exactly if by.prefers.is_exact else "", ago=" ago")


def _element(at: datetime, exactly: str, text: str, *, ago: str | None) -> str:
    times: Any = environment().get_template("times.html").module
    return cast(str, times.element(at.isoformat(), exactly, text, ago=ago))


def menu() -> Iterable[tuple[str, list[Link]]]:
    """Return the links of the menu that the viewer may open, group by group."""
    for group, found in links():
        allowed = [link for link in found if permissions().why_not(link.endpoint) is None]
        if allowed:
            yield group, allowed


def installation() -> str:
    """Return INSTALLATION_NAME, or the name of the database."""
    config = service().config
    if config.installation_name:
        return config.installation_name
    return parse(config.database_url).get("dbname", "Haulier")
