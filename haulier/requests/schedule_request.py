"""What clients send to make or change a schedule, by the API, schedules.toml or the form."""

from __future__ import annotations

import re
from dataclasses import fields as fields_of
from datetime import datetime
from typing import Any, NamedTuple

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from haulier.domain.job import BAD_NAME, NAME_PATTERN, Json, NewJob
from haulier.domain.schedules.cron import MAX_CRON
from haulier.domain.schedules.schedule import (
    DEFAULT_MISSED_MAX,
    DEFAULT_MISSED_WITHIN_SECONDS,
    MAX_EVERY_SECONDS,
    MAX_JITTER_SECONDS,
    MAX_MISSED,
    MAX_MISSED_WITHIN_SECONDS,
    MAX_ZONE,
    NOT_OF_A_SCHEDULE,
    TAKEN_NAMES,
    InvalidSchedule,
    Missed,
    Overlap,
    Rule,
    Timetable,
    timetable,
)
from haulier.kinds import PayloadSchema
from haulier.kinds.sdk.payload import TEXT, Pattern
from haulier.queue.schedules.schedules import Pause
from haulier.requests.fields import ANY_FIELDS, Flag, about, moment, whole
from haulier.requests.invalid import invalid, load, messages_of
from haulier.requests.job_request import CreateJobRequest

MAX_PREVIEWED = 100


class TimetableRequest(PayloadSchema):
    """When a schedule fires; null counts as absent."""

    class Meta:
        unknown = RAISE

    cron = fields.String(
        validate=[validate.Length(min=1, max=MAX_CRON), Pattern(TEXT, "Must not contain NUL.")],
        metadata=about(
            "Five fields: minute, hour, day of the month, month, day of the week; or @hourly, @daily and the like."
            " Cannot be combined with `every_seconds`."
        ),
    )
    every_seconds = whole(1, MAX_EVERY_SECONDS, "Interval in seconds. Cannot be combined with `cron`.")
    time_zone = fields.String(
        load_default="UTC",
        validate=[validate.Length(min=1, max=MAX_ZONE), Pattern(TEXT, "Must not contain NUL.")],
        metadata=about("Time zone of `cron`, such as `Europe/Berlin`."),
    )


class PutSchedule(TimetableRequest):
    """What a schedule enqueues, and when; null counts as absent."""

    job = fields.Dict(
        required=True,
        metadata=about(
            "The job to enqueue, as in `POST /jobs`, without `run_at`, `delay_seconds` and `idempotency_key`.",
            **ANY_FIELDS,
        ),
    )
    overlap = fields.String(
        load_default=str(Overlap.ALLOW),
        validate=validate.OneOf([str(each) for each in Overlap]),
        metadata=about(
            "What a tick does while a job of the schedule is live: `allow` fires it, `skip` skips it, `queue_one` lets"
            " one tick wait for that job to end."
        ),
    )
    missed = fields.String(
        load_default=str(Missed.LAST),
        validate=validate.OneOf([str(each) for each in Missed]),
        metadata=about(
            "Which ticks to make up if no worker fired them within 60 s: `skip` none, `last` only the last one, `all`"
            " up to `missed_max` of the last `missed_within_seconds`."
        ),
    )
    missed_max = whole(1, MAX_MISSED, f"Only with `missed: all`. Default: {DEFAULT_MISSED_MAX}.")
    missed_within_seconds = whole(
        1, MAX_MISSED_WITHIN_SECONDS, f"Only with `missed: all`. Default: {DEFAULT_MISSED_WITHIN_SECONDS}."
    )
    jitter_seconds = whole(
        0,
        MAX_JITTER_SECONDS,
        "Delay each tick by a random time of up to this many seconds. The delay of a tick never changes.",
        load_default=0,
    )
    paused = Flag(metadata=about("Whether the schedule is paused. Absent: unchanged."))
    paused_until = moment("When the pause ends. Only with `paused: true`.")


class PreviewSchedule(TimetableRequest):
    """Which ticks to show; null counts as absent."""

    after = moment("Only ticks after this time. Absent: after now.", data_key="from")
    count = whole(1, MAX_PREVIEWED, "Maximum number of ticks.", load_default=10)


class PauseSchedule(PayloadSchema):
    """Until when to pause a schedule; null counts as absent."""

    class Meta:
        unknown = RAISE

    until = moment("When the pause ends. Null: when somebody resumes it.")


class ScheduleRequest(NamedTuple):
    """The schedule of a request. `job` is what it enqueues; if pause is None, the schedule stays paused or not."""

    rule: Rule
    job: NewJob
    pause: Pause | None


