"""What every response carries, whatever it says: a request id and the headers of every one; and the line in the log.

Around Flask rather than in it: each of its hooks and headers costs every request more than all that is done here.
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

# Where the request's id stands in its environment.
REQUEST_ID = "haulier.request_id"
# And the id of the API key that it showed, once that is known to be good.
API_KEY = "haulier.api_key"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,200}")


def around(app: WSGIApplication) -> WSGIApplication:
    """Return the application with an id, the standard headers and a line in the log for each request."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.monotonic()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        # It must be nobody else's, but may be guessed.
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        environ[REQUEST_ID] = request_id

        def start(status: str, sent: list[tuple[str, str]], *rest: Any) -> Any:
            _write_line(environ, status, began)
            return start_response(status, [*with_standard(sent), ("X-Request-Id", request_id)], *rest)

        # gunicorn's threads live on, and the next request's first lines must not carry this one's id.
        with logs.bound(request_id=request_id):
            return app(environ, start)

    return answer


def _write_line(environ: WSGIEnvironment, status: str, began: float) -> None:
    route, code = environ.get(ROUTE), status[:3]
    # Of what machines ask every few seconds, a line each would be most of the log.
    level = logging.DEBUG if route is not None and route.is_quiet and code < "400" else logging.INFO
    if log.isEnabledFor(level):
        # The path without its query, which may hold what is nobody's business.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        spent = (time.monotonic() - began) * 1000
        # Not log.log, which would look up where in the code it was called, and that is here.
        said = (environ["REQUEST_METHOD"], path, code, spent)
        who = {"api_key": environ.get(API_KEY, "-"), "peer": environ.get("REMOTE_ADDR") or "-"}
        log.handle(log.makeRecord(log.name, level, __file__, 0, "%s %s %s in %.1f ms", said, None, extra=who))
