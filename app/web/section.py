"""What a module of `pages` is made of: a section, with its place in the menu, its pages and its acts."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module

from flask import Blueprint
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope

from ..http.routes import Entry, needs
from . import permissions
from .answering import Page, answer
from .rail import RAIL, WITHIN, Rail


class Section(Blueprint):
    """The pages about one subject.

    Shape: its first page is the view `show`, to which the menu leads. Without a place in the menu it may be within
           another section, which then is marked there.
    """

    def __init__(self, name: str, import_name: str, rail: Rail | None = None, *, within: str = "") -> None:
        super().__init__(name, import_name)
        self.rail, self.within = rail, within

    def page(
        self,
        path: str,
        who: Scope | Entry,
        *,
        every: float | None = None,
        every_queue: str | None = None,
        for_acting: bool = False,
    ) -> Callable[[Callable[..., Page | Response]], Callable[..., Response]]:
        """Add a page, for those who may see it: a view of GET that changes nothing.

        Shape: with DASHBOARD=read a page that is for acting, and for nothing else, is refused as acts are. A page that
               needs a scope reads the database, and so counts as slow.
        Units: a browser asks whether it has changed `every` so many seconds; None: never.
        """

        def decorate(view: Callable[..., Page | Response]) -> Callable[..., Response]:
            @functools.wraps(view)
            def shown(*args: object, **kwargs: object) -> Response:
                return answer(view(*args, **kwargs), every)

            slow = isinstance(who, Scope)
            stated = needs(who, quiet=every is not None, slow=slow, every_queue=every_queue)(shown)
            if for_acting:
                stated = permissions.for_acting(stated)
            self.add_url_rule(path, view.__name__, stated, methods=["GET"])
            return stated

        return decorate

    def act(
        self,
        path: str,
        who: Scope | Entry,
        *,
        also: Scope | None = None,
        every_queue: str | None = None,
        slow: bool = False,
    ) -> Callable[[Callable[..., Page | Response]], Callable[..., Response]]:
        """Add an act: a view of POST, which answers with `saying.done`, or with a page that tells what is wrong.

        Shape: with DASHBOARD=read an act that needs a scope is refused.
        """

        def decorate(view: Callable[..., Page | Response]) -> Callable[..., Response]:
            @functools.wraps(view)
            def acted(*args: object, **kwargs: object) -> Response:
                return answer(view(*args, **kwargs), None)

            stated = needs(who, also=also, slow=slow, every_queue=every_queue)(acted)
            self.add_url_rule(path, view.__name__, stated, methods=["POST"])
            return stated

        return decorate


def sections_of(package: str) -> list[Section]:
    """Return the section of each module of the package."""
    modules = pkgutil.iter_modules(import_module(package).__path__)
    return [import_module(f"{package}.{each.name}").section for each in modules]


def under_ui(path: str, sections: Iterable[Section]) -> Blueprint:
    """Return a blueprint of all these sections, below this path."""
    ui = Blueprint("ui", __name__, url_prefix=path)
    for section in sections:
        ui.register_blueprint(section)
        if section.rail:
            RAIL[section.name] = section.rail
        if section.within:
            WITHIN[section.name] = section.within
    return ui
