"""The schemas of groups of failed attempts, as answers show them."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.fingerprint import ID_PATTERN

from .response_schemas import ResponseSchema, always, amount, instant


class ErrorStepResponse(ResponseSchema):
    """A step of the series."""

    at = instant("When it began.")
    failed = amount("Attempts after which their job had failed for good.")
    retried = amount("Attempts after which their job was to be tried again.")


class ErrorsOfQueueResponse(ResponseSchema):
    """What failed in one queue."""

    queue = fields.String(**always("Its name."))
    failed = amount("Attempts in the span after which their job had failed for good.")
    retried = amount("Attempts in the span after which their job was to be tried again.")


class ErrorGroupResponse(ResponseSchema):
    """A group of failed attempts, whose errors differ only in ids, numbers, addresses and quoted parts."""

    id = fields.String(attribute="name", **always("16 hex digits.", pattern=ID_PATTERN))
    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    text = fields.String(**always("The error, with `…` for what differs."))
    example = fields.String(
        **always("The first error, whole; null: its job is in a queue that the key may not see.", nullable=True)
    )
    example_job = fields.UUID(**always("Whose error that was; it may be gone from the history.", nullable=True))
    first_seen = instant("When the first attempt failed with it.")
    last_seen = instant("When the last one did: to the minute, and in the course of a day less exactly, up to an hour.")
    failed = amount("Attempts in the span after which their job had failed for good.")
    retried = amount("Attempts in the span after which their job was to be tried again.")
    muted_until = instant("Until when an operator does not want to hear of it.", nullable=True)
    series = fields.List(fields.Nested(ErrorStepResponse), **always("Oldest first."))


class OneErrorResponse(ErrorGroupResponse):
    """A group of failed attempts, and the queues in which they failed."""

    queues = fields.List(fields.Nested(ErrorsOfQueueResponse), **always("Those in which most failed, 20 at most."))
