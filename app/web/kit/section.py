"""A section of the dashboard: the pages and acts about one subject. Each module of `pages` has one."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Unpack

from flask import Blueprint
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope

from ...http.routes import Entry, Stated, needs
from . import permissions
from .menu import MENU, WITHIN, MenuEntry
from .page import Page, answer


class Section(Blueprint):
    """The pages about one subject.

    The menu leads to the view `show`. A section without a place in the menu may be within another one, which the menu
    then marks.
    """

    def __init__(self, name: str, import_name: str, entry: MenuEntry | None = None, *, within: str = "") -> None:
        super().__init__(name, import_name)
        self.entry, self.within = entry, within

    def page(
        self,
        path: str,
        who: Scope | Entry,
        *,
        every: float | None = None,
        every_queue: str | None = None,
        for_acting: bool = False,
    ) -> Callable[[Callable[..., Page | Response]], Callable[..., Response]]:
        """Add a page: a view of GET that changes nothing. One that needs a scope counts as slow.

        Args:
            every: Seconds after which a browser asks whether the page has changed. None: it never asks.
            for_acting: The page is only for acting, so DASHBOARD=read refuses it as it refuses acts.
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
        slow: bool = False,
        **more: Unpack[Stated],
    ) -> Callable[[Callable[..., Page | Response]], Callable[..., Response]]:
        """Add an act: a view of POST, which returns `flash.done`, or a page that says what is wrong.

        DASHBOARD=read refuses an act that needs a scope.
        """

        def decorate(view: Callable[..., Page | Response]) -> Callable[..., Response]:
            @functools.wraps(view)
            def acted(*args: object, **kwargs: object) -> Response:
                return answer(view(*args, **kwargs), None)

            stated = needs(who, slow=slow, **more)(acted)
            self.add_url_rule(path, view.__name__, stated, methods=["POST"])
            return stated

        return decorate


def sections_of(package: str) -> list[Section]:
    """Return the section of each module of the package and of the packages in it."""
    modules = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    return [import_module(each.name).section for each in modules if not each.ispkg]


def under_ui(path: str, sections: Iterable[Section]) -> Blueprint:
    """Return a blueprint with all these sections below this path."""
    ui = Blueprint("ui", __name__, url_prefix=path)
    for section in sections:
        ui.register_blueprint(section)
        if section.entry:
            MENU[section.name] = section.entry
        if section.within:
            WITHIN[section.name] = section.within
    return ui
