"""The templates: each compiled once, with everything escaped. An undefined name is an error."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import url_for
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.environment import TemplateModule

from haulier.version import version

from ..http.service import service
from . import shown
from .asking import new_once
from .permissions import first_page, permissions
from .places import back_to
from .rail import Link, links
from .search_box import suggestions
from .static_files import address
from .viewer import viewer

FOLDER = Path(__file__).parent / "templates"


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
    made.filters.update(shown.FILTERS)
    made.globals.update(
        asset=address,
        url=url,
        viewer=viewer,
        why_not=why_not,
        may=lambda endpoint: why_not(endpoint) is None,
        first_page=first_page,
        menu=menu,
        new_once=new_once,
        installation=installation,
        suggestions=suggestions,
        back_to=back_to,
        is_read_only=lambda: permissions().is_read_only,
        version=version(),
    )
    return made


def rendered(template: str, **given: Any) -> str:
    """Return the template, filled in."""
    return environment().get_template(template).render(given)


def filled(template: str, **given: Any) -> TemplateModule:
    """Return the template, filled in, for other templates to show as HTML: all of it is escaped."""
    return environment().get_template(template).make_module(given)


def url(endpoint: str, **given: Any) -> str:
    """Return the URL of a page or an act, such as `jobs.show`, without arguments that are None or ""."""
    return url_for(f"ui.{endpoint}", **{name: value for name, value in given.items() if value not in (None, "", ())})


def why_not(endpoint: str) -> str | None:
    """Return why the viewer may not use the page or act; None if they may."""
    return permissions().why_not(f"ui.{endpoint}")


def menu() -> Iterable[tuple[str, list[Link]]]:
    """Return the links of the menu that the viewer may open, group by group."""
    for group, found in links():
        allowed = [link for link in found if permissions().why_not(link.endpoint) is None]
        if allowed:
            yield group, allowed


def installation() -> str:
    """Return the name by which people tell this installation from others."""
    config = service().config
    if config.installation_name:
        return config.installation_name
    url = urlsplit(config.database_url)
    return url.path.strip("/") or next(iter(parse_qs(url.query).get("dbname", [])), "Haulier")
