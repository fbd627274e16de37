"""The schema of a job, as answers show it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from haulier.queue.rows import StoredJob
from haulier.requests.fields import ANY_FIELDS, about, time_text

from ...http.json_text import as_json
from .response_schemas import ResponseSchema, always, instant


class JobError(ResponseSchema):
    """One failed attempt."""

    attempt = fields.Integer(required=True)
    started_at = fields.String(allow_none=True, metadata=about("When the attempt began.", format="date-time"))
    at = fields.String(**always("When the attempt failed.", format="date-time"))
    worker = fields.String(allow_none=True, metadata=about("Host and process id of the worker; null: unknown."))
    error = fields.String(required=True)


class JobProgress(ResponseSchema):
    """How far a running job has come, as its handler last said."""

    done = fields.Float(required=True)
    total = fields.Float(**always("Null: unknown.", nullable=True))
    note = fields.String(**always("At most 200 characters.", nullable=True))
    at = fields.String(required=True, metadata={"format": "date-time"})


class JobResponse(ResponseSchema):
    """A job, live or finished."""

    id = fields.UUID(required=True, metadata={"x-component": "JobId"})
    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    status = fields.String(required=True, metadata={"x-component": "JobStatus"})
    attempts = fields.Integer(
        **always("Number of attempts that count against `max_attempts`: 1 during and after the first run.", minimum=0)
    )
    max_attempts = fields.Integer(**always("The job fails permanently if a run fails and `attempts` has reached this."))
    last_error = fields.String(
        **always(
            "Error of the last failed attempt, or a note that no worker that claimed the job knows its kind. At"
            " most 4 KiB; kept even if the job succeeds later.",
            nullable=True,
        )
    )
    payload = fields.Raw(**always("The payload as it was sent.", **ANY_FIELDS))
    run_at = instant("When the job is or was due.")
    created_at = instant("When the job was accepted.")
    updated_at = instant("When the job last changed.")
    idempotency_key = fields.String(required=True, allow_none=True)
    queue = fields.String(required=True)
    priority = fields.Integer(required=True)
    tags = fields.List(fields.String(), **always("The tags as they were sent."))
    timeout_seconds = fields.Integer(**always("Time limit of one attempt; null: the kind's default.", nullable=True))
    cancel_requested = fields.Boolean(required=True)
    started_at = instant("When the last attempt began.", nullable=True)
    finished_at = instant("When the job ended.", nullable=True)
    copy_of = fields.UUID(**always("The job that this one was copied from. It may no longer be kept.", nullable=True))
    result = fields.Raw(**always("Return value of the handler: any JSON, at most 64 KiB."))
    errors = fields.Raw(
        **always(
            "The last 20 failed attempts, oldest first.", type="array", items={"$ref": "#/components/schemas/JobError"}
        )
    )

    progress = fields.Raw(
        **always(
            "Progress as last reported by the handler, about a second old. Null: the job is not running, or its"
            " handler has reported nothing.",
            nullable=True,
            anyOf=[{"$ref": "#/components/schemas/JobProgress"}, {"type": "null"}],
        )
    )
    worker_id = fields.UUID(
        **always(
            "The worker that runs the job or ran its last attempt. Null: the job is waiting, or was cancelled while"
            " it waited.",
            nullable=True,
        )
    )
    schedule = fields.String(**always("The schedule that enqueued the job; null: none did.", nullable=True))
    scheduled_for = instant("The tick that enqueued the job.", nullable=True)

    def printed(self, shown: Any) -> bytes:
        """Return a job, or many, as JSON; marshmallow's own way would take ten times as long."""
        if not self.many:
            return b"".join(_pieces(shown))
        pieces: list[bytes] = []
        for job in shown:
            pieces += (b"," if pieces else b"[", *_pieces(job))
        return b"".join([*pieces, b"]"]) if pieces else b"[]"


def _pieces(job: StoredJob) -> tuple[bytes, ...]:
    created_at = time_text(job.created_at)
    # Values that are JSON text already are passed on as they are: as objects they can take thirty times the memory.
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
            "run_at": created_at if job.run_at == job.created_at else time_text(job.run_at),
            "created_at": created_at,
            "updated_at": created_at if job.updated_at == job.created_at else time_text(job.updated_at),
            "idempotency_key": job.idempotency_key,
            "queue": job.queue,
            "priority": job.priority,
            "tags": list(job.tags),
            "timeout_seconds": job.timeout_seconds,
            "cancel_requested": job.cancel_requested,
            "started_at": job.started_at and time_text(job.started_at),
            "finished_at": job.finished_at and time_text(job.finished_at),
            "copy_of": job.copy_of and str(job.copy_of),
        }
    )
    return (
        f'{head[:-1]},"payload":'.encode(),
        job.payload_text,
        f',{tail[1:-1]},"result":'.encode(),
        job.result_text,
        b',"errors":',
        job.errors_text,
        b',"progress":',
        job.progress_text,
        b',"worker_id":null' if job.worker_id is None else f',"worker_id":"{job.worker_id}"'.encode(),
        b',"schedule":null,"scheduled_for":null}' if job.schedule is None else _tick(job),
    )


def _tick(job: StoredJob) -> bytes:
    tick = {"schedule": job.schedule, "scheduled_for": job.scheduled_for and time_text(job.scheduled_for)}
    return b"," + as_json(tick)[1:].encode()
