"""What a role may do, found out by trying."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from tests.schema.rights_page import ALL


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
