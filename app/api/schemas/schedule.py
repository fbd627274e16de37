"""The schemas of schedules."""

from __future__ import annotations

from marshmallow import fields, validate

from haulier.domain.schedules.schedule import TickOutcome
from haulier.requests.fields import ANY_FIELDS, Time

from .response_schemas import ResponseSchema, always, instant

# This many ticks to come, and this many past ones, the answer about one schedule has.
SHOWN_TICKS = 10


class TickResponse(ResponseSchema):
    """What became of a tick of a schedule."""

    scheduled_at = instant("Its time.")
    fired_at = instant("When the tick enqueued its job; null: it did not.", nullable=True)
    outcome = fields.String(
        validate=validate.OneOf([str(each) for each in TickOutcome]),
        **always(
            "`fired`, or why it did not: a job of the schedule was live, no worker ran in time, the schedule was"
            " paused, or the database refused the job."
        ),
    )
    job_id = fields.UUID(**always("The job that the tick enqueued.", nullable=True))


class PreviewedTick(ResponseSchema):
    """A tick to come."""

    scheduled_at = instant("Its time.")
    local = fields.String(**always("Local time in the time zone, with offset."))
    note = fields.String(**always("Effect of a clock change on the tick; null: none.", nullable=True))


class RunResponse(ResponseSchema):
    """The job of a schedule that was fired by hand."""

    job_id = fields.UUID(required=True, metadata={"x-component": "JobId"})


class RefusedResponse(ResponseSchema):
    """Why a schedule cannot fire."""

    message = fields.String(**always("Message of the last refusal."))
    since = instant("Time of the first refusal.")
    times = fields.Integer(**always("Number of consecutive refusals."))
    until = instant("When workers try again.")


class ScheduleResponse(ResponseSchema):
    """A schedule."""

    name = fields.String(required=True)
    cron = fields.String(required=True, allow_none=True)
    every_seconds = fields.Integer(required=True, allow_none=True)
    time_zone = fields.String(required=True)
    job = fields.Raw(**always("The job that the schedule enqueues.", **ANY_FIELDS))
    overlap = fields.String(required=True)
    missed = fields.String(required=True)
    missed_max = fields.Integer(required=True, allow_none=True)
    missed_within_seconds = fields.Integer(required=True, allow_none=True)
    jitter_seconds = fields.Integer(required=True)
    paused = fields.Boolean(required=True)
    paused_until = instant(
        "When the pause ends; null: the schedule is not paused, or stays paused until it is resumed.", nullable=True
    )
    source = fields.String(**always("`api`, or `file`: the schedule comes from schedules.toml."))
    next_at = instant("The next tick; null: there is none.", nullable=True)
    waiting_at = instant("The tick that waits for a job of the schedule to end; null: none.", nullable=True)
    refused = fields.Nested(
        RefusedResponse,
        **always("Set if the database refuses the job, for instance by a trigger; null: it does not.", nullable=True),
    )
    created_at = instant("When it was created.")
    updated_at = instant("When the schedule was last changed.")


class OneScheduleResponse(ScheduleResponse):
    """A schedule, with the ticks around now."""

    next_ticks = fields.List(
        Time(metadata={"type": "string", "format": "date-time"}), **always("The next ten ticks, without jitter.")
    )
    last_ticks = fields.List(fields.Nested(TickResponse), **always("The last ten ticks, newest first."))
