"""The schemas of responses. They print without the database."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from haulier.requests.fields import ANY_FIELDS, Time, about

from ...http.json_text import as_json


def instant(description: str, *, nullable: bool = False) -> Time:
    """Return a field of an answer for a time."""
    return Time(required=True, allow_none=nullable, metadata=about(description, type="string", format="date-time"))


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
    is_exact = fields.Boolean(required=True, metadata=about("Whether these are all of them; else there may be more."))
    at = instant("When there were so many.")


class CancelResponse(ResponseSchema):
    """The answer to a cancel."""

    status = fields.String(
        required=True,
        validate=validate.OneOf(["cancelled", "pending"]),
        metadata=about("`cancelled`: it will not run. `pending`: it is running and was asked to stop."),
    )
    job_id = fields.UUID(required=True, metadata={"x-component": "JobId"})


class BatchItem(ResponseSchema):
    """One job of a batch that was stored."""

    index = fields.Integer(required=True, metadata=about("Its place in the request, from 0."))
    id = fields.UUID(required=True, metadata={"x-component": "JobId"})
    replayed = fields.Boolean(required=True, metadata=about("Its idempotency key was known: this is the job of then."))


class BatchResponse(ResponseSchema):
    """The answer to an atomic batch."""

    created = fields.Integer(required=True)
    replayed = fields.Integer(required=True)
    jobs = fields.List(fields.Nested(BatchItem), required=True)


class BatchOutcome(ResponseSchema):
    """The answer about one job of a batch that is not atomic: an id, or an error."""

    index = fields.Integer(required=True, metadata=about("Its place in the request, from 0."))
    status = fields.Integer(required=True, metadata=about("As POST /jobs would have answered."))
    id = fields.UUID(metadata={"x-component": "JobId"})
    error = fields.String()
    message = fields.String()
    details = fields.Raw(metadata=ANY_FIELDS)


class BatchOutcomes(ResponseSchema):
    """The answer to a batch that is not atomic."""

    items = fields.List(fields.Nested(BatchOutcome), required=True)
    unexplained = fields.Integer(
        metadata=about("How many jobs were refused without `details`: those after the first 100. Absent for none.")
    )


class RetryRule(ResponseSchema):
    """Decorrelated jitter: each wait is drawn from base to three times the last one, and is at most cap."""

    base_seconds = fields.Float(required=True)
    cap_seconds = fields.Float(required=True)


class KindResponse(ResponseSchema):
    """A kind of job that can be enqueued here."""

    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    payload_schema = fields.Raw(required=True, metadata=about("JSON Schema of the payload.", **ANY_FIELDS))
    timeout_seconds = fields.Integer(
        required=True,
        allow_none=True,
        metadata=about("How long an attempt may run unless the job says; null: for ever."),
    )
    retry = fields.Nested(RetryRule, required=True)


class HealthResponse(ResponseSchema):
    """The answer of a healthy service."""

    status = fields.String(required=True, validate=validate.Equal("ok"))
    version = fields.String(metadata=about("Of the program. GET /health/live does not say it.", example="1.0.0"))
    warnings = fields.List(
        fields.String(), metadata={"description": "What an operator should look at; absent where there is nothing."}
    )


class ErrorBody(ResponseSchema):
    """The body of every error."""

    error = fields.String(required=True, metadata=about("What kind of error, for programs.", example="not_found"))
    message = fields.String(required=True, metadata=about("One sentence, for people."))
    details = fields.Raw(
        metadata=about("On 422: the input's own shape, with a list of sentences at each fault.", **ANY_FIELDS)
    )
    request_id = fields.String(required=True, metadata=about("As the header X-Request-Id and in the service's log."))
