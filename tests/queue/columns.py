"""Jobs of which every column that the catalogue names holds a value of its own, and what an act makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.conftest import Sql

Row = dict[str, Any]

# Marks a column that the row after an act does not have.
GONE = object()
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = """
    SELECT attname, format_type(atttypid, NULL), attgenerated <> ''
    FROM pg_attribute
    WHERE attrelid = ('haulier.' || %s)::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attname
"""
# Columns whose values a check restricts, or that an act compares with each other.
RESTRICTED: Row = {
    "kind": "mail",
    "queue": "bulk",
    "priority": 7,
    "attempts": 5,
    "max_attempts": 900,
    "payload": {"n": 1},
    "errors": [{"attempt": 1, "error": "no luck"}],
    "result": None,
}


def new_row(sql: Sql, table: str, status: str, **values: Any) -> Row:
    """Insert a job with a value of its own in each column, except those given, and return it."""
    is_running = status == "running"
    row = {
        name: _value_of(place, name, kind)
        for place, (name, kind, is_generated) in enumerate(sql(COLUMNS, table), start=1)
        if not is_generated
    }
    row |= RESTRICTED | {"status": status, "cancel_requested": False}
    if table == "finished_job":
        row["finished_at"] = datetime.now(UTC)
    elif not is_running:
        row["worker_id"] = None
    row = {name: value for name, value in (row | values).items() if name in dict(_types(sql, table))}
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    sql(f"INSERT INTO haulier.{table} ({names}) VALUES ({marks})", *map(_as_sent, row.values()))
    return read_row(sql, table, row["id"])


def read_row(sql: Sql, table: str, job_id: UUID) -> Row:
    """Return all columns of a job."""
    types = _types(sql, table)
    [values] = sql(f"SELECT {', '.join(name for name, _ in types)} FROM haulier.{table} WHERE id = %s", job_id)
    return dict(zip((name for name, _ in types), values, strict=True))


def wrong_columns(before: Row, after: Row, written: Row) -> Row:
    """Return the columns that came out wrong, each with its value before, after, and as it should be.

    Args:
        before: The row as it was. Each column of it that nothing else is said of has to stay as it is.
        after: The row as it is.
        written: What the act writes: for each column the value, a function that says if a value is right, or GONE.
    """
    wrong = {}
    for name in before.keys() | after.keys():
        expected = written.get(name, before.get(name, GONE))
        value = after.get(name, GONE)
        is_right = expected(value) if callable(expected) else expected is value or expected == value
        if not is_right:
            wrong[name] = (before.get(name, GONE), value, expected)
    return wrong


def is_now(value: object) -> bool:
    """Return whether the value is a time of the last minute."""
    return isinstance(value, datetime) and abs(datetime.now(UTC) - value) < timedelta(minutes=1)


def is_new(*old: object) -> Callable[[object], bool]:
    """Return a function that says whether a value is there, and none of the old ones."""
    return lambda value: value is not None and value not in old


def _types(sql: Sql, table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, _ in sql(COLUMNS, table)]


def _value_of(place: int, name: str, kind: str) -> Any:
    """Return a value that no other column has."""
    values: dict[str, Any] = {
        "uuid": UUID(int=place << 64 | 7 << 76 | 8 << 60),
        "text": f"{name} {place}",
        "smallint": place,
        "integer": 100 + place,
        "bigint": 1000 + place,
        "double precision": 0.5 + place,
        "boolean": True,
        "timestamp with time zone": LONG_AGO + timedelta(hours=place),
        "jsonb": {name: place},
        "text[]": [f"{name} {place}"],
    }
    return values[kind]


def _as_sent(value: Any) -> Any:
    is_json = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
    return json.dumps(value) if is_json else value
