"""The Flask application: the HTTP API and the dashboard. All else is in the package haulier, which imports no Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from haulier.config import Config


def create_app(config: Config | None = None) -> Flask:
    """Return the WSGI application; gunicorn calls it as `app:create_app()`."""
    # Imported here, because gunicorn's master runs this file, and only the processes that it forks need Flask.
    from haulier.config import Config

    from .site import build

    return build(config or Config.from_env())
