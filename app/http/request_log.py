"""Adds to every response a request id and the standard headers, and writes its line in the log.

Around Flask and not in it: a single hook or header of Flask costs a request more than all that is done here.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from haulier import logs

from .headers import with_standard
from .routes import ROUTE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

# The key of the request's id in its WSGI environment.
REQUEST_ID = "haulier.request_id"
# The key of its API key's id, which is there once the API key has been accepted.
API_KEY = "haulier.api_key"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,200}")


def around(app: WSGIApplication) -> WSGIApplication:
    """Return the application with an id, the standard headers and a line in the log for each request."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.monotonic()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        # Random and fast, but not secret: an id must be unique, and may be guessed.
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        environ[REQUEST_ID] = request_id

        def start(status: str, sent: list[tuple[str, str]], *rest: Any) -> Any:
            _write_line(environ, status, began)
            return start_response(status, [*with_standard(sent), ("X-Request-Id", request_id)], *rest)

        # Unbound at the end: gunicorn's threads live on, and the next request's first lines must not carry this id.
        with logs.bound(request_id=request_id):
            return app(environ, start)

    return answer


def _write_line(environ: WSGIEnvironment, status: str, began: float) -> None:
    route, code = environ.get(ROUTE), status[:3]
    # Quiet routes are called by machines every few seconds: their lines would be most of the log.
    level = logging.DEBUG if route is not None and route.is_quiet and code < "400" else logging.INFO
    if log.isEnabledFor(level):
        # The path without its query, which may hold private data.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        spent = (time.monotonic() - began) * 1000
        # Not log.log, which would take time to find the line of code that called it.
        said = (environ["REQUEST_METHOD"], path, code, spent)
        who = {"api_key": environ.get(API_KEY, "-"), "peer": environ.get("REMOTE_ADDR") or "-"}
        log.handle(log.makeRecord(log.name, level, __file__, 0, "%s %s %s in %.1f ms", said, None, extra=who))
