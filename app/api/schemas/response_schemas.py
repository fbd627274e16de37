"""The schemas of responses. They print without the database."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from haulier.domain.job import Json
from haulier.requests.fields import ANY_FIELDS, Time, about

from ...http.json_text import as_json


def instant(description: str, *, nullable: bool = False) -> Time:
    """Return a field of an answer for a time."""
    return Time(**always(description, nullable=nullable, type="string", format="date-time"))


def always(description: str, *, nullable: bool = False, **more: Json) -> dict[str, Any]:
    """Return the options of a field that every answer has."""
    return {"required": True, "allow_none": nullable, "metadata": about(description, **more)}


def amount(description: str, **options: Any) -> fields.Integer:
    """Return a field of an answer for how many there are."""
    return fields.Integer(**always(description, minimum=0), **options)


class ResponseSchema(Schema):
    """An answer of this API. A later release may add fields, which clients have to ignore."""

    class Meta:
        unknown = EXCLUDE

    def printed(self, shown: Any) -> bytes:
        """Return the value as JSON."""
        return as_json(self.dump(shown)).encode()


class CountResponse(ResponseSchema):
    """How many jobs there are."""

    count = fields.Integer(required=True, attribute="jobs")
    is_exact = fields.Boolean(**always("True if the count is exact; false: there may be more."))
    at = instant("Time of the count.")


class CancelResponse(ResponseSchema):
    """The answer to a cancel."""

    status = fields.String(
        validate=validate.OneOf(["cancelled", "pending"]),
        **always("`cancelled`: the job will not run. `pending`: it is running and was asked to stop."),
    )
    job_id = fields.UUID(required=True, metadata={"x-component": "JobId"})


class BatchItem(ResponseSchema):
    """One job of a batch that was stored."""

    index = fields.Integer(**always("Position in the request, starting at 0."))
    id = fields.UUID(required=True, metadata={"x-component": "JobId"})
    replayed = fields.Boolean(**always("The idempotency key was known: this is the existing job."))


class BatchResponse(ResponseSchema):
    """The answer to an atomic batch."""

    created = fields.Integer(required=True)
    replayed = fields.Integer(required=True)
    jobs = fields.List(fields.Nested(BatchItem), required=True)


class BatchOutcome(ResponseSchema):
    """The answer about one job of a batch that is not atomic: an id, or an error."""

    index = fields.Integer(**always("Position in the request, starting at 0."))
    status = fields.Integer(**always("Status that POST /jobs would have answered."))
    id = fields.UUID(metadata={"x-component": "JobId"})
    error = fields.String()
    message = fields.String()
    details = fields.Raw(metadata=ANY_FIELDS)


class BatchOutcomes(ResponseSchema):
    """The answer to a batch that is not atomic."""

    items = fields.List(fields.Nested(BatchOutcome), required=True)
    unexplained = fields.Integer(
        metadata=about("Number of refused jobs without `details`: those after the first 100. Absent if there are none.")
    )


class RetryRule(ResponseSchema):
    """Decorrelated jitter: each wait is drawn from base to three times the last one, and is at most cap."""

    base_seconds = fields.Float(required=True)
    cap_seconds = fields.Float(required=True)


class KindResponse(ResponseSchema):
    """A kind of job that can be enqueued here."""

    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    payload_schema = fields.Raw(**always("JSON Schema of the payload.", **ANY_FIELDS))
    timeout_seconds = fields.Integer(**always("Default time limit of one attempt; null: none.", nullable=True))
    retry = fields.Nested(RetryRule, required=True)


# Of a service with a number.
CELL = about("Number of this cell; absent if the database has none.", example=2)


class HealthResponse(ResponseSchema):
    """The answer of a healthy service."""

    status = fields.String(required=True, validate=validate.Equal("ok"))
    version = fields.String(metadata=about("Version of the program. Absent from GET /health/live.", example="1.0.0"))
    cell = fields.Integer(metadata=CELL)
    warnings = fields.List(
        fields.String(), metadata={"description": "Problems that an operator should look at; absent if there are none."}
    )


class ErrorBody(ResponseSchema):
    """The body of every error."""

    error = fields.String(**always("The error code, for programs.", example="not_found"))
    message = fields.String(**always("One sentence for humans."))
    details = fields.Raw(
        metadata=about("Only for 422: mirrors the input, with a list of messages at each invalid field.", **ANY_FIELDS)
    )
    request_id = fields.String(**always("Same as the header X-Request-Id, and as in the log of the service."))
