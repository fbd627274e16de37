"""Values on their way into a statement and out of a row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime


def array(values: Iterable[object]) -> str:
    """Return the values as the text of a Postgres array; a list would be quoted by psycopg2, at ten times the cost."""
    elements = list(values)
    # In most columns of a batch all values are the same.
    if elements and elements.count(elements[0]) == len(elements):
        return "{" + ",".join([_element(elements[0])] * len(elements)) + "}"
    distinct = {value: _element(value) for value in set(elements)}
    return "{" + ",".join([distinct[value] for value in elements]) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def utc(instant: datetime) -> datetime:
    """Return the instant in UTC; psycopg2 gives it in the session's time zone, which PgBouncer does not let us set."""
    return instant.astimezone(UTC)
