"""The HTTP API: a mouth of the queue. It turns requests into calls of `produce`, and jobs into JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response
from flask.json.provider import DefaultJSONProvider
from werkzeug.datastructures import Headers
from werkzeug.routing import MapAdapter

from haulier.config import Config
from haulier.kinds import load_kinds
from haulier.postgres.database import Database

from . import auth, batch, docs, envelope, errors, health, jobs, kinds, metrics
from .openapi import document, make_api
from .queue_names import QueueNames
from .reading import MAX_BODY_BYTES
from .request_schemas import CreateJobRequest
from .response_schemas import as_json
from .service import CheckedDatabase, Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class _Printer(DefaultJSONProvider):
    def dumps(self, obj: Any, **_: Any) -> str:
        """Return the JSON, by an encoder that was made once."""
        return as_json(obj)


class _Response(Response):
    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """Return the headers, with the length; werkzeug would copy them, and look for letters beyond ASCII in paths."""
        body = self.response
        if self.status_code in (204, 304) or not isinstance(body, list) or len(body) != 1 or type(body[0]) is not bytes:
            return super().get_wsgi_headers(environ)
        if "Content-Length" not in self.headers:
            self.headers.add("Content-Length", str(len(body[0])))
        return self.headers


class _App(Flask):
    json_provider_class = _Printer
    response_class = _Response

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what finds the view by the path alone; werkzeug would study the Host first, for redirects and URLs."""
        if request is None:
            return super().create_url_adapter(request)
        scheme, method = request.scheme, request.method
        return MapAdapter(self.url_map, "", request.root_path, "", scheme, request.path, method)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none is async, and to ask it of each that a request passes through takes time."""
        return func


def build(config: Config) -> Flask:
    """Return the application; it opens no connection before its first request, so that it may be forked.

    Raises: ConfigError for a kind that cannot be loaded.
    """
    known = load_kinds(config)
    database = CheckedDatabase(Database(config.database_url, application_name="haulier web"))
    service = Service(config, known, CreateJobRequest(known), database, QueueNames(config))

    app = _App(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A path that is not quite right is no path, rather than a redirect that drops the body.
    app.url_map.merge_slashes = False
    app.extensions["haulier"] = service

    app.wsgi_app = envelope.around(app.wsgi_app)  # type: ignore[assignment, method-assign]
    metrics.register(app)
    auth.register(app, service)
    api = make_api(app, service)
    errors.register(app)
    for blueprint in (jobs.blp, batch.blp, kinds.blp, health.blp, metrics.blp):
        api.register_blueprint(blueprint)
    app.register_blueprint(docs.blp)
    app.extensions["haulier_openapi"] = document(api, service)
    return app
