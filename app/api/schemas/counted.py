"""The schemas of what has been counted."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from haulier.domain.span import SPANS
from haulier.requests.fields import about

from .response_schemas import ResponseSchema, always, instant


def _count(description: str = "", **options: Any) -> fields.Integer:
    return fields.Integer(
        required=True, metadata=about(description, minimum=0) if description else {"minimum": 0}, **options
    )


def _seconds(description: str) -> fields.Float:
    return fields.Float(**always(description, nullable=True))


class Percentiles(ResponseSchema):
    """Durations that half, 95 % and 99 % of the jobs did not exceed, within 12 %; null if none ended."""

    p50 = _seconds("Seconds.")
    p95 = _seconds("Seconds.")
    p99 = _seconds("Seconds.")


class Counts(ResponseSchema):
    """How many jobs came and ended."""

    arrived = _count("Jobs created.")
    succeeded = _count()
    failed = _count("Jobs that failed permanently.")
    cancelled = _count()


class Figures(Counts):
    """What came and ended, and how long it took."""

    attempts = _count("Total attempts of the jobs that ended.")
    wait_seconds = fields.Nested(Percentiles, **always("Time from due to the start of the last run."))  # fmt: skip
    run_seconds = fields.Nested(Percentiles, **always("Duration of the last run."))


class StatsStep(Figures):
    """A step of the series. `due` is the most that were counted in it; null: not counted, or there had been none."""

    at = instant("When the step began.")
    due = _count("Due jobs.", allow_none=True)
    running = _count(allow_none=True)
    oldest_due_seconds = _seconds("How long the oldest due job had been due.")


class StatsResponse(ResponseSchema):
    """The figures of a span of time."""

    span = fields.String(required=True, validate=validate.OneOf(list(SPANS)))
    step_seconds = _count("Length of one step of the series.")
    as_of = instant(
        "Time of the last count; null: nothing has been counted, because no worker with `COUNTING=on` has run.",
        nullable=True,
    )
    totals = fields.Nested(Figures, required=True)
    series = fields.List(fields.Nested(StatsStep), **always("Oldest first."))
    counted_at = instant("When the live jobs were counted; null: never, and the fields below are null.", nullable=True)
    waiting = _count("Queued and retrying jobs.", allow_none=True, attribute="live.waiting")
    due = _count("Waiting jobs that are due.", allow_none=True, attribute="live.due")
    deferred = _count("Waiting jobs that are not due yet.", allow_none=True, attribute="live.deferred")
    running = _count(allow_none=True, attribute="live.running")
    oldest_due_seconds = fields.Float(
        attribute="live.oldest_due_seconds",
        **always("How long the oldest due job has been due; null: no job is due.", nullable=True),
    )


class QueueResponse(ResponseSchema):
    """A queue. The figures of its jobs are null if they have not been counted."""

    name = fields.String(required=True)
    paused = fields.Boolean(**always("Whether the queue is paused."))
    paused_until = instant("When the pause ends by itself; null: never, or the queue is not paused.", nullable=True)
    counted_at = instant("When the live jobs were counted.", nullable=True)
    waiting = _count("Queued and retrying jobs.", allow_none=True, attribute="live.waiting")
    due = _count("Waiting jobs that are due.", allow_none=True, attribute="live.due")
    deferred = _count("Waiting jobs that are not due yet.", allow_none=True, attribute="live.deferred")
    running = _count(allow_none=True, attribute="live.running")
    oldest_due_seconds = fields.Float(
        attribute="live.oldest_due_seconds",
        **always("How long the oldest due job has been due; null: no job is due.", nullable=True),
    )
    late = fields.Boolean(
        attribute="is_late",
        **always(
            "Whether the oldest due job has waited for over `LATE_SECONDS` or ten times the usual wait, or the due jobs"
            " will take over 15 minutes at the rate of the last minute. A paused queue is not late. No queue is if"
            " nobody counts."
        ),
    )
    last_minute = fields.Nested(Counts, **always("Jobs that arrived and ended in the last counted minute."))
