"""What every response carries, whatever it says: a request id, no caching; and the line in the log."""

from __future__ import annotations

import logging
import random
import re
import time

from flask import Flask, Response, g, request

from app import logs

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,200}")
# Asked every few seconds by machines: a line each would be most of the log.
QUIET_PATHS = {"/health", "/health/live", "/metrics"}


def register(app: Flask) -> None:
    """Give every request of this application its id, its headers and its line."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    # It must be nobody else's, but may be guessed.
    request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
    g.request_id, g.began = request_id, time.monotonic()
    logs.bind(request_id=request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("Cache-Control", "no-store")
    path = request.path
    quiet = path in QUIET_PATHS and response.status_code < 400
    level = logging.DEBUG if quiet else logging.INFO
    if log.isEnabledFor(level):
        # The path without its query, which may hold what is nobody's business.
        spent = (time.monotonic() - g.began) * 1000
        log.log(level, "%s %s %d in %.1f ms", request.method, path, response.status_code, spent)
    return response


def _forget(_: BaseException | None) -> None:
    # gunicorn's threads live on, and the next request's first lines must not carry this one's id.
    logs.bind()
