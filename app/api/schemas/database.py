"""The schemas of the health of the database."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.checks import CheckState

from .fields import about, instant
from .response_schemas import ResponseSchema


def _number(description: str) -> fields.Float:
    return fields.Float(required=True, allow_none=True, metadata=about(description))


class CheckThreshold(ResponseSchema):
    """From which number on a check warns, and is bad."""

    unit = fields.String(required=True)
    warn = _number("Null: never.")
    bad = _number("Null: never.")
    is_least = fields.Boolean(required=True, metadata=about("True: from which on downwards."))


class DatabaseCheck(ResponseSchema):
    """One check."""

    name = fields.String(required=True, metadata=about("For programs."))
    state = fields.Enum(
        CheckState,
        by_value=True,
        required=True,
        metadata=about("`unknown`: the role of the API may not see it, or it took too long; the message says which."),
    )
    number = _number("What was found; null: nothing could be seen.")
    threshold = fields.Nested(CheckThreshold, required=True)
    message = fields.String(required=True, metadata=about("What was found, in words."))
    effect = fields.String(required=True, metadata=about("What such trouble does to jobs."))
    fix = fields.String(required=True, allow_none=True, metadata=about("What to do; null: nothing."))


class DatabaseResponse(ResponseSchema):
    """The health of the database."""

    at = instant("By the database's clock.")
    version = fields.String(required=True, metadata=about("Of the server."))
    checks = fields.List(fields.Nested(DatabaseCheck), required=True)
