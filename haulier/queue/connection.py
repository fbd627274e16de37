"""Connections to Postgres: how they are opened, bounded in time and closed, and what is sent through them.

Every call has two deadlines: the server's (statement_timeout, for one transaction), and the client's, which shuts
the socket when the server does not even say that it timed out. What the call did is then unknown.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import sql

from haulier.domain.errors import ConfigError, DatabaseUnavailable, HaulierError, RefusedForNow
from haulier.queue.errors import ours, translated
from haulier.queue.sql_files import SQL
from haulier.queue.stored import read_json
from haulier.queue.watchdog import watchdog

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # not in the stubs

STATEMENT_SECONDS = 5.0
LOCK_SECONDS = 3.0
# Between two statements of a transaction there is only our own work.
IDLE_SECONDS = 10.0
# The client gives up after the server should have.
CLIENT_GRACE_SECONDS = 2.0

Row = dict[str, Any]
Connection = psycopg2.extensions.connection


class Database:
    """The database as one process sees it: a connection for each thread that asks, opened by that thread."""

    def __init__(self, url: str, *, application_name: str = "haulier") -> None:
        self._url = url
        self._application_name = application_name
        self._mine = threading.local()
        # When a connection last broke: those opened before may lead nowhere too, and each would take seconds to say so.
        self._broke_at = float("-inf")

    def connection(self) -> AbstractContextManager[Connection]:
        """Give this thread's connection, reopened where it broke; it is kept for the thread's next use.

        Raises: DatabaseUnavailable; TooManyConnections; StatementRefused.
        """
        return _Use(self)

    def open(self) -> Connection:
        """Return this thread's connection, reopened where it broke. Raises: DatabaseUnavailable; TooManyConnections."""
        conn: Connection | None = getattr(self._mine, "conn", None)
        if conn is None or self._mine.opened_at <= self._broke_at or is_broken(conn):
            self.close()
            self._mine.opened_at = time.monotonic()
            conn = self._mine.conn = connect(self._url, application_name=self._application_name)
        return conn

    def failed(self, conn: Connection, error: HaulierError) -> None:
        """Note what a use of this thread's connection ended with: where it may be broken, it is closed."""
        if isinstance(error, RefusedForNow):
            if is_broken(conn):
                self.close()
        elif isinstance(error, DatabaseUnavailable):
            if conn.closed:
                self._broke_at = time.monotonic()
            self.close()

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        conn = self._mine.__dict__.pop("conn", None)
        if conn is not None:
            close(conn)


class _Use:
    """A connection while it is used, and psycopg2's errors turned into ours; as `translated`, no generator."""

    __slots__ = ("_conn", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> Connection:
        self._conn = self._database.open()
        return self._conn

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        known = ours(error) or error
        if isinstance(known, HaulierError):
            self._database.failed(self._conn, known)
        if known is not error:
            raise known from error


def connect(url: str, *, application_name: str = "haulier") -> Connection:
    """Return a new connection in autocommit mode. Raises: DatabaseUnavailable; TooManyConnections; ConfigError."""
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": application_name,
        # A role or a database may have another, in which not everything can be said.
        "client_encoding": "UTF8",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    given = parse(url)
    with translated():
        conn: Connection = psycopg2.connect(
            url, **{name: value for name, value in defaults.items() if name not in given}
        )
    conn.autocommit = True
    psycopg2.extras.register_default_jsonb(conn, globally=False, loads=read_json)
    return conn


def parse(url: str, name: str = "DATABASE_URL") -> dict[str, str]:
    """Return what a connection string says. Raises: ConfigError, which names the setting and quotes nothing."""
    try:
        return dict(psycopg2.extensions.parse_dsn(url))
    except psycopg2.ProgrammingError:
        # Not "from error": what libpq says of it may quote the password.
        raise ConfigError(f"{name} cannot be read as a connection string") from None


def server_process(conn: Connection) -> int:
    """Return the id of the server's process that answers now; behind a pool each transaction may have another."""
    [row] = rows(conn, "server_process")
    return int(row["pid"])


def is_pooled(conn: Connection) -> bool:
    """Tell whether there is a pool between, so that what is set for the session may be somebody else's.

    Source: PgBouncer tells its clients process ids of its own, since a cancel has to come to it.
    """
    return server_process(conn) != conn.get_backend_pid()


def close(conn: Connection) -> None:
    """Close the connection, whatever state it is in."""
    with suppress(psycopg2.Error):
        conn.close()


def is_broken(conn: Connection) -> bool:
    """Tell, without a round trip, whether the connection can no longer be used."""
    if conn.closed or conn.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
        return True
    # Nothing is under way, so that only a server which is gone has anything to say.
    return is_readable(conn, 0)


def is_readable(conn: Connection, seconds: float) -> bool:
    """Wait until the server has said something, at most so long, and tell whether it has."""
    # Not select(), which refuses descriptors from 1024 on: a handler's may be many.
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(math.ceil(seconds * 1000)))


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
    alone = conn.autocommit and conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    if alone:
        statement = SQL["bounded"] + "\n" + statement
        parameters["milliseconds"] = int(seconds * 1000)
    return _execute(conn, statement, parameters, seconds, json_as_text=json_as_text)


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


def array(values: Iterable[object]) -> str:
    """Return the values as the text of a Postgres array; a list would be quoted by psycopg2, at ten times the cost."""
    elements = list(values)
    # In most columns of a batch all are the same.
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
    if not conn.autocommit or conn.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
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


def utc(instant: datetime) -> datetime:
    """Return the instant in UTC; psycopg2 gives it in the session's time zone, which PgBouncer does not let us set."""
    return instant.astimezone(UTC)
