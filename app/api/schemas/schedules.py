"""The schemas of schedules."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Any

from marshmallow import RAISE, Schema, fields, validate

from haulier.domain.cron import MAX_CRON
from haulier.domain.job import NAME_PATTERN, Json
from haulier.domain.schedule import (
    DEFAULT_MISSED_MAX,
    DEFAULT_MISSED_WITHIN_SECONDS,
    MAX_EVERY_SECONDS,
    MAX_JITTER_SECONDS,
    MAX_MISSED,
    MAX_MISSED_WITHIN_SECONDS,
    MAX_ZONE,
    InvalidSchedule,
    Missed,
    Overlap,
    Rule,
    TickOutcome,
    Timetable,
    timetable,
)
from haulier.kinds import PayloadSchema
from haulier.kinds.sdk.payload import TEXT, Pattern

from ...http.cursor import CURSOR_PATTERN
from ...http.errors import Invalid
from .fields import ANY_FIELDS, Cursor, Flag, Time, about, instant, moment
from .request_schemas import page_limit
from .response_schemas import ResponseSchema

MAX_PREVIEWED = 100
# So many ticks to come, and so many past ones, the answer about one schedule has.
SHOWN_TICKS = 10


def _number(least: int, most: int, description: str, **options: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(least, most), metadata=about(description), **options)


class TimetableRequest(PayloadSchema):
    """When a schedule fires; null counts as absent."""

    class Meta:
        unknown = RAISE

    cron = fields.String(
        validate=[validate.Length(min=1, max=MAX_CRON), Pattern(TEXT, "Must not hold NUL.")],
        metadata=about(
            "Five fields: minute, hour, day of the month, month, day of the week; or @hourly, @daily and the like. Not"
            " beside `every_seconds`."
        ),
    )
    every_seconds = _number(1, MAX_EVERY_SECONDS, "Every so many seconds. Not beside `cron`.")
    time_zone = fields.String(
        load_default="UTC",
        validate=[validate.Length(min=1, max=MAX_ZONE), Pattern(TEXT, "Must not hold NUL.")],
        metadata=about("By whose clocks `cron` goes, such as `Europe/Berlin`."),
    )


class PutSchedule(TimetableRequest):
    """What is to be enqueued when; null counts as absent."""

    job = fields.Dict(
        required=True,
        metadata=about(
            "The job, as in `POST /jobs`, without `run_at`, `delay_seconds` and `idempotency_key`.", **ANY_FIELDS
        ),
    )
    overlap = fields.String(
        load_default=str(Overlap.ALLOW),
        validate=validate.OneOf([str(each) for each in Overlap]),
        metadata=about(
            "While a job of the schedule is live: `allow` a tick to fire, `skip` it, or have one wait for that job"
            " (`queue_one`)."
        ),
    )
    missed = fields.String(
        load_default=str(Missed.LAST),
        validate=validate.OneOf([str(each) for each in Missed]),
        metadata=about(
            "Ticks that could not fire within 60 s, since no worker ran: `skip` them, fire the `last` one, or `all` up"
            " to `missed_max` within `missed_within_seconds`."
        ),
    )
    missed_max = _number(1, MAX_MISSED, f"With `all` alone; {DEFAULT_MISSED_MAX} unless given.")
    missed_within_seconds = _number(
        1, MAX_MISSED_WITHIN_SECONDS, f"With `all` alone; {DEFAULT_MISSED_WITHIN_SECONDS} unless given."
    )
    jitter_seconds = _number(
        0, MAX_JITTER_SECONDS, "Fire up to so much later, each tick by a time of its own.", load_default=0
    )
    paused = Flag(metadata=about("Whether it is paused; absent: as it is."))
    paused_until = moment("When it fires again; with `paused` alone.")


class PreviewSchedule(TimetableRequest):
    """Which ticks to show; null counts as absent."""

    after = moment("Only ticks later than this; absent: than now.", data_key="from")
    count = _number(1, MAX_PREVIEWED, "So many at most.", load_default=10)


class PauseSchedule(PayloadSchema):
    """Until when to pause a schedule; null counts as absent."""

    class Meta:
        unknown = RAISE

    until = moment("Null: until it is resumed.")


class ListSchedules(Schema):
    """Which schedules to list."""

    limit = page_limit()
    cursor = fields.String(
        validate=Pattern(NAME_PATTERN, "Must be what Next-Cursor said, unchanged."),
        metadata=about("The header Next-Cursor of the page before."),
    )


class ListTicks(Schema):
    """Which ticks to list."""

    limit = page_limit()
    cursor = Cursor(metadata=about("The header Next-Cursor of the page before.", type="string", pattern=CURSOR_PATTERN))


class TickResponse(ResponseSchema):
    """What became of a tick of a schedule."""

    scheduled_at = instant("Its time.")
    fired_at = instant("When its job was enqueued; null: it was not.", nullable=True)
    outcome = fields.String(
        required=True,
        validate=validate.OneOf([str(each) for each in TickOutcome]),
        metadata=about(
            "`fired`, or why not: a job of the schedule was live, no worker ran in time, it was paused, the database"
            " refused the job."
        ),
    )
    job_id = fields.UUID(required=True, allow_none=True, metadata=about("The job that it has enqueued."))


class PreviewedTick(ResponseSchema):
    """A tick to come."""

    scheduled_at = instant("Its time.")
    local = fields.String(required=True, metadata=about("What clocks of the zone show, with their offset."))
    note = fields.String(
        required=True, allow_none=True, metadata=about("What a change of clocks does to it; null: nothing.")
    )


class RunResponse(ResponseSchema):
    """The job of a schedule that was fired by hand."""

    job_id = fields.UUID(required=True, metadata={"x-component": "JobId"})


class RefusedResponse(ResponseSchema):
    """Why a schedule cannot fire."""

    message = fields.String(required=True, metadata=about("What the database said the last time."))
    since = instant("When it was refused first.")
    times = fields.Integer(required=True, metadata=about("How often it was refused, one after the other."))
    until = instant("When workers try it again.")


class ScheduleResponse(ResponseSchema):
    """A schedule."""

    name = fields.String(required=True)
    cron = fields.String(required=True, allow_none=True)
    every_seconds = fields.Integer(required=True, allow_none=True)
    time_zone = fields.String(required=True)
    job = fields.Raw(required=True, metadata=about("What it enqueues.", **ANY_FIELDS))
    overlap = fields.String(required=True)
    missed = fields.String(required=True)
    missed_max = fields.Integer(required=True, allow_none=True)
    missed_within_seconds = fields.Integer(required=True, allow_none=True)
    jitter_seconds = fields.Integer(required=True)
    paused = fields.Boolean(required=True)
    paused_until = instant("When the pause ends; null: there is none, or it ends when it is resumed.", nullable=True)
    source = fields.String(required=True, metadata=about("`api`, or `file`: it came from schedules.toml."))
    next_at = instant("Its next tick; null: there is none.", nullable=True)
    waiting_at = instant("The tick that waits for a job to end; null: none does.", nullable=True)
    refused = fields.Nested(
        RefusedResponse,
        required=True,
        allow_none=True,
        metadata=about("That the database refuses its job, such as by a trigger; null: it does not."),
    )
    created_at = instant("When it was made.")
    updated_at = instant("When somebody last changed what it does.")


class OneScheduleResponse(ScheduleResponse):
    """A schedule, with the ticks around now."""

    next_ticks = fields.List(
        Time(metadata={"type": "string", "format": "date-time"}),
        required=True,
        metadata=about("The next ten, without jitter."),
    )
    last_ticks = fields.List(fields.Nested(TickResponse), required=True, metadata=about("The last ten, newest first."))


def load_rule(asked: dict[str, Any], job: dict[str, Json]) -> Rule:
    """Return what a request for a schedule says, with this job. Raises: Invalid."""
    is_all = asked["missed"] == Missed.ALL
    if not is_all and (given := [name for name in ("missed_max", "missed_within_seconds") if asked.get(name)]):
        raise Invalid({name: ["Only where missed is all."] for name in given})
    names = {field.name for field in fields_of(Rule)} - {
        "job",
        "overlap",
        "missed",
        "missed_max",
        "missed_within_seconds",
    }
    rule = Rule(
        job=job,
        overlap=Overlap(asked["overlap"]),
        missed=Missed(asked["missed"]),
        missed_max=asked.get("missed_max") or DEFAULT_MISSED_MAX if is_all else None,
        missed_within_seconds=asked.get("missed_within_seconds") or DEFAULT_MISSED_WITHIN_SECONDS if is_all else None,
        **{name: asked[name] for name in names if name in asked},
    )
    table = load_timetable(asked)
    # As it was read: without the spaces that say nothing.
    return rule if table.cron is None else Rule(**{**_as_dict(rule), "cron": table.cron.text})


def _as_dict(rule: Rule) -> dict[str, Any]:
    return {field.name: getattr(rule, field.name) for field in fields_of(rule)}


def load_timetable(asked: dict[str, Any], *, counts_from: Any = None) -> Timetable:
    """Return when a request says that it fires. Raises: Invalid."""
    try:
        return timetable(
            cron=asked.get("cron"),
            every_seconds=asked.get("every_seconds"),
            time_zone=asked["time_zone"],
            counts_from=counts_from,
        )
    except InvalidSchedule as error:
        raise Invalid({error.field: [str(error)]}) from None
