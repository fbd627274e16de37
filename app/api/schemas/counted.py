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
    failed = _count("Jobs that failed for good.")
    cancelled = _count()


class Figures(Counts):
    """What came and ended, and how long it took."""

    attempts = _count("Attempts of the jobs that ended.")
    wait_seconds = fields.Nested(Percentiles, **always("From due to the start of the last run."))  # fmt: skip
    run_seconds = fields.Nested(Percentiles, **always("The last run."))


class StatsStep(Figures):
    """A step of the series. The live jobs are as last counted in it; null: they were not, or there had been none."""

    at = instant("When it began.")
    due = _count("Waiting jobs that were due.", allow_none=True)
    running = _count(allow_none=True)
    oldest_due_seconds = _seconds("How long the first of the due jobs had been due.")


class StatsResponse(ResponseSchema):
    """The figures of a span of time."""

    span = fields.String(required=True, validate=validate.OneOf(list(SPANS)))
    step_seconds = _count("How long a step of the series is.")
    as_of = instant(
        "Up to when it is counted; null: nothing is, since no worker with `COUNTING=on` has run.", nullable=True
    )
    totals = fields.Nested(Figures, required=True)
    series = fields.List(fields.Nested(StatsStep), **always("Oldest first."))
    counted_at = instant(
        "When the live jobs were counted; null: they were not, and the figures below are null.", nullable=True
    )
    waiting = _count("Queued and retrying jobs.", allow_none=True, attribute="live.waiting")
    due = _count("Of these, those whose time has come.", allow_none=True, attribute="live.due")
    deferred = _count("Of these, those whose time has not come.", allow_none=True, attribute="live.deferred")
    running = _count(allow_none=True, attribute="live.running")
    oldest_due_seconds = fields.Float(
        attribute="live.oldest_due_seconds",
        **always("How long the first of the due jobs has been due; null: none is.", nullable=True),
    )


class QueueResponse(ResponseSchema):
    """A queue. The figures of its jobs are null if they have not been counted."""

    name = fields.String(required=True)
    paused = fields.Boolean(**always("No job of it starts."))
    paused_until = instant("When the pause ends by itself; null: not, or there is none.", nullable=True)
    counted_at = instant("When the live jobs were counted.", nullable=True)
    waiting = _count("Queued and retrying jobs.", allow_none=True, attribute="live.waiting")
    due = _count("Of these, those whose time has come.", allow_none=True, attribute="live.due")
    deferred = _count("Of these, those whose time has not come.", allow_none=True, attribute="live.deferred")
    running = _count(allow_none=True, attribute="live.running")
    oldest_due_seconds = fields.Float(
        attribute="live.oldest_due_seconds",
        **always("How long the first of the due jobs has been due; null: none is.", nullable=True),
    )
    last_minute = fields.Nested(Counts, **always("What came and ended in the last minute counted."))
