"""What a role may do, found out by trying, and what an application is granted and sends."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

# docs/database.md asks operators to grant this to an application that enqueues by INSERT.
COLUMN_GRANT = (
    "GRANT INSERT (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds, tags) ON haulier.job TO {}"
)
TABLE_GRANT = "GRANT INSERT ON haulier.job TO {}"
INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{\"n\": 1}')"
# What the API is sent.
EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}


def ask(conn: Connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def is_permitted(conn: Connection, statement: str) -> bool:
    """Run the statement, undo it, and return whether the role may: Postgres checks rights before anything else."""
    try:
        ask(conn, f"BEGIN; {statement}")
    except errors.InsufficientPrivilege:
        return False
    except psycopg2.Error:
        pass
    finally:
        ask(conn, "ROLLBACK")
    return True


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def columns_of(conn: Connection) -> dict[str, list[str]]:
    """Return the columns of each table and view, partitions included, by its name."""
    return dict(
        ask(
            conn,
            "SELECT relname::text, array_agg(attname::text ORDER BY attnum)"
            " FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
            " WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v') GROUP BY relname",
        )
    )
