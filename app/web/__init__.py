"""The dashboard: pages at /ui, rendered on the server with the same functions that the API calls.

To add a page, add a module to `pages` that has a `section`, and its template. Nothing else knows of it.
"""

from __future__ import annotations

from flask import redirect
from werkzeug.wrappers import Response

from ..http.application import App
from ..http.own_path import own_path
from ..http.routes import Entry, needs
from ..http.service import Service
from .kit import error_pages, page, static_files
from .kit.gate import Gate
from .kit.permissions import Permissions
from .kit.section import sections_of, under_ui

PATH = "/ui"


def register(app: App, service: Service) -> None:
    """Add the dashboard to the application, and redirect `/` to it."""
    ui = under_ui(PATH, sections_of(f"{__name__}.pages"))
    static_files.register(ui)
    error_pages.register(ui)
    page.register(ui)
    app.add_url_rule("/", "ui_home", _home)
    app.register_blueprint(ui)
    app.extensions["haulier_permissions"] = Permissions(app, is_read_only=service.config.dashboard == "read")
    app.entrances[PATH] = Gate(service.config)


@needs(Entry.ANYONE)
def _home() -> Response:
    return redirect(own_path(PATH))
