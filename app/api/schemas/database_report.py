"""The schemas of the health of the database."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.checks import CheckState

from .response_schemas import CELL, ResponseSchema, always, amount, instant


def _number(description: str) -> fields.Float:
    return fields.Float(**always(description, nullable=True))


class CheckThreshold(ResponseSchema):
    """From which number on a check warns, and is bad."""

    unit = fields.String(required=True)
    warn = _number("Null: never.")
    bad = _number("Null: never.")
    is_least = fields.Boolean(**always("True: the check warns at or below the threshold. False: at or above it."))


class DatabaseCheck(ResponseSchema):
    """One check."""

    name = fields.String(**always("For programs."))
    state = fields.Enum(
        CheckState,
        by_value=True,
        **always("`unknown`: the role of the API may not read this, or it took too long; `message` says which."),
    )
    number = _number("The measured value; null: unknown.")
    threshold = fields.Nested(CheckThreshold, required=True)
    message = fields.String(**always("The result in words."))
    effect = fields.String(**always("Effect of this problem on jobs."))
    fix = fields.String(**always("What to do; null: nothing to do.", nullable=True))


class DatabaseTable(ResponseSchema):
    """A table; of one with partitions, all of them together."""

    name = fields.String(required=True)
    partitions = amount("Number of partitions; 0: the table is not partitioned.")
    rows = amount("Estimated number of rows.")
    dead_rows = amount("Estimated number of deleted or replaced rows that vacuum has not removed.", attribute="dead")
    table_bytes = amount("Size without indexes.")
    index_bytes = amount("Size of all indexes.")
    bloat = _number("Estimated ratio of the size to the size that its rows need; null: below 10 MB, or unknown.")
    vacuumed_at = instant("When vacuum last ran on the table or one of its partitions; null: never.", nullable=True)
    analyzed_at = instant("When ANALYZE last ran on the whole table; null: never.", nullable=True)


class DatabaseResponse(ResponseSchema):
    """The health of the database."""

    at = instant("Time of the checks, by the database's clock.")
    version = fields.String(**always("Version of the PostgreSQL server."))
    cell = fields.Integer(metadata=CELL)
    checks = fields.List(fields.Nested(DatabaseCheck), required=True)
    tables = fields.List(
        fields.Nested(DatabaseTable),
        **always("Haulier's tables, largest first; null: they could not be read.", nullable=True),
    )
    tables_message = fields.String(**always("Why the tables could not be read; null: they could.", nullable=True))
