"""What is sent through a connection: statements of the .sql files, by name, each bounded in time.

Every call has two deadlines: the server's (statement_timeout, for one transaction), and the client's, which shuts
the socket when the server does not even say that it timed out. What the call did is then unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import sql

from haulier.postgres.sql_files import SQL
from haulier.postgres.watchdog import watchdog

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # not in the stubs

STATEMENT_SECONDS = 5.0
LOCK_SECONDS = 3.0
# Between two statements of a transaction there is only our own work.
IDLE_SECONDS = 10.0
# The client gives up after the server should have.
CLIENT_GRACE_SECONDS = 2.0

Connection = psycopg2.extensions.connection
Row = dict[str, Any]


def rows(
    conn: Connection,
    name: str,
    /,
    *,
    seconds: float = STATEMENT_SECONDS,
    json_as_text: bool = False,
    **parameters: Any,
) -> list[Row]:
    """Run one statement of the .sql files and return its rows.

    On a connection in autocommit mode it is a transaction of its own, and so durable when this returns. Inside a
    transaction, of ours or of the caller's, it is part of that. In one of the caller's own the caller's search_path
    holds: where somebody else may create in a schema of it, say `SET LOCAL search_path = pg_catalog, pg_temp` first.
    Shape: with json_as_text a jsonb is its text, in UTF-8, instead of the objects that it says.
    Units: seconds is the time the statement may take.
    """
    statement = SQL[name]
    if _is_outside_transactions(conn):
        statement = SQL["bounded"] + "\n" + statement
        parameters["milliseconds"] = int(seconds * 1000)
    return _execute(conn, statement, parameters, seconds, json_as_text=json_as_text)


def _is_outside_transactions(conn: Connection) -> bool:
    """Tell whether the next statement would be a transaction of its own, and not part of one of the caller's."""
    return conn.autocommit and conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE


def message(
    conn: Connection, names: Sequence[str], /, *, seconds: float, prepared: Mapping[str, str], **parameters: Any
) -> list[tuple[Any, ...]]:
    """Run several statements of the .sql files in one round trip and return the rows of the last, all values as text.

    What begins and ends a transaction in it is said by its statements; where one fails, what it has left open is
    rolled back here. A value costs a fifth of what psycopg2 takes to read it: the caller reads those it needs.
    Shape: prepared gives the calls of statements that this connection has prepared.
    Units: seconds is the time that all of them together may take.
    """
    statement = "\n".join([prepared.get(name) or SQL[name] for name in names])
    with watchdog.watching(conn, seconds + CLIENT_GRACE_SECONDS), conn.cursor() as cursor:
        psycopg2.extensions.register_type(_AS_TEXT, cursor)
        try:
            cursor.execute(statement, parameters)
        except psycopg2.Error:
            # Under autocommit psycopg2's own rollback() does nothing.
            with suppress(psycopg2.Error):
                cursor.execute(SQL["rollback"])
            raise
        return cursor.fetchall()


# Bytes, since a text of Python's takes four for each letter where one of them is beyond the first 65,536.
_JSON_AS_BYTES = psycopg2.extensions.new_type(
    (3802,), "JSON", lambda text, _: text.encode() if isinstance(text, str) else text
)

# uuid, timestamptz, jsonb
_AS_TEXT = psycopg2.extensions.new_type((2950, 1184, 3802), "TEXT", psycopg2.extensions.UNICODE)


def prepare(conn: Connection, statement: str, *, seconds: float = STATEMENT_SECONDS) -> None:
    """Run some PREPAREs in one round trip, within this time."""
    _execute(conn, SQL["bounded"] + "\n" + statement, {"milliseconds": int(seconds * 1000)}, seconds)


def copy(conn: Connection, name: str, lines: Iterable[str], /, *, seconds: float) -> None:
    """Send the lines to a COPY as they are made. It bounds nothing: the transaction around it does."""
    with watchdog.watching(conn, seconds + CLIENT_GRACE_SECONDS), conn.cursor() as cursor:
        cursor.copy_expert(SQL[name], cast(TextIO, _Lines(lines)))


class _Lines:
    """Lines as the file that psycopg2 reads from."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    def read(self, size: int) -> str:
        """Return about so much of them, and nothing at the end."""
        taken: list[str] = []
        while size > 0 and (line := next(self._lines, None)) is not None:
            taken.append(line)
            size -= len(line)
        return "".join(taken)


def ddl(
    conn: Connection, name: str, /, *, seconds: float = 60.0, identifier: str | tuple[str, str], **parameters: Any
) -> None:
    """Run one statement of the .sql files that names a table. It bounds nothing: the transaction around it does.

    Shape: the identifier is a name, or (schema, name) where the statement says no schema.
    """
    words = (identifier,) if isinstance(identifier, str) else identifier
    statement = sql.SQL(SQL[name]).format(name=sql.Identifier(*words))
    _execute(conn, statement, parameters, seconds)


def script(conn: Connection, text: str, *, seconds: float) -> None:
    """Run a file of statements as it is."""
    _execute(conn, text, None, seconds)


@contextmanager
def transaction(
    conn: Connection, *, seconds: float = STATEMENT_SECONDS, lock_seconds: float = LOCK_SECONDS
) -> Iterator[None]:
    """Make what is run inside one transaction, committed at the end; inside the caller's own it is part of that."""
    if not _is_outside_transactions(conn):
        yield
        return
    limits = {
        "milliseconds": int(seconds * 1000),
        "lock_milliseconds": int(lock_seconds * 1000),
        "idle_milliseconds": int(IDLE_SECONDS * 1000),
    }
    _execute(conn, SQL["begin"], limits, seconds)
    try:
        yield
    except BaseException:
        # Under autocommit psycopg2's own rollback() does nothing.
        with suppress(psycopg2.Error):
            _execute(conn, SQL["rollback"], None, seconds)
        raise
    _execute(conn, SQL["commit"], None, seconds)


def _execute(
    conn: Connection, statement: Any, parameters: Row | None, seconds: float, *, json_as_text: bool = False
) -> list[Row]:
    with watchdog.watching(conn, seconds + CLIENT_GRACE_SECONDS), conn.cursor() as cursor:
        if json_as_text:
            psycopg2.extensions.register_type(_JSON_AS_BYTES, cursor)
        cursor.execute(statement, parameters)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
