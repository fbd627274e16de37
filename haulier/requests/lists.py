"""The queries of lists and figures; the one for jobs is in job_conditions.py."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from haulier.domain.act import Act
from haulier.domain.api_key import KEY_ID_PATTERN
from haulier.domain.job import NAME_PATTERN
from haulier.domain.operation import OperationStatus
from haulier.domain.span import DEFAULT_SPAN, SPANS
from haulier.requests.fields import (
    UUID_PATTERN,
    Several,
    about,
    moment,
    name,
    name_cursor,
    page_cursor,
    page_limit,
    searched,
)

MAX_TEXT = MAX_ACTOR = MAX_TARGET = 200


class ListSchedules(Schema):
    """Which schedules to list."""

    limit = page_limit()
    cursor = name_cursor(NAME_PATTERN)


class ListTicks(Schema):
    """Which ticks to list."""

    limit = page_limit()
    cursor = page_cursor()


class ListQueues(Schema):
    """Which queues to list."""

    limit = page_limit()
    cursor = name_cursor(NAME_PATTERN)


class ListWorkers(Schema):
    """Which workers to list."""

    limit = page_limit()
    # Not fields.UUID, which takes other forms of an id as well.
    cursor = name_cursor(UUID_PATTERN)


class ListKeys(Schema):
    """Which keys to list."""

    limit = page_limit()
    cursor = name_cursor(KEY_ID_PATTERN)


class ListOperations(Schema):
    """Which operations to list."""

    status = Several(
        fields.Enum(OperationStatus, by_value=fields.String),
        len(OperationStatus),
        metadata=about("Only those in this state; given more than once: in any of these."),
    )
    limit = page_limit()
    cursor = page_cursor()


class ListAudit(Schema):
    """Which entries to list."""

    job = fields.UUID(metadata=about("Only what was done to this job.", **{"x-component": "JobId"}))
    actor = searched(MAX_ACTOR, "Only what was done with the API key of this id; or by `env`, or `cli`.")
    action = Several(
        fields.String(validate=validate.OneOf([str(act) for act in Act])),
        len(Act),
        metadata=about("Only such acts; given more than once: any of these."),
    )
    target = searched(
        MAX_TARGET,
        "Only what was done to this: an API key, a group of errors, a worker or an operation by its id, a queue or a"
        " schedule by its name.",
    )
    after = moment("Only what was done later than this.")
    before = moment("Only what was done before this.")
    limit = page_limit()
    cursor = page_cursor()


def _span(default: str) -> fields.String:
    return fields.String(
        load_default=default, validate=validate.OneOf(list(SPANS)), metadata=about("How long a time, up to now.")
    )


class AskStats(Schema):
    """Which figures to read."""

    span = _span("1h")
    queue = name(metadata=about("Only jobs of this queue."))
    kind = name(metadata=about("Only jobs of this kind; any well-formed name."))


class AskError(Schema):
    """Of which time."""

    span = _span(DEFAULT_SPAN)


class ListErrors(AskError):
    """Which groups to list."""

    kind = name(metadata=about("Only errors of this kind; any well-formed name."))
    queue = name(metadata=about("Only what failed in this queue."))
    text = searched(MAX_TEXT, "Only errors whose text holds this, in any case.")
    limit = page_limit()
    cursor = page_cursor()
