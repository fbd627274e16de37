"""Adds to every response a request id and the standard headers, and writes its line in the log.

The headers keep a browser from using an answer in a way that it was not meant for. There are none for CORS: no other
site's page may read this API.

Around Flask and not in it: a single hook or header of Flask costs a request more than all that is done here.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from haulier import logs

from .routes import ROUTE, RULE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


# For answers that are no pages: if a browser shows one all the same, the answer loads, runs and embeds nothing.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# For our pages: everything comes from this service, and the page holds no inline script or style.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# An answer may be out of date a moment later.
NOT_KEPT = ("Cache-Control", "no-store")
ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    # Paths hold the ids of jobs.
    ("Referrer-Policy", "no-referrer"),
    # For browsers that do not know frame-ancestors.
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
ON_DATA = (*ALWAYS, ("Content-Security-Policy", DATA_POLICY))
POLICY = "Content-Security-Policy"
ON_PAGES = (
    *ALWAYS,
    (POLICY, PAGE_POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


def with_standard(sent: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of a response, with the standard ones added; a page is known by its content type.

    A page that brings its own policy keeps what it brings.

    Pairs of name and value, as in WSGI; adding them in werkzeug takes ten times as long.
    """
    types = [value for name, value in sent if name == "Content-Type"]
    is_kept = any(name == "Cache-Control" for name, _ in sent)
    standard: tuple[tuple[str, str], ...] = ON_DATA
    if types and types[0].startswith("text/html"):
        names = {name for name, _ in sent}
        standard = tuple(each for each in ON_PAGES if each[0] not in names) if POLICY in names else ON_PAGES
    return [*sent, *standard] if is_kept else [*sent, *standard, NOT_KEPT]


log = logging.getLogger(__name__)

# The key of the request's id in its WSGI environment.
REQUEST_ID = "haulier.request_id"
# The key of its API key's id, which is there once the API key has been accepted.
API_KEY = "haulier.api_key"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,200}")


# Takes an answered request's method, rule ("none" if it matches no route), status, and seconds.
Count = Callable[[str, str, str, float], None]


def around(app: WSGIApplication, count: Count) -> WSGIApplication:
    """Return the application with an id, the standard headers, a count and a line in the log for each request."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.monotonic()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        # Random and fast, but not secret: an id must be unique, and may be guessed.
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        environ[REQUEST_ID] = request_id

        def start(status: str, sent: list[tuple[str, str]], *rest: Any) -> Any:
            seconds = time.monotonic() - began
            # Never the path: a label must have few values.
            count(environ["REQUEST_METHOD"], environ.get(RULE, "none"), status[:3], seconds)
            _write_line(environ, status, seconds)
            return start_response(status, [*with_standard(sent), ("X-Request-Id", request_id)], *rest)

        # Unbound at the end: gunicorn's threads are reused, and the next request's first lines must not carry this id.
        with logs.bound(request_id=request_id):
            return app(environ, start)

    return answer


def _write_line(environ: WSGIEnvironment, status: str, seconds: float) -> None:
    route, code = environ.get(ROUTE), status[:3]
    # Quiet routes are called by machines every few seconds: their lines would be most of the log.
    level = logging.DEBUG if route is not None and route.is_quiet and code < "400" else logging.INFO
    if log.isEnabledFor(level):
        # The path without its query, which may hold private data.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        # Not log.log, which would take time to find the line of code that called it.
        said = (environ["REQUEST_METHOD"], path, code, seconds * 1000)
        who = {"api_key": environ.get(API_KEY, "-"), "peer": environ.get("REMOTE_ADDR") or "-"}
        log.handle(log.makeRecord(log.name, level, __file__, 0, "%s %s %s in %.1f ms", said, None, extra=who))
