"""The WSGI application, whatever its views are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers
from werkzeug.routing import MapAdapter

from haulier.config import Config
from haulier.kinds import load_kinds
from haulier.postgres.pool import BoundedPool, Pool

from . import auth, request_log
from .json_text import as_json
from .queue_names import QueueNames
from .routes import BODY_BYTES, longer_bodies, routes_of
from .service import CheckedDatabase, Service, current_request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class _Printer(DefaultJSONProvider):
    def dumps(self, obj: Any, **_: Any) -> str:
        """Return the JSON, by an encoder that was made once."""
        return as_json(obj)


class _Request(Request):
    # An attribute, because a view sets it: Flask's own has a setter only from 3.1 on.
    max_content_length: int | None = BODY_BYTES


class _Response(Response):
    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """Return the headers with the length; werkzeug would also copy them, and search paths for non-ASCII letters."""
        body = self.response
        if self.status_code in (204, 304) or not isinstance(body, list) or len(body) != 1 or type(body[0]) is not bytes:
            return super().get_wsgi_headers(environ)
        if "Content-Length" not in self.headers:
            self.headers.add("Content-Length", str(len(body[0])))
        return self.headers


class App(Flask):
    """Flask, without steps that cost every request time and that no request needs.

    `longer_bodies` is the result of routes.longer_bodies, for gunicorn's worker.
    """

    json_provider_class = _Printer
    request_class = _Request
    response_class = _Response
    longer_bodies: dict[tuple[str, str], int]
    # The entrances of a path each, and of all below it, instead of the API's.
    entrances: dict[str, auth.Entrance]
    # The methods of the classes of views, by HTTP method and endpoint.
    methods: dict[tuple[str, str | None], Callable[..., ResponseReturnValue]]
    # Counts an answered request.
    count: request_log.Count

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what finds the view, only by the path; werkzeug's own way also parses the Host, for redirects.

        Raises: EmptySegment.
        """
        if request is None:
            return super().create_url_adapter(request)
        # werkzeug drops slashes: it routes `//ui` as `/ui`, which is another path for a guard that reads PATH_INFO.
        # Without such paths every path has one reading.
        if "//" in request.environ.get("PATH_INFO", ""):
            raise auth.EmptySegment
        scheme, method = request.scheme, request.method
        return MapAdapter(self.url_map, "", request.root_path, "", scheme, request.path, method)

    def dispatch_request(self) -> ResponseReturnValue:
        """Return the view's answer; of a class of views the method, for which Flask makes an object each time."""
        current = current_request()
        view = self.methods.get((current.method, current.endpoint))
        return super().dispatch_request() if view is None else view(**current.view_args or {})

    def make_default_options_response(self) -> Response:
        """Return what OPTIONS answers: what the view of this path does, and not that of another which would fit too."""
        answer: Response = self.response_class()
        assert request.url_rule is not None
        answer.allow.update(request.url_rule.methods or ())
        return answer

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is: none is async, and checking each function of a request takes time."""
        return func


def make(config: Config, *parts: Callable[[App, Service], None]) -> App:
    """Return the application made of these parts, each of which registers its views.

    The application opens no connection before its first request, so that it may be forked.
    Raises: ConfigError for a kind that cannot be loaded.
    """
    service = Service(config, load_kinds(config), CheckedDatabase(_pool(config), config), QueueNames(config))
    app = App(__name__, static_folder=None)
    app.entrances = {}
    app.count = lambda *_: None
    # A path with a double slash is answered with 404, not with a redirect, which would drop the body.
    app.url_map.merge_slashes = False
    app.extensions["haulier"] = service
    for register in parts:
        register(app, service)
    app.methods = {
        (method, rule.endpoint): getattr(view.view_class(), method.lower())
        for rule in app.url_map.iter_rules()
        if hasattr(view := app.view_functions[rule.endpoint], "view_class")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    routes = routes_of(app)
    app.longer_bodies = longer_bodies(routes)
    auth.register(app, service, routes, app.entrances)
    app.wsgi_app = request_log.around(app.wsgi_app, app.count)  # type: ignore[assignment, method-assign]
    return app


def _pool(config: Config) -> Pool:
    # Our own server has WEB_THREADS threads. In another one, only the pool can see to it.
    if config.is_mounted:
        return BoundedPool(config.database_url, config.web_threads, application_name="haulier web")
    return Pool(config.database_url, application_name="haulier web")