_PUT, _PREVIEW = PutSchedule(), PreviewSchedule()
_BOUNDS = {"missed_max": DEFAULT_MISSED_MAX, "missed_within_seconds": DEFAULT_MISSED_WITHIN_SECONDS}


def check_name(name: str) -> None:
    """Return if a schedule can have this name. Raises: ValidationError."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ValidationError(BAD_NAME)
    if name in TAKEN_NAMES:
        raise ValidationError(f"{name} is reserved and cannot name a schedule.")


def read_schedule(data: Json, jobs: CreateJobRequest) -> ScheduleRequest:
    """Return the schedule of a request. Raises: ValidationError, which names every fault."""
    asked, faults = _readable(_PUT, data)
    job, of_job = _read_job(data.get("job") if isinstance(data, dict) else None, jobs)
    faults |= {"job": of_job} if of_job else {}
    if not faults.keys() & {"cron", "every_seconds", "time_zone"}:
        faults |= _faults_of_timetable(asked)
    if asked.get("missed") != Missed.ALL:
        faults |= {field: ["Only allowed if missed is all."] for field in _BOUNDS if asked.get(field) is not None}
    if asked.get("paused_until") is not None and not asked.get("paused"):
        faults |= {"paused_until": ["Only allowed if paused is true."]}
    if faults or job is None:
        raise ValidationError(faults)
    pause = None if asked.get("paused") is None else Pause(asked["paused"], asked.get("paused_until"))
    return ScheduleRequest(_rule(asked, job), job, pause)


def read_preview(data: Json) -> dict[str, Any]:
    """Return the timetable of a request for a preview, from when, and how many ticks. Raises: Invalid."""
    return load(_PREVIEW, data)


def timetable_of(asked: dict[str, Any], *, counts_from: datetime | None = None) -> Timetable:
    """Return when a schedule with these fields fires. Raises: Invalid."""
    try:
        return _timetable(asked, counts_from)
    except ValidationError as error:
        raise invalid(error) from None


def _readable(schema: Schema, data: Json) -> tuple[dict[str, Any], dict[str, Json]]:
    """Return the valid fields of a request, and the messages about the others."""
    try:
        return schema.load(data), {}
    except ValidationError as error:
        return dict(error.valid_data or {}), messages_of(error)


def _read_job(job: Json, jobs: CreateJobRequest) -> tuple[NewJob | None, dict[str, Json]]:
    """Return the job of a schedule, or its faults; neither if it is not an object, which the schema reports."""
    if not isinstance(job, dict):
        return None, {}
    given = {
        field: ["Not allowed in the job of a schedule."] for field in NOT_OF_A_SCHEDULE if job.get(field) is not None
    }
    try:
        read = jobs.read({field: value for field, value in job.items() if field not in given})
    except ValidationError as error:
        return None, messages_of(error) | given
    return read, given


def _faults_of_timetable(asked: dict[str, Any]) -> dict[str, Json]:
    try:
        _timetable(asked, None)
    except ValidationError as error:
        return messages_of(error)
    return {}


def _timetable(asked: dict[str, Any], counts_from: datetime | None) -> Timetable:
    try:
        return timetable(
            cron=asked.get("cron"),
            every_seconds=asked.get("every_seconds"),
            time_zone=asked.get("time_zone", "UTC"),
            counts_from=counts_from,
        )
    except InvalidSchedule as error:
        raise ValidationError({error.field: [str(error)]}) from None


def _rule(asked: dict[str, Any], job: NewJob) -> Rule:
    is_all = asked["missed"] == Missed.ALL
    cron = _timetable(asked, None).cron
    return Rule(
        job=_kept(job),
        # As it was parsed, without spaces that mean nothing.
        cron=None if cron is None else cron.text,
        every_seconds=asked.get("every_seconds"),
        time_zone=asked["time_zone"],
        overlap=Overlap(asked["overlap"]),
        missed=Missed(asked["missed"]),
        jitter_seconds=asked["jitter_seconds"],
        **{field: asked.get(field) or default if is_all else None for field, default in _BOUNDS.items()},
    )


def _kept(job: NewJob) -> dict[str, Json]:
    """Return the job as the schedule keeps it: the payload as it was sent, and all that has a default."""
    kept = {field.name: getattr(job, field.name) for field in fields_of(job)}
    del kept["parsed_payload"]
    return {field: value for field, value in kept.items() if value not in (None, (), [])}
