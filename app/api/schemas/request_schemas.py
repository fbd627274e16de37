"""The schemas of requests. They parse without the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from haulier.domain.fingerprint import ID_PATTERN
from haulier.domain.job import MAX_MAX_ATTEMPTS, JobOrder, JobStatus, Json
from haulier.kinds.sdk.payload import Pattern

from ...http.cursor import CURSOR_PATTERN
from ...http.errors import Invalid
from ...http.filtering import PREFIX
from .fields import (
    BAD_IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_PATTERN,
    Cursor,
    ErrorId,
    IdempotencyKey,
    QueryInteger,
    Several,
    about,
    moment,
    name,
    tag,
)

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
# So many kinds, or queues, one filter may name.
MAX_NAMES = 20
# The database reads the jobs that are skipped. Beyond this, clients use `cursor`, which skips without reading.
MAX_OFFSET = 10_000
# What an order of a list needs, and takes, beside it.
BESIDE = {
    JobOrder.DUE: "Is an order of one queue's waiting jobs: give one queue, status=queued and status=retrying alone.",
    JobOrder.STARTED: "Is an order of running jobs: give status=running, and at most kind, queue and worker.",
}


def load(schema: Schema, data: Json, clean: Callable[[Json], Json] | None = None) -> dict[str, Any]:
    """Return the data as the schema loads it. Shape: clean changes the messages of an error. Raises: Invalid."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        # For the reason in PayloadSchema.load.
        error.__traceback__ = None
        messages: Json = error.normalized_messages()  # type: ignore[no-untyped-call]
        raise Invalid(messages if clean is None else clean(messages)) from None
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


class JobConditions(Schema):
    """Which jobs are meant. Parameters whose names begin with `payload.` stand beside it: see `filtering`."""

    open_prefix = PREFIX

    status = Several(
        fields.Enum(JobStatus, by_value=True, metadata={"x-component": "JobStatus"}),
        MAX_NAMES,
        metadata=about("Only jobs in this state; given more than once: in any of these."),
    )
    kind = Several(name(), MAX_NAMES, metadata=about(f"Only jobs of this kind, or any of up to {MAX_NAMES}."))
    queue = Several(name(), MAX_NAMES, metadata=about(f"Only jobs of this queue, or any of up to {MAX_NAMES}."))
    tag = Several(
        tag(), MAX_NAMES, metadata=about(f"Only jobs with this tag, or any of up to {MAX_NAMES}; case matters.")
    )
    error = ErrorId(
        metadata=about(
            "Only jobs that have failed for good with this group of errors, or are to be tried again after it.",
            type="string",
            pattern=ID_PATTERN,
        )
    )
    worker = fields.UUID(
        metadata=about(
            "Only jobs that this worker runs, or that ended with an attempt of its.", **{"x-component": "JobId"}
        )
    )
    key = fields.String(
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about("Only jobs with this idempotency key, whichever API key sent them."),
    )
    attempts_min = QueryInteger(
        0,
        MAX_MAX_ATTEMPTS,
        metadata=about(
            "Only jobs of which so many attempts were charged.", type="integer", minimum=0, maximum=MAX_MAX_ATTEMPTS
        ),
    )
    finished_after = moment("Only jobs that ended later than this.")
    finished_before = moment("Only jobs that ended before this.")
    created_after = moment("Only jobs created later than this.")
    created_before = moment("Only jobs created before this.")


def page_limit() -> QueryInteger:
    """Return the field that says how long a page may be."""
    return QueryInteger(
        1,
        MAX_LIMIT,
        clamped=True,
        load_default=DEFAULT_LIMIT,
        metadata=about(f"How many at most; beyond 1 to {MAX_LIMIT} the nearer end counts.", type="integer"),
    )


class ListJobs(JobConditions):
    """Which jobs to list."""

    limit = page_limit()
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

    sort = fields.String(
        validate=validate.OneOf([str(order) for order in JobOrder]),
        metadata=about(
            "The first jobs in another order than newest first; no page follows. `due`: as workers take them, beside"
            " one `queue` and both `status=queued` and `status=retrying`, and nothing else. `started`: what has run"
            " longest first, beside `status=running`, and perhaps `kind`, `queue` and `worker`.",
        ),
    )

    @validates_schema
    def _one_way(self, data: Mapping[str, Any], **_: object) -> None:
        if "offset" in data and "cursor" in data:
            raise ValidationError("Give offset or cursor, not both.", "cursor")

    @validates_schema
    def _in_order(self, data: Mapping[str, Any], **_: object) -> None:
        if "sort" not in data:
            return
        order, names = JobOrder(data["sort"]), data.keys() - {"sort", "limit"}
        if not order.fits(names, data.get("status", ()), data.get("queue", ())):
            raise ValidationError(BESIDE[order], "sort")


class BatchOptions(Schema):
    """How a batch is taken."""

    atomic = fields.String(
        load_default="true",
        validate=validate.OneOf(["true", "false"]),
        metadata=about("`true`: all or nothing. `false`: each job by itself."),
    )
