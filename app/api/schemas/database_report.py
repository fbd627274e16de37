"""The schemas of the health of the database."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.checks import CheckState

from .response_schemas import ResponseSchema, always, amount, instant


def _number(description: str) -> fields.Float:
    return fields.Float(**always(description, nullable=True))


class CheckThreshold(ResponseSchema):
    """From which number on a check warns, and is bad."""

    unit = fields.String(required=True)
    warn = _number("Null: never.")
    bad = _number("Null: never.")
    is_least = fields.Boolean(**always("True: from which on downwards."))


class DatabaseCheck(ResponseSchema):
    """One check."""

    name = fields.String(**always("For programs."))
    state = fields.Enum(
        CheckState,
        by_value=True,
        **always("`unknown`: the role of the API may not see it, or it took too long; the message says which."),
    )
    number = _number("What was found; null: nothing could be seen.")
    threshold = fields.Nested(CheckThreshold, required=True)
    message = fields.String(**always("What was found, in words."))
    effect = fields.String(**always("What such trouble does to jobs."))
    fix = fields.String(**always("What to do; null: nothing.", nullable=True))


class DatabaseTable(ResponseSchema):
    """A table; of one with partitions, all of them together."""

    name = fields.String(required=True)
    partitions = amount("How many it has; 0: it is not partitioned.")
    rows = amount("As the server estimates them.")
    dead_rows = amount("Deleted or replaced rows that vacuum has not removed, by the same estimate.", attribute="dead")
    table_bytes = amount("Without its indexes.")
    index_bytes = amount("All its indexes.")
    bloat = _number("How often over its rows would fit, by estimate; null: it is below 10 MB, or that is not known.")
    vacuumed_at = instant("When vacuum last came to any of its partitions; null: never.", nullable=True)
    analyzed_at = instant("When the table as a whole was last analysed; null: never.", nullable=True)


class DatabaseResponse(ResponseSchema):
    """The health of the database."""

    at = instant("By the database's clock.")
    version = fields.String(**always("Of the server."))
    checks = fields.List(fields.Nested(DatabaseCheck), required=True)
    tables = fields.List(
        fields.Nested(DatabaseTable),
        **always("Haulier's tables, the largest first; null: they could not be read.", nullable=True),
    )
    tables_message = fields.String(**always("Why the tables could not be read; null if they could.", nullable=True))
