"""The schemas of schedules."""

from __future__ import annotations

from marshmallow import fields, validate

from haulier.domain.schedules.schedule import TickOutcome
from haulier.requests.fields import ANY_FIELDS, Time

from .response_schemas import ResponseSchema, always, instant

# So many ticks to come, and so many past ones, the answer about one schedule has.
SHOWN_TICKS = 10


class TickResponse(ResponseSchema):
    """What became of a tick of a schedule."""

    scheduled_at = instant("Its time.")
    fired_at = instant("When its job was enqueued; null: it was not.", nullable=True)
    outcome = fields.String(
        validate=validate.OneOf([str(each) for each in TickOutcome]),
        **always(
            "`fired`, or why not: a job of the schedule was live, no worker ran in time, it was paused, the database"
            " refused the job."
        ),
    )
    job_id = fields.UUID(**always("The job that it has enqueued.", nullable=True))


class PreviewedTick(ResponseSchema):
    """A tick to come."""

    scheduled_at = instant("Its time.")
    local = fields.String(**always("What clocks of the zone show, with their offset."))
    note = fields.String(**always("What a change of clocks does to it; null: nothing.", nullable=True))


class RunResponse(ResponseSchema):
    """The job of a schedule that was fired by hand."""

    job_id = fields.UUID(required=True, metadata={"x-component": "JobId"})


class RefusedResponse(ResponseSchema):
    """Why a schedule cannot fire."""

    message = fields.String(**always("What the database said the last time."))
    since = instant("When it was refused first.")
    times = fields.Integer(**always("How often it was refused, one after the other."))
    until = instant("When workers try it again.")


class ScheduleResponse(ResponseSchema):
    """A schedule."""

    name = fields.String(required=True)
    cron = fields.String(required=True, allow_none=True)
    every_seconds = fields.Integer(required=True, allow_none=True)
    time_zone = fields.String(required=True)
    job = fields.Raw(**always("What it enqueues.", **ANY_FIELDS))
    overlap = fields.String(required=True)
    missed = fields.String(required=True)
    missed_max = fields.Integer(required=True, allow_none=True)
    missed_within_seconds = fields.Integer(required=True, allow_none=True)
    jitter_seconds = fields.Integer(required=True)
    paused = fields.Boolean(required=True)
    paused_until = instant("When the pause ends; null: there is none, or it ends when it is resumed.", nullable=True)
    source = fields.String(**always("`api`, or `file`: it came from schedules.toml."))
    next_at = instant("Its next tick; null: there is none.", nullable=True)
    waiting_at = instant("The tick that waits for a job to end; null: none does.", nullable=True)
    refused = fields.Nested(
        RefusedResponse,
        **always("That the database refuses its job, such as by a trigger; null: it does not.", nullable=True),
    )
    created_at = instant("When it was made.")
    updated_at = instant("When somebody last changed what it does.")


class OneScheduleResponse(ScheduleResponse):
    """A schedule, with the ticks around now."""

    next_ticks = fields.List(
        Time(metadata={"type": "string", "format": "date-time"}), **always("The next ten, without jitter.")
    )
    last_ticks = fields.List(fields.Nested(TickResponse), **always("The last ten, newest first."))
