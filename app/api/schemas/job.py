"""The schemas of a job: as clients request it, and as answers show it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from haulier.domain.job import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    MAX_DELAY_SECONDS,
    MAX_MAX_ATTEMPTS,
    MAX_PRIORITY,
    MAX_TIMEOUT_SECONDS,
    MIN_PRIORITY,
    NAME_PATTERN,
    Json,
    NewJob,
)
from haulier.kinds import Kind, PayloadSchema
from haulier.kinds.sdk.payload import Pattern
from haulier.kinds.sdk.secret_fields import secret_fields, secret_texts, without_in
from haulier.queue.rows import StoredJob

from ...http.errors import Invalid
from ...http.json_text import as_json
from .fields import (
    ANY_FIELDS,
    BAD_IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_PATTERN,
    Number,
    Tags,
    about,
    instant,
    moment,
    name,
    time_text,
)
from .request_schemas import load
from .response_schemas import ResponseSchema

# Requests --------------------------------------------------------------------------------------------------------


def _max_attempts(**kwargs: Any) -> fields.Integer:
    checked = validate.Range(1, MAX_MAX_ATTEMPTS)
    described = about("How many attempts may fail before the job has.")
    return fields.Integer(strict=True, validate=checked, metadata=described, **kwargs)


def _priority(**kwargs: Any) -> fields.Integer:
    in_range = validate.Range(MIN_PRIORITY, MAX_PRIORITY)
    return fields.Integer(strict=True, validate=in_range, metadata=about("Higher runs first."), **kwargs)


def _queue(**kwargs: Any) -> fields.String:
    return name(metadata=about("The queue that the job waits in."), **kwargs)


class JobSettings(PayloadSchema):
    """The fields that a new job and a change of one have in common; null counts as absent."""

    class Meta:
        unknown = RAISE
        # Each application makes a class for each kind; marshmallow's registry would keep them all.
        register = False

    run_at = moment("Not before this time; one that has passed counts as now. Not beside `delay_seconds`.")
    delay_seconds = Number(
        validate=validate.Range(0, MAX_DELAY_SECONDS),
        metadata=about("Not before so many seconds from now. Not beside `run_at`."),
    )
    timeout_seconds = fields.Integer(
        strict=True,
        validate=validate.Range(1, MAX_TIMEOUT_SECONDS),
        metadata=about("How long an attempt may run; absent: the kind's own. A timeout is a failed attempt."),
    )
    tags = Tags(metadata=about("Words by which jobs are found; none twice.", uniqueItems=True))


class JobOptions(JobSettings):
    """The fields of every request for a job, whatever its kind."""

    class Meta(JobSettings.Meta):
        pass

    max_attempts = _max_attempts(load_default=DEFAULT_MAX_ATTEMPTS)
    idempotency_key = fields.String(
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about("As the header Idempotency-Key, which goes before it."),
    )
    queue = _queue(load_default=DEFAULT_QUEUE)
    priority = _priority(load_default=0)


class JobChanges(JobSettings):
    """What is to be different in a job; what is absent stays as it is."""

    class Meta(JobSettings.Meta):
        pass

    max_attempts = _max_attempts()
    queue = _queue()
    priority = _priority()
    payload = fields.Dict(
        metadata=about(
            "In the place of the present one, whole. A field that its kind keeps secret, and that reads `•••`, may be"
            " sent back like that: the secret stays.",
            **ANY_FIELDS,
        )
    )


def check_one_time(asked: Mapping[str, Any]) -> None:
    """Return unless a time and a delay are given. Raises: Invalid."""
    # Checked here and not in a hook: a schema without hooks loads in a third of the time.
    if asked.get("delay_seconds") is not None and "run_at" in asked:
        raise Invalid({"delay_seconds": ["Give run_at or delay_seconds, not both."]})


class CreateUnknownJob(JobOptions):
    """A request for a job of an unknown kind: its other fields are checked, so that one answer names every fault."""

    class Meta(JobOptions.Meta):
        pass

    payload = fields.Dict(required=True)


def create_job_schema(kind: Kind) -> Schema:
    """Return the schema of a request for a job of this kind."""
    words = "".join(word.capitalize() for word in re.split(r"[_.-]", kind.name))
    own = {
        "kind": fields.String(required=True, validate=validate.Equal(kind.name)),
        "payload": fields.Nested(kind.schema, required=True),
        "Meta": type("Meta", (JobOptions.Meta,), {}),
    }
    made: Schema = type(f"Create{words}Job", (JobOptions,), own)()
    return made


class Unknown(validate.Validator):
    """Refuses a kind as unknown, and names the known ones."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = ", ".join(known) or "none"

    def __call__(self, value: str) -> NoReturn:
        """Raise: ValidationError."""
        # Only a well-formed name is quoted: anything else may be a mebibyte long.
        shown = f"kind {value!r}" if re.fullmatch(NAME_PATTERN, value) else "such kind"
        raise ValidationError(f"There is no {shown} here. Known: {self.known}.")


