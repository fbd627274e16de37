"""The schemas of groups of failed attempts, as answers show them."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.fingerprint import ID_PATTERN

from .response_schemas import ResponseSchema, always, amount, instant


class ErrorStepResponse(ResponseSchema):
    """A step of the series."""

    at = instant("When the step began.")
    failed = amount("Attempts after which the job failed permanently.")
    retried = amount("Attempts after which the job was to be retried.")


class ErrorsOfQueueResponse(ResponseSchema):
    """What failed in one queue."""

    queue = fields.String(**always("Its name."))
    failed = amount("Attempts in the span after which the job failed permanently.")
    retried = amount("Attempts in the span after which the job was to be retried.")


class ErrorGroupResponse(ResponseSchema):
    """A group of failed attempts, whose errors differ only in ids, numbers, addresses and quoted parts."""

    id = fields.String(attribute="name", **always("16 hex digits.", pattern=ID_PATTERN))
    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    text = fields.String(**always("The error text, with `…` in place of varying parts."))
    example = fields.String(
        **always(
            "The full text of the first error; null: its job is in a queue that the key may not see.", nullable=True
        )
    )
    example_job = fields.UUID(**always("The job with the first error. It may no longer be kept.", nullable=True))
    first_seen = instant("When an attempt first failed with this error.")
    last_seen = instant(
        "When an attempt last failed with this error: exact to the minute at first, to the hour after a day."
    )
    failed = amount("Attempts in the span after which the job failed permanently.")
    retried = amount("Attempts in the span after which the job was to be retried.")
    muted_until = instant("Until when an operator has muted the group; null: not muted.", nullable=True)
    series = fields.List(fields.Nested(ErrorStepResponse), **always("Oldest first."))


class OneErrorResponse(ErrorGroupResponse):
    """A group of failed attempts, and the queues in which they failed."""

    queues = fields.List(
        fields.Nested(ErrorsOfQueueResponse), **always("The queues with the most failures, at most 20.")
    )
