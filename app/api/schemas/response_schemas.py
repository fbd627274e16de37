"""The shapes of responses. They print, and ask nobody."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from haulier.queue.rows import StoredJob

from ...http.json_text import as_json
from .fields import Time, about, time_text


class ResponseSchema(Schema):
    """What we say. A later release may say more, and a client must not mind."""

    class Meta:
        unknown = EXCLUDE

    def printed(self, shown: Any) -> bytes:
        """Return what is shown, as JSON."""
        return as_json(self.dump(shown)).encode()


class JobError(ResponseSchema):
    """One failed attempt."""

    attempt = fields.Integer(required=True)
    at = fields.String(required=True, metadata={"format": "date-time"})
    error = fields.String(required=True)


def _time(description: str, *, nullable: bool = False) -> Time:
    return Time(required=True, allow_none=nullable, metadata=about(description, type="string", format="date-time"))


class JobResponse(ResponseSchema):
    """A job, live or finished."""

    id = fields.UUID(required=True, metadata={"x-component": "JobId"})
    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    status = fields.String(required=True, metadata={"x-component": "JobStatus"})
    attempts = fields.Integer(
        required=True, metadata=about("Charged attempts: 1 during and after a first run.", minimum=0)
    )
    max_attempts = fields.Integer(required=True, metadata=about("A failed run with `attempts` this high is final."))
    last_error = fields.String(
        required=True,
        allow_none=True,
        metadata=about("Of the last failed attempt, at most 4 KiB; kept after a success."),
    )
    payload = fields.Raw(required=True, metadata=about("As it was given.", type="object"))
    run_at = _time("When the job is or was due.")
    created_at = _time("When the job was accepted.")
    updated_at = _time("When the job last changed.")
    idempotency_key = fields.String(required=True, allow_none=True)
    queue = fields.String(required=True)
    priority = fields.Integer(required=True)
    timeout_seconds = fields.Integer(required=True, allow_none=True, metadata=about("Null: the kind's own."))
    cancel_requested = fields.Boolean(required=True)
    started_at = _time("When the last attempt began.", nullable=True)
    finished_at = _time("When the job ended.", nullable=True)
    result = fields.Raw(required=True, metadata=about("What the handler returned: any JSON, at most 64 KiB."))
    errors = fields.Raw(
        required=True,
        metadata=about(
            "The last 20 failed attempts, oldest first.", type="array", items={"$ref": "#/components/schemas/JobError"}
        ),
    )

    def printed(self, shown: Any) -> bytes:
        """Return a job, or many, as JSON; marshmallow's own way would take ten times as long."""
        if not self.many:
            return b"".join(_pieces(shown))
        pieces: list[bytes] = []
        for job in shown:
            pieces += (b"," if pieces else b"[", *_pieces(job))
        return b"".join([*pieces, b"]"]) if pieces else b"[]"


def _pieces(job: StoredJob) -> tuple[bytes, ...]:
    # What is JSON already is handed on as it is: as objects it can take thirty times the room.
    head = as_json(
        {
            "id": str(job.id),
            "kind": job.kind,
            "status": job.status,
            "attempts": job.attempts,
            "max_attempts": job.max_attempts,
            "last_error": job.last_error,
        }
    )
    tail = as_json(
        {
            "run_at": time_text(job.run_at),
            "created_at": time_text(job.created_at),
            "updated_at": time_text(job.updated_at),
            "idempotency_key": job.idempotency_key,
            "queue": job.queue,
            "priority": job.priority,
            "timeout_seconds": job.timeout_seconds,
            "cancel_requested": job.cancel_requested,
            "started_at": job.started_at and time_text(job.started_at),
            "finished_at": job.finished_at and time_text(job.finished_at),
        }
    )
    return (
        f'{head[:-1]},"payload":'.encode(),
        job.payload_text,
        f',{tail[1:-1]},"result":'.encode(),
        job.result_text,
        b',"errors":',
        job.errors_text,
        b"}",
    )


class CancelResponse(ResponseSchema):
    """What a cancel did."""

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
    """What an atomic batch did."""

    created = fields.Integer(required=True)
    replayed = fields.Integer(required=True)
    jobs = fields.List(fields.Nested(BatchItem), required=True)


class BatchOutcome(ResponseSchema):
    """What became of one job of a batch that is not atomic: an id, or an error."""

    index = fields.Integer(required=True, metadata=about("Its place in the request, from 0."))
    status = fields.Integer(required=True, metadata=about("As POST /jobs would have answered."))
    id = fields.UUID(metadata={"x-component": "JobId"})
    error = fields.String()
    message = fields.String()
    details = fields.Raw(metadata={"type": "object"})


class BatchOutcomes(ResponseSchema):
    """What a batch that is not atomic did."""

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
    payload_schema = fields.Raw(required=True, metadata=about("JSON Schema of the payload.", type="object"))
    timeout_seconds = fields.Integer(
        required=True,
        allow_none=True,
        metadata=about("How long an attempt may run unless the job says; null: for ever."),
    )
    retry = fields.Nested(RetryRule, required=True)


class HealthResponse(ResponseSchema):
    """All is well."""

    status = fields.String(required=True, validate=validate.Equal("ok"))
    warnings = fields.List(
        fields.String(), metadata={"description": "What an operator should look at; absent where there is nothing."}
    )


class ErrorBody(ResponseSchema):
    """Every error of this API."""

    error = fields.String(required=True, metadata=about("What kind of error, for programs.", example="not_found"))
    message = fields.String(required=True, metadata=about("One sentence, for people."))
    details = fields.Raw(
        metadata=about("On 422: the input's own shape, with a list of sentences at each fault.", type="object")
    )
    request_id = fields.String(required=True, metadata=about("As the header X-Request-Id and in the service's log."))
