"""What the roles of grants.sql may do to which tables, and functions that find out what a role may do."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

ALL = ["all of them"]
# For each table, what may be done to which columns.
TABLES: dict[str, dict[str, dict[str, list[str]]]] = {
    "web": {
        "api_key": {"SELECT": ALL, "UPDATE": ["last_used_at"]},
        "audit": {"SELECT": ALL},
        "counting": {"SELECT": ALL},
        "depth": {"SELECT": ALL},
        "error_count": {"SELECT": ALL},
        "error_group": {"SELECT": ALL},
        "finished_job": {"SELECT": ALL},
        "idempotency": {"SELECT": ALL, "INSERT": ["key", "fingerprint", "job_id"]},
        "job": {
            "SELECT": ALL,
            "INSERT": [
                "id",
                "kind",
                "queue",
                "priority",
                "run_at",
                "max_attempts",
                "timeout_seconds",
                "payload",
                "idempotency_key",
                "tags",
            ],
        },
        "jobs": {"SELECT": ALL},
        "moved": {"SELECT": ALL},
        "pause": {"SELECT": ALL},
        "operation": {"SELECT": ALL},
        "preview": {"SELECT": ALL, "UPDATE": ["matched", "matched_is"]},
        "queue": {"SELECT": ALL, "INSERT": ["name", "key_id"], "UPDATE": ["used_at"]},
        "rate_budget": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL},
        "rollup": {"SELECT": ALL},
        "schedule": {"SELECT": ALL, "UPDATE": ["decided_to", "pending_at", "next_at", "look_at"]},
        "schema_version": {"SELECT": ALL},
        "session": {"SELECT": ALL, "UPDATE": ["seen_at", "expires_at"], "DELETE": ALL},
        "tick": {"SELECT": ALL},
        "worker": {"SELECT": ALL},
        "worker_past": {"SELECT": ALL},
    },
    "worker": {
        "audit": {"SELECT": ALL, "UPDATE": ["at"], "DELETE": ALL},
        "counting": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL},
        "depth": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
        "error_count": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
        "error_group": {"SELECT": ALL, "INSERT": ALL, "DELETE": ALL},
        "finished_job": {"INSERT": ALL, "SELECT": ["id", "finished_at", "tags"]},
        "idempotency": {"SELECT": ALL, "UPDATE": ["created_at"], "DELETE": ALL},
        "job": {
            "SELECT": ALL,
            "UPDATE": [
                "status",
                "run_at",
                "worker_id",
                "attempt",
                "claim",
                "started_at",
                "attempts",
                "crashes",
                "snoozes",
                "backoff",
                "last_error",
                "errors",
                "updated_at",
                "error_id",
            ],
            "DELETE": ALL,
        },
        "jobs": {"SELECT": ALL},
        "lane": {"SELECT": ALL},
        "moved": {"SELECT": ALL, "DELETE": ALL},
        "pause": {"SELECT": ALL},
        "operation": {"SELECT": ALL, "UPDATE": ["error"], "DELETE": ALL},
        "preview": {"SELECT": ALL, "UPDATE": ["matched"], "DELETE": ALL},
        "progress": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
        "queue": {"SELECT": ALL, "UPDATE": ["used_at"], "DELETE": ALL},
        "rollup": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
        "schedule": {"SELECT": ALL, "UPDATE": ["decided_to", "pending_at", "next_at", "look_at"]},
        "schema_version": {"SELECT": ALL},
        "session": {"SELECT": ["hash", "expires_at"], "UPDATE": ["seen_at"], "DELETE": ALL},
        "sleeper": {"SELECT": ALL, "INSERT": ALL, "DELETE": ALL},
        "tick": {"SELECT": ALL, "UPDATE": ["decided_at"], "DELETE": ALL},
        "worker": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
        "worker_past": {"SELECT": ALL, "UPDATE": ["ended_at"], "DELETE": ALL},
    },
}


def ask(conn: Connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def is_permitted(conn: Connection, statement: str) -> bool:
    """Run the statement, undo it, and tell whether the role may: what else it may fail of comes after its rights."""
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


def permitted_on(conn: Connection, table: str, kind: str, columns: list[str]) -> dict[str, list[str]]:
    """Return what the role may do to the table, and to which columns of it."""
    by_column = {"SELECT": "SELECT {column} FROM {table} LIMIT 0"}
    by_table = {}
    # The views are a recursion and a union, to which nobody can write: Postgres looks at that before it does at rights.
    if kind != "v":
        by_column["INSERT"] = "INSERT INTO {table} ({column}) VALUES (DEFAULT)"
        by_column["UPDATE"] = "UPDATE {table} SET {column} = DEFAULT WHERE false"
        by_table = {"DELETE": "DELETE FROM {table} WHERE false", "TRUNCATE": "TRUNCATE {table}"}
    found = {
        verb: [name for name in columns if is_permitted(conn, statement.format(table=table, column=quoted(name)))]
        for verb, statement in by_column.items()
    }
    found = {verb: ALL if names == columns else names for verb, names in found.items() if names}
    return found | {verb: ALL for verb, text in by_table.items() if is_permitted(conn, text.format(table=table))}


def columns_of(conn: Connection) -> dict[tuple[str, str], list[str]]:
    """Return the columns of each table and view, partitions included, by its name and sort."""
    found = ask(
        conn,
        "SELECT relname, relkind::text, array_agg(attname::text ORDER BY attnum)"
        " FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
        " WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v') GROUP BY relname, relkind",
    )
    return {(name, kind): columns for name, kind, columns in found}
