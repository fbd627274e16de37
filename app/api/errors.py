"""What goes wrong, as clients see it: one table from our errors to HTTP, and one shape for all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from haulier.domain.errors import (
    DatabaseUnavailable,
    HaulierError,
    InvalidTransition,
    JobNotFound,
    NotRetryable,
    SchemaMismatch,
    TooManyConnections,
)
from haulier.domain.job import Json
from haulier.kinds.sdk.payload import explain

from .envelope import REQUEST_ID
from .faults import MAX_FAULTS, cut, shown

log = logging.getLogger(__name__)

MAX_MESSAGE = 1000


class Malformed(HaulierError):
    """The body is not JSON that this API takes."""


class UnsupportedMediaType(HaulierError):
    """The body's type is not one that this API reads."""


class TooLarge(HaulierError):
    """The request is longer than this API takes."""


class Invalid(HaulierError):
    """The request does not fit.

    Shape: details mirrors the input, with a list of sentences at each place, but for those that were left out.
    """

    def __init__(
        self, details: Mapping[str, Json], message: str | None = None, *, most: int = MAX_FAULTS, left_out: int = 0
    ) -> None:
        self.details, more = shown(details, most)
        self.left_out = left_out + more
        said = cut(message or f"the request does not fit: {explain(self.details)}", MAX_MESSAGE)
        super().__init__(f"{said} ({self.left_out} more faults are not shown)" if self.left_out else said)

    def shortened(self, most: int) -> Invalid:
        """Return the same with fewer faults."""
        return Invalid(self.details, most=most, left_out=self.left_out)


class IdempotencyMismatch(Invalid):
    """The idempotency key stands for another request."""


class IdempotencyGone(HaulierError):
    """The idempotency key is known, but its job is no longer kept."""


class Refusal(HaulierError):
    """The caller may not do this. Shape: headers belong to the answer."""

    def __init__(self, message: str, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(message)


class Unauthorized(Refusal):
    """The call needs an API key, or one that is good."""

    def __init__(self, message: str, *, is_known: bool = True) -> None:
        # RFC 6750: a request without a key is not told of an error.
        more = "" if is_known else ', error="invalid_token"'
        super().__init__(message, WWW_Authenticate=f'Bearer realm="haulier"{more}')


class Forbidden(Refusal):
    """The caller is known, and may not do this."""

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        lacks = f'Bearer realm="haulier", error="insufficient_scope", scope="{scope}"'
        super().__init__(message, **({} if scope is None else {"WWW_Authenticate": lacks}))


class RateLimited(Refusal):
    """Too much was asked for in this time. Units: seconds until it may be asked again."""

    def __init__(self, seconds: int, message: str = "this API key has used up its rate for now") -> None:
        super().__init__(message, Retry_After=str(seconds))


class Busy(HaulierError):
    """Large requests that came before take all the room there is for such; try again."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """How an error is answered. Units: retry_after is seconds."""

    status: HTTPStatus
    slug: str
    retry_after: int | None = None


ANSWERS: dict[type[Exception], ErrorAnswer] = {
    Malformed: ErrorAnswer(HTTPStatus.BAD_REQUEST, "malformed"),
    Unauthorized: ErrorAnswer(HTTPStatus.UNAUTHORIZED, "unauthorized"),
    Forbidden: ErrorAnswer(HTTPStatus.FORBIDDEN, "forbidden"),
    JobNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    InvalidTransition: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    NotRetryable: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    IdempotencyGone: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    TooLarge: ErrorAnswer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    UnsupportedMediaType: ErrorAnswer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
    IdempotencyMismatch: ErrorAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_mismatch"),
    Invalid: ErrorAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, "validation"),
    RateLimited: ErrorAnswer(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited"),
    TooManyConnections: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=1),
    DatabaseUnavailable: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=5),
    Busy: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=1),
    SchemaMismatch: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=30),
    Exception: ErrorAnswer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
}

# For what Flask itself refuses: no such path, another method.
SLUGS = {
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    **{answer.status: answer.slug for kind, answer in ANSWERS.items() if kind is not IdempotencyMismatch},
}


def answer_to(error: Exception) -> ErrorAnswer:
    """Return the row of the table for this error, or for the nearest of its ancestors."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def body_of(error: Exception) -> dict[str, Json]:
    """Return what a client may know of the error; of one of ours the sentence, of any other nothing."""
    answer = answer_to(error)
    if answer.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return {"error": "internal", "message": "internal server error"}
    body: dict[str, Json] = {"error": answer.slug, "message": str(error)}
    if isinstance(error, Invalid):
        body["details"] = error.details
    return body


def register(app: Flask) -> None:
    """Answer every error of this application in the one shape."""
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    answer = answer_to(error)
    if answer.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", exc_info=error)
    elif answer.status is HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("unavailable: %s%s", error, f" ({error.__cause__})" if error.__cause__ else "")
    response = _response(body_of(error), answer.status)
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    if isinstance(error, Refusal):
        response.headers.update(error.headers)
    return response


def answer_http(error: HTTPException) -> Response:
    """Return the answer to what Flask itself refuses, with the headers that it asks for (such as Allow)."""
    status = HTTPStatus(error.code or 500)
    if status >= 500:
        return _answer(error)
    message = "no such path" if status is HTTPStatus.NOT_FOUND else status.phrase.lower()
    response = _response({"error": SLUGS.get(status, "malformed"), "message": message}, status)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _response(body: dict[str, Json], status: HTTPStatus) -> Response:
    response = jsonify({**body, "request_id": request.environ[REQUEST_ID]})
    response.status_code = status
    return response
