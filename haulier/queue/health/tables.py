"""The tables of the schema: how large each is, how much of it is dead, and when it was last vacuumed and analysed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc

# What the look may take.
LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Table:
    """A table; of one with partitions, all of them together.

    `rows` and dead are as the server estimates them. vacuumed_at is when vacuum last came to any of its partitions,
    analyzed_at when the table as a whole was analysed. bloat is how often over its rows would fit; None if it is small
    or that is not known.
    """

    name: str
    partitions: int
    rows: int
    dead: int
    table_bytes: int
    index_bytes: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    bloat: float | None


def list_tables(conn: Connection, *, limit: int = 50) -> list[Table]:
    """Return the tables, the largest first."""
    times = ("vacuumed_at", "analyzed_at")
    return [
        Table(**{**row, **{name: row[name] and utc(row[name]) for name in times}})
        for row in rows(conn, "tables", limit=limit)
    ]
