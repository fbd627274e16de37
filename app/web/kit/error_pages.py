"""Answer errors with a page that says what is wrong and what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from flask import Blueprint, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from haulier.domain.errors import DatabaseUnavailable, RowRefused, reason

from ...http.own_path import own_path
from ...http.request_errors import ANSWERS, ErrorAnswer, ForeignPage, RateLimited, Refusal, answer_to
from ...http.request_log import REQUEST_ID
from .flash import NOTHING
from .page import Page, whole
from .permissions import permissions
from .reading import LIVE
from .refusals import NotHere, TooOld

log = logging.getLogger(__name__)

OWN = {
    **ANSWERS,
    TooOld: ErrorAnswer(HTTPStatus.FORBIDDEN, "forbidden"),
    NotHere: ErrorAnswer(HTTPStatus.FORBIDDEN, "forbidden"),
}
# Headings of errors that say more than their status.
OF_ERRORS: Mapping[type[Exception], str] = {
    TooOld: "This page has expired",
    ForeignPage: "This came from another site",
    NotHere: "Not available here",
    RowRefused: "The database refused this",
}
HEADINGS = {
    400: "Invalid request",
    401: "An API key is required",
    403: "This key may not do that",
    404: "Not found",
    405: "Not found",
    409: "Not possible now",
    413: "Too large",
    422: "Invalid input",
    429: "Too many requests",
    503: "Temporarily unavailable",
}


def register(ui: Blueprint) -> None:
    """Answer every error of the dashboard with a page."""
    ui.register_error_handler(HTTPException, _answer_http)
    ui.register_error_handler(Exception, _answer)


def _answer_http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    if status >= 500:
        return _answer(error)
    response = _page(status, error.description or status.phrase)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _answer(error: Exception) -> Response:
    found = answer_to(error, OWN)
    if found.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", exc_info=error)
        return _page(found.status, "Something went wrong. See the log of the API for this request id.")
    if isinstance(error, RowRefused):
        log.warning("refused by the database: %s", error)
    if found.status is HTTPStatus.SERVICE_UNAVAILABLE and isinstance(error, DatabaseUnavailable):
        log.warning("unavailable: %s%s", error, f" ({reason(error)})" if error.__cause__ else "")
    again = error.seconds if isinstance(error, RateLimited) else found.retry_after
    response = _page(found.status, str(error), again=again, error=error)
    if again is not None:
        response.headers["Retry-After"] = str(again)
    if isinstance(error, Refusal):
        response.headers.update(error.headers)
    return response


def _page(status: HTTPStatus, message: str, *, again: int | None = None, error: Exception | None = None) -> Response:
    if LIVE in request.headers:
        # The script keeps its page and tries again.
        return Response(status=status)
    usual = HEADINGS.get(status, "Something went wrong")
    heading = usual if error is None else OF_ERRORS.get(type(error), usual)
    text = f"{message[:1].upper()}{message[1:]}"
    # Only a person may send a form again.
    repeats = again if request.method in ("GET", "HEAD") else None
    sentence = text if text.endswith((".", "?")) else f"{text}."
    is_old = isinstance(error, TooOld)
    request_id = str(request.environ.get(REQUEST_ID, ""))
    page = Page(
        "failure.html",
        heading,
        status=status,
        heading=heading,
        message=sentence,
        again=repeats,
        is_old=is_old,
        request_id=request_id,
        action=own_path(request.path),
        kept=_kept() if is_old else (),
    )
    return whole(page, page.main(), seen="", every=None, said=NOTHING, again=repeats)


def _kept() -> list[tuple[str, str]]:
    """Return the fields that the viewer may send again; none if the form has a secret."""
    if "key" in request.form or permissions().why_not(request.endpoint or "") is not None:
        return []
    return [(name, text) for name, text in request.form.items(multi=True) if name != "csrf"]
