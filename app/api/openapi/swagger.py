"""Serves the OpenAPI document and Swagger UI, with every file from this service, for networks without internet."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, current_app, redirect, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from ...http.json_text import as_json
from ...http.own_path import own_path
from ...http.routes import Entry, needs

ASSETS = Path(__file__).parents[1] / "assets"
# Swagger UI's files change only with a release.
ASSET_SECONDS = 3600

blp = Blueprint("docs", __name__)
home = Blueprint("home", __name__)


@cache
def swagger_ui() -> Path:
    """Return the folder of Swagger UI's files; their package is located without being imported."""
    found = importlib.util.find_spec("flask_swagger_ui")
    assert found is not None, "flask-swagger-ui is not installed"
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0], "dist")


@home.route("/")
@needs(Entry.ANY_KEY)
def to_docs() -> AnyResponse:
    """Redirect to the documentation."""
    return redirect(own_path("/docs"))


@blp.route("/docs")
@needs(Entry.READERS)
def docs() -> Response:
    """Return the page of Swagger UI."""
    return Response((ASSETS / "docs.html").read_text(encoding="utf-8"), content_type="text/html; charset=utf-8")


@blp.route("/docs/docs.js")
@needs(Entry.READERS)
def docs_script() -> Response:
    """Return the script that starts the page."""
    return Response((ASSETS / "docs.js").read_text(encoding="utf-8"), content_type="text/javascript; charset=utf-8")


@blp.route("/docs/assets/<path:name>")
@needs(Entry.READERS)
def asset(name: str) -> Response:
    """Return one of Swagger UI's own files."""
    return send_from_directory(swagger_ui(), name, conditional=False, etag=False, max_age=ASSET_SECONDS)


@blp.route("/api-docs/openapi.json")
@needs(Entry.READERS)
def openapi_json() -> Response:
    """Return the OpenAPI document."""
    document: bytes = current_app.extensions["haulier_openapi"]
    if root := own_path(""):
        # Without `servers`, the paths would begin at the host's own root.
        document = b'{"servers":' + as_json([{"url": root}]).encode() + b"," + document.removeprefix(b"{")
    return Response(document, content_type="application/json")


@blp.route("/docs/")
@needs(Entry.READERS)
def to_page() -> AnyResponse:
    """Redirect to the page, from where other frameworks have it."""
    return redirect(own_path("/docs"))


@blp.route("/openapi.json")
@blp.route("/swagger.json")
@needs(Entry.READERS)
def to_document() -> AnyResponse:
    """Redirect to the OpenAPI document, from where other frameworks have it."""
    return redirect(own_path("/api-docs/openapi.json"))
