"""The errors of requests, and one table that gives every error its HTTP status and slug."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from haulier.domain.errors import (
    DatabaseUnavailable,
    ErrorGroupNotFound,
    HaulierError,
    InvalidTransition,
    JobChanged,
    JobNotFound,
    KeyElsewhere,
    KeyExists,
    KeyMoved,
    KeyNotFound,
    KeyRotated,
    KeysNotAllowed,
    NotRetryable,
    OperationConflict,
    OperationNotFound,
    QueueNotFound,
    RowRefused,
    ScheduleBehind,
    ScheduleBusy,
    ScheduleNotFound,
    ScheduleOfFile,
    SchemaMismatch,
    TooManyConnections,
    TooManyOperations,
    TooManyPauses,
    WorkerNotFound,
)
from haulier.requests.invalid import Invalid, Malformed, TooLarge


class UnsupportedMediaType(HaulierError):
    """The body's type is not one that this API reads."""


class Refusal(HaulierError):
    """The caller may not do this. `headers` belong to the answer."""

    def __init__(self, message: str, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(message)


class Unauthorized(Refusal):
    """The call needs an API key, or one that is good."""

    def __init__(self, message: str, *, is_known: bool = True) -> None:
        # RFC 6750: the answer to a request without a key names no error.
        more = "" if is_known else ', error="invalid_token"'
        super().__init__(message, WWW_Authenticate=f'Bearer realm="haulier"{more}')


class Forbidden(Refusal):
    """The caller is known, and may not do this."""

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        lacks = f'Bearer realm="haulier", error="insufficient_scope", scope="{scope}"'
        super().__init__(message, **({} if scope is None else {"WWW_Authenticate": lacks}))


class ForeignPage(Forbidden):
    """Another site's page has sent the request."""

    def __init__(self) -> None:
        super().__init__(
            "the header Sec-Fetch-Site or Origin says that a page of another site sent this request: such requests"
            " need an API key"
        )


class RateLimited(Refusal):
    """Too much was asked for in this time. Units: seconds until it may be asked again."""

    def __init__(self, seconds: int, message: str = "this API key has reached its rate limit") -> None:
        self.seconds = seconds
        super().__init__(message, Retry_After=str(seconds))


class TooBusy(HaulierError):
    """This process answers as many slow requests as it may at once; try again."""


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
    QueueNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    ErrorGroupNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    KeyNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    WorkerNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    OperationNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    ScheduleNotFound: ErrorAnswer(HTTPStatus.NOT_FOUND, "not_found"),
    ScheduleBusy: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    ScheduleOfFile: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    InvalidTransition: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    OperationConflict: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    TooManyOperations: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    KeyExists: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    KeyRotated: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    KeyElsewhere: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    NotRetryable: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    JobChanged: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    KeysNotAllowed: ErrorAnswer(HTTPStatus.FORBIDDEN, "forbidden"),
    TooManyPauses: ErrorAnswer(HTTPStatus.CONFLICT, "conflict"),
    TooLarge: ErrorAnswer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    UnsupportedMediaType: ErrorAnswer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
    Invalid: ErrorAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, "validation"),
    RowRefused: ErrorAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, "refused_by_database"),
    RateLimited: ErrorAnswer(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited"),
    TooManyConnections: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=1),
    DatabaseUnavailable: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=5),
    KeyMoved: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=1),
    ScheduleBehind: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=1),
    TooBusy: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=1),
    SchemaMismatch: ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", retry_after=30),
    Exception: ErrorAnswer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
}

# For requests that Flask itself refuses: an unknown path, another method.
SLUGS = {
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    **{answer.status: answer.slug for answer in ANSWERS.values()},
}


def answer_to(error: Exception, answers: Mapping[type[Exception], ErrorAnswer] = ANSWERS) -> ErrorAnswer:
    """Return the row of the table for this error's class, or for the nearest of its base classes."""
    return next(answers[kind] for kind in type(error).__mro__ if kind in answers)
