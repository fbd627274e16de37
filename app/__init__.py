"""Haulier: durable background jobs over HTTP, on the Postgres you already run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Config

__version__ = "0.1.0"


def create_app(config: Config | None = None) -> Flask:
    """Return the WSGI application; gunicorn calls it as `app:create_app()`."""
    # Imported here, because `import app.queue` runs this file and the worker must not load Flask.
    from app.api import build
    from app.config import Config

    return build(config or Config.from_env())
