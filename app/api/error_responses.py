"""Errors as clients of the API see them: one shape for all, and the two errors of idempotency keys."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from haulier.domain.errors import HaulierError, RowRefused, reason
from haulier.domain.job import Json
from haulier.requests.invalid import Invalid

from ..http import request_errors
from ..http.request_errors import SLUGS, ErrorAnswer, Refusal
from ..http.request_log import REQUEST_ID

log = logging.getLogger(__name__)


class IdempotencyMismatch(Invalid):
    """The idempotency key was used for a different request."""

    def __init__(self, details: Mapping[str, Json] | None = None) -> None:
        super().__init__(details or MISMATCHED, self.__doc__)


class JobsRefused(Invalid):
    """The database refuses jobs of the batch. `refused` is by their index."""

    def __init__(self, refused: Mapping[int, RowRefused], count: int) -> None:
        details = {str(index): [str(error)] for index, error in refused.items()}
        first = next(iter(refused.values()))
        super().__init__(details, f"the database refuses {len(refused)} of {count} jobs, so none was stored: {first}")


class IdempotencyGone(HaulierError):
    """The idempotency key was used before, but its job is no longer kept."""


MISMATCHED: Mapping[str, Json] = {"idempotency_key": ["Was used for a different request."]}

ANSWERS: dict[type[Exception], ErrorAnswer] = {
    **request_errors.ANSWERS,
    IdempotencyGone: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    IdempotencyMismatch: ErrorAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_mismatch"),
    JobsRefused: ErrorAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, "refused_by_database"),
}


def answer_to(error: Exception) -> ErrorAnswer:
    """Return how the API answers this error."""
    return request_errors.answer_to(error, ANSWERS)


def body_of(error: Exception) -> dict[str, Json]:
    """Return what a client may know of the error: the sentence of a known one, nothing of any other."""
    answer = answer_to(error)
    if answer.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return {"error": "internal", "message": "internal server error"}
    body: dict[str, Json] = {"error": answer.slug, "message": str(error)}
    if isinstance(error, Invalid):
        body["details"] = error.details
    if isinstance(error, RowRefused):
        # It is not known at which field.
        body["details"] = {"_schema": [str(error)]}
    return body


def register(app: Flask) -> None:
    """Have the application answer every error in this one shape."""
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    answer = answer_to(error)
    if answer.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", exc_info=error)
    elif answer.status is HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("unavailable: %s%s", error, f" ({reason(error)})" if error.__cause__ else "")
    elif isinstance(error, (RowRefused, JobsRefused)):
        log.warning("refused by the database: %s", error)
    response = _response(body_of(error), answer.status)
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    if isinstance(error, Refusal):
        response.headers.update(error.headers)
    return response


def answer_http(error: HTTPException) -> Response:
    """Return the answer to a request that Flask itself refuses, with the error's own headers (such as Allow)."""
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
