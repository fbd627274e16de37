"""Haulier for a web application of your own: `from haulier.wsgi import application`. docs/mount.md shows how."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    application: WSGIApplication


def __getattr__(name: str) -> Any:
    """Return `application`. Flask is loaded only now, because workers import this package without it."""
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A wheel has the application inside this package, a checkout beside it.
    package = "haulier.app" if find_spec("haulier.app") else "app"
    try:
        return import_module(f"{package}.mount").application
    except ModuleNotFoundError as error:
        raise ImportError(
            f"haulier.wsgi needs the extra `server` ({error.name} is missing): see docs/mount.md"
        ) from error