class CreateJobRequest:
    """A request for a job of any known kind, loaded by the schema of that kind."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.by_kind = {known: create_job_schema(kind) for known, kind in kinds.items()}
        unknown = Unknown(self.by_kind)
        fallback = type(
            "CreateUnknownJob", (CreateUnknownJob,), {"kind": fields.String(required=True, validate=unknown)}
        )
        self._fallback: Schema = fallback()

    def load(self, data: Json) -> NewJob:
        """Return the NewJob. Raises: Invalid."""
        if not isinstance(data, dict):
            raise Invalid({"_schema": ["Must be a JSON object."]})
        kind = data.get("kind")
        schema = self.by_kind.get(kind, self._fallback) if isinstance(kind, str) else self._fallback
        asked = load(schema, data, partial(_without_secrets, schema, data))
        check_one_time(asked)
        delay = asked.pop("delay_seconds", None)
        # The payload is stored as it was sent: clients read back what they sent, and a run applies the defaults anew.
        parsed, asked["payload"] = asked["payload"], data["payload"]
        return NewJob(**asked, parsed_payload=parsed, delay=timedelta(seconds=delay) if delay else None)


def _without_secrets(schema: Schema, data: dict[str, Json], messages: Json) -> Json:
    """Return the messages of a refused request without the secrets of its payload, which validators may quote."""
    secrets = secret_fields(schema)
    # Not in the keys: those are the names of fields.
    return messages if secrets is None else without_in(messages, secret_texts(data, secrets), in_keys=False)


# Answers ---------------------------------------------------------------------------------------------------------


class JobError(ResponseSchema):
    """One failed attempt."""

    attempt = fields.Integer(required=True)
    started_at = fields.String(allow_none=True, metadata=about("When it began.", format="date-time"))
    at = fields.String(required=True, metadata=about("When it had failed.", format="date-time"))
    worker = fields.String(
        allow_none=True,
        metadata=about("The host and process id of its worker; null: not known."),
    )
    error = fields.String(required=True)


class JobProgress(ResponseSchema):
    """How far a running job has come, as its handler last said."""

    done = fields.Float(required=True)
    total = fields.Float(required=True, allow_none=True, metadata=about("Null: not known."))
    note = fields.String(required=True, allow_none=True, metadata=about("At most 200 characters."))
    at = fields.String(required=True, metadata={"format": "date-time"})


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
        metadata=about(
            "Of the last failed attempt, or that no worker that took it knows its kind. At most 4 KiB, kept for good."
        ),
    )
    payload = fields.Raw(required=True, metadata=about("As it was given.", **ANY_FIELDS))
    run_at = instant("When the job is or was due.")
    created_at = instant("When the job was accepted.")
    updated_at = instant("When the job last changed.")
    idempotency_key = fields.String(required=True, allow_none=True)
    queue = fields.String(required=True)
    priority = fields.Integer(required=True)
    tags = fields.List(fields.String(), required=True, metadata=about("As they were given; [] where none were."))
    timeout_seconds = fields.Integer(required=True, allow_none=True, metadata=about("Null: the kind's own."))
    cancel_requested = fields.Boolean(required=True)
    started_at = instant("When the last attempt began.", nullable=True)
    finished_at = instant("When the job ended.", nullable=True)
    copy_of = fields.UUID(
        required=True,
        allow_none=True,
        metadata=about("The job that this is a copy of; it may be gone from the history."),
    )
    result = fields.Raw(required=True, metadata=about("What the handler returned: any JSON, at most 64 KiB."))
    errors = fields.Raw(
        required=True,
        metadata=about(
            "The last 20 failed attempts, oldest first.", type="array", items={"$ref": "#/components/schemas/JobError"}
        ),
    )

    progress = fields.Raw(
        required=True,
        allow_none=True,
        metadata=about(
            "What the running handler last said, a second old or so. Null where it has said nothing or none runs.",
            anyOf=[{"$ref": "#/components/schemas/JobProgress"}, {"type": "null"}],
        ),
    )
    worker_id = fields.UUID(
        required=True,
        allow_none=True,
        metadata=about(
            "The worker that runs it or, once it has ended, ran its last attempt. Null: it waits, or was cancelled"
            " while it waited."
        ),
    )
    schedule = fields.String(
        required=True, allow_none=True, metadata=about("The schedule whose tick has enqueued it; null: none has.")
    )
    scheduled_for = instant("The tick of that schedule.", nullable=True)

    def printed(self, shown: Any) -> bytes:
        """Return a job, or many, as JSON; marshmallow's own way would take ten times as long."""
        if not self.many:
            return b"".join(_pieces(shown))
        pieces: list[bytes] = []
        for job in shown:
            pieces += (b"," if pieces else b"[", *_pieces(job))
        return b"".join([*pieces, b"]"]) if pieces else b"[]"


def _pieces(job: StoredJob) -> tuple[bytes, ...]:
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
            "run_at": time_text(job.run_at),
            "created_at": time_text(job.created_at),
            "updated_at": time_text(job.updated_at),
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
