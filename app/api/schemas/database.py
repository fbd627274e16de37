"""The schemas of the health of the database."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from haulier.domain.checks import CheckState
from haulier.requests.fields import about

from .response_schemas import ResponseSchema, instant


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


def _whole(description: str, **options: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata=about(description, minimum=0), **options)


class DatabaseTable(ResponseSchema):
    """A table; of one with partitions, all of them together."""

    name = fields.String(required=True)
    partitions = _whole("How many it has; 0: it is not partitioned.")
    rows = _whole("As the server estimates them.")
    dead_rows = _whole("Deleted or replaced rows that vacuum has not removed, by the same estimate.", attribute="dead")
    table_bytes = _whole("Without its indexes.")
    index_bytes = _whole("All its indexes.")
    bloat = _number("How often over its rows would fit, by estimate; null: it is below 10 MB, or that is not known.")
    vacuumed_at = instant("When vacuum last came to any of its partitions; null: never.", nullable=True)
    analyzed_at = instant("When the table as a whole was last analysed; null: never.", nullable=True)


class DatabaseResponse(ResponseSchema):
    """The health of the database."""

    at = instant("By the database's clock.")
    version = fields.String(required=True, metadata=about("Of the server."))
    checks = fields.List(fields.Nested(DatabaseCheck), required=True)
    tables = fields.List(
        fields.Nested(DatabaseTable),
        required=True,
        allow_none=True,
        metadata=about("Haulier's tables, the largest first; null: they could not be read."),
    )
    tables_message = fields.String(
        required=True, allow_none=True, metadata=about("Why the tables could not be read; null where they could.")
    )
