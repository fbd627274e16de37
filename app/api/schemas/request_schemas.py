"""The shapes of requests. They parse, and ask nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from haulier.domain.job import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    MAX_DELAY_SECONDS,
    MAX_MAX_ATTEMPTS,
    MAX_PRIORITY,
    MAX_TIMEOUT_SECONDS,
    MIN_PRIORITY,
    NAME_PATTERN,
    JobStatus,
    Json,
    NewJob,
)
from haulier.kinds import Kind, PayloadSchema
from haulier.kinds.sdk.payload import Pattern

from ...http.errors import Invalid
from .cursor import CURSOR_PATTERN
from .fields import (
    BAD_IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_PATTERN,
    TIME_PATTERN,
    Cursor,
    IdempotencyKey,
    Number,
    QueryInteger,
    Time,
    about,
    name,
)

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
# What is skipped is read all the same. Beyond, `cursor` goes on at once.
MAX_OFFSET = 10_000


class JobOptions(PayloadSchema):
    """What every request for a job may say, whatever its kind; null counts as absent."""

    class Meta:
        unknown = RAISE
        # One class a kind is made for each application; marshmallow need not find them by name.
        register = False

    max_attempts = fields.Integer(
        strict=True,
        load_default=DEFAULT_MAX_ATTEMPTS,
        validate=validate.Range(1, MAX_MAX_ATTEMPTS),
        metadata=about("How many attempts may fail before the job has."),
    )
    idempotency_key = fields.String(
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about("As the header Idempotency-Key, which goes before it."),
    )
    queue = name(load_default=DEFAULT_QUEUE, metadata=about("The queue that the job waits in."))
    priority = fields.Integer(
        strict=True,
        load_default=0,
        validate=validate.Range(MIN_PRIORITY, MAX_PRIORITY),
        metadata=about("Higher runs first."),
    )
    run_at = Time(
        metadata=about(
            "Not before this time; one that has passed counts as now. Not beside `delay_seconds`.",
            type="string",
            format="date-time",
            pattern=TIME_PATTERN,
        )
    )
    delay_seconds = Number(
        validate=validate.Range(0, MAX_DELAY_SECONDS),
        metadata=about("Not before so many seconds from now. Not beside `run_at`."),
    )
    timeout_seconds = fields.Integer(
        strict=True,
        validate=validate.Range(1, MAX_TIMEOUT_SECONDS),
        metadata=about("How long an attempt may run; absent: the kind's own. A timeout is a failed attempt."),
    )


class CreateUnknownJob(JobOptions):
    """A request for a job of no known kind: the rest of it is checked, so that one answer names every fault."""

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
    """Says of a kind that it is not known, and which are."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = ", ".join(known) or "none"

    def __call__(self, value: str) -> NoReturn:
        """Raise: ValidationError."""
        # What is no name may be a mebibyte of anything.
        shown = f"kind {value!r}" if re.fullmatch(NAME_PATTERN, value) else "such kind"
        raise ValidationError(f"There is no {shown} here. Known: {self.known}.")


class CreateJobRequest:
    """A request for a job of any known kind: hands it to the schema of its kind."""

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
        asked = load(schema, data)
        # Not a hook of the schema: without any it loads in a third of the time.
        delay = asked.pop("delay_seconds", None)
        if delay is not None and "run_at" in asked:
            raise Invalid({"delay_seconds": ["Give run_at or delay_seconds, not both."]})
        # Kept as it was given: what the client reads back is what it sent, and a run applies the kind's defaults anew.
        parsed, asked["payload"] = asked["payload"], data["payload"]
        return NewJob(**asked, parsed_payload=parsed, delay=timedelta(seconds=delay) if delay else None)


def load(schema: Schema, data: Json) -> dict[str, Any]:
    """Return what the schema makes of the data. Raises: Invalid."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        raise Invalid(error.normalized_messages()) from None  # type: ignore[no-untyped-call]
    return loaded


class IdempotencyHeader(Schema):
    """The header that makes a POST safe to repeat."""

    idempotency_key = IdempotencyKey(
        data_key="Idempotency-Key",
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about(
            "1 to 255 visible ASCII characters, such as `order-4711-receipt`. The same key and request again give the"
            " job that the first made.",
            pattern=r'^(?!""$)[!-~]{1,255}$',
        ),
    )


class ListJobs(Schema):
    """Which jobs to list."""

    status = fields.Enum(JobStatus, by_value=True, metadata=about("Only jobs in this state."))
    kind = name(metadata=about("Only jobs of this kind; any well-formed name."))
    queue = name(metadata=about("Only jobs of this queue."))
    created_after = Time(
        metadata=about("Only jobs created later than this.", type="string", format="date-time", pattern=TIME_PATTERN)
    )
    created_before = Time(
        metadata=about("Only jobs created before this.", type="string", format="date-time", pattern=TIME_PATTERN)
    )
    limit = QueryInteger(
        1,
        MAX_LIMIT,
        clamped=True,
        load_default=DEFAULT_LIMIT,
        metadata=about(f"How many at most; beyond 1 to {MAX_LIMIT} the nearer end counts.", type="integer"),
    )
    offset = QueryInteger(
        0,
        MAX_OFFSET,
        metadata=about(
            "How many to skip; `cursor` is faster, does not slip and has no end.",
            type="integer",
            minimum=0,
            maximum=MAX_OFFSET,
        ),
        error_messages={
            "range": "Must be from {least} to {most}; further on, give as cursor what Next-Cursor of a page says."
        },
    )
    cursor = Cursor(
        metadata=about(
            "The header Next-Cursor of the page before. Not beside `offset`.", type="string", pattern=CURSOR_PATTERN
        )
    )

    @validates_schema
    def _one_way(self, data: Mapping[str, Any], **_: object) -> None:
        if "offset" in data and "cursor" in data:
            raise ValidationError("Give offset or cursor, not both.", "cursor")


class BatchOptions(Schema):
    """How a batch is taken."""

    atomic = fields.String(
        load_default="true",
        validate=validate.OneOf(["true", "false"]),
        metadata=about("`true`: all or nothing. `false`: each job by itself."),
    )
