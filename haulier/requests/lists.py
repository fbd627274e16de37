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
    short_text,
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
        metadata=about("Only operations in this state. May be repeated: any of these states."),
    )
    limit = page_limit()
    cursor = page_cursor()


class ListAudit(Schema):
    """Which entries to list."""

    job = fields.UUID(metadata=about("Only actions on this job.", **{"x-component": "JobId"}))
    actor = short_text(MAX_ACTOR, "Only actions by this actor: the id of an API key, `env` or `cli`.")
    action = Several(
        fields.String(validate=validate.OneOf([str(act) for act in Act])),
        len(Act),
        metadata=about("Only this action. May be repeated: any of these actions."),
    )
    target = short_text(
        MAX_TARGET,
        "Only actions on this target: the id of an API key, error group, worker or operation, or the name of a queue"
        " or schedule.",
    )
    after = moment("Only actions after this time.")
    before = moment("Only actions before this time.")
    limit = page_limit()
    cursor = page_cursor()


def _span(default: str) -> fields.String:
    return fields.String(
        load_default=default,
        validate=validate.OneOf(list(SPANS)),
        metadata=about("Length of the period that ends now."),
    )


class AskStats(Schema):
    """Which figures to read."""

    span = _span("1h")
    queue = name(metadata=about("Only jobs of this queue."))
    kind = name(metadata=about("Only jobs of this kind. Unknown kinds are accepted."))


class AskError(Schema):
    """Of which time."""

    span = _span(DEFAULT_SPAN)


class ListErrors(AskError):
    """Which groups to list."""

    kind = name(metadata=about("Only errors of this kind. Unknown kinds are accepted."))
    queue = name(metadata=about("Only errors in this queue."))
    text = short_text(MAX_TEXT, "Only errors whose text or example contains this. Case does not matter.")
    limit = page_limit()
    cursor = page_cursor()
