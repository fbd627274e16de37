"""What is sent through a connection: statements of the .sql files, by name, each bounded in time.

Every call has two deadlines: the server's (statement_timeout, for one transaction), and the client's, which shuts
the socket when the server does not even say that it timed out. What the call did is then unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO, cast

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import sql

from haulier.domain.errors import RowRefused
from haulier.postgres.sql_files import SQL
from haulier.postgres.watchdog import watchdog

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # not in the stubs

STATEMENT_SECONDS = 5.0
LOCK_SECONDS = 3.0
# How long a transaction may be idle: between two of its statements only our own code runs.
IDLE_SECONDS = 10.0
# How much later than the server the client gives up.
CLIENT_GRACE_SECONDS = 2.0

Connection = psycopg2.extensions.connection
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How long each statement may take, and wait for a lock. Units: seconds."""

    seconds: float
    lock_seconds: float


_bounds: ContextVar[_Bounds | None] = ContextVar("bounds", default=None)


@contextmanager
def bounded(*, seconds: float, lock_seconds: float) -> Iterator[None]:
    """Give each statement of the block this much time at most, whatever more it asks for. Units: seconds.

    For blocks that only read. In a transaction around them they would have the same snapshots, a statement each, at the
    price of two round trips more.
    """
    token = _bounds.set(_Bounds(seconds, lock_seconds))
    try:
        yield
    finally:
        _bounds.reset(token)


def rows(
    conn: Connection, name: str, /, *, seconds: float = STATEMENT_SECONDS, json_as_text: bool = False, **parameters: Any
) -> list[Row]:
    """Run one statement of the .sql files and return its rows.

    On a connection in autocommit mode it is its own transaction, and so durable when this returns. Inside a
    transaction, of ours or of the caller, it is part of that transaction. Inside one of the caller the caller's
    search_path holds: if others may create objects on it, run `SET LOCAL search_path = pg_catalog, pg_temp` first.

    With json_as_text a jsonb value is its text as UTF-8, and is not parsed.
    Units: seconds is the time that the statement may take.
    """
    statement, seconds = _limited(conn, SQL[name], parameters, seconds)
    return _execute(conn, statement, parameters, seconds, json_as_text=json_as_text)


def rows_at_once(
    conn: Connection,
    names: Sequence[str],
    /,
    *,
    prepared: Mapping[str, str],
    seconds: float = STATEMENT_SECONDS,
    lock_seconds: float = LOCK_SECONDS,
    **parameters: Any,
) -> list[Row]:
    """Run several statements of the .sql files in one round trip and return the rows of the last.

    Like those of `rows` they are one transaction; a jsonb value is its text as UTF-8.

    `prepared` is as for `message`.
    """
    statements = "\n".join([prepared.get(name) or SQL[name] for name in names])
    statement, seconds = _limited(conn, statements, parameters, seconds, lock_seconds)
    return _execute(conn, statement, parameters, seconds, json_as_text=True)


def first_row(
    conn: Connection, name: str, /, *, prepared: Mapping[str, str], **parameters: Any
) -> tuple[Any, ...] | None:
    """Run one statement of the .sql files and return its first row, None if there is none.

    It is a transaction as one of `rows` is; `prepared` is as for `message`. A row by names takes longer to read.
    """
    statement, seconds = _limited(conn, prepared.get(name) or SQL[name], parameters, STATEMENT_SECONDS)
    with watchdog.watching(conn, seconds + CLIENT_GRACE_SECONDS), conn.cursor() as cursor:
        _execute_in(cursor, statement, parameters, seconds)
        return cursor.fetchone()


def _limited(
    conn: Connection, statement: str, parameters: Row, seconds: float, lock_seconds: float | None = None
) -> tuple[str, float]:
    """Return the statement behind its limits, whose values are added to the parameters, and its seconds.

    In a block of `bounded` it gets no more than that gives. In another's transaction that one's limits hold.
    """
    if not is_outside_transactions(conn):
        return statement, seconds
    limits = SQL["bounded"]
    if bounds := _bounds.get():
        seconds = min(seconds, bounds.seconds)
        lock_seconds = bounds.lock_seconds if lock_seconds is None else min(lock_seconds, bounds.lock_seconds)
    parameters["milliseconds"] = int(seconds * 1000)
    if lock_seconds is not None:
        limits += "\n" + SQL["locks_bounded"]
        parameters["lock_milliseconds"] = int(lock_seconds * 1000)
    return f"{limits}\n{statement}", seconds


def is_outside_transactions(conn: Connection) -> bool:
    """Return whether the next statement would be its own transaction, and not part of one of the caller's."""
    return conn.autocommit and conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE


def message(
    conn: Connection, names: Sequence[str], /, *, seconds: float, prepared: Mapping[str, str], **parameters: Any
) -> list[tuple[Any, ...]]:
    """Run several statements of the .sql files in one round trip and return the rows of the last, all values as text.

    The statements begin and end their transactions themselves; if one fails, an open transaction is rolled back
    here. Values stay text, at a fifth of the cost of having psycopg2 parse them: the caller parses those it needs.

    `prepared` maps the names of statements that this connection has prepared to the SQL that calls them.
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


# Bytes, since a Python string takes four bytes for every character if one of them is beyond U+FFFF.
_JSON_AS_BYTES = psycopg2.extensions.new_type(
    (3802,), "JSON", lambda text, _: text.encode() if isinstance(text, str) else text
)

# uuid, timestamptz, jsonb
_AS_TEXT = psycopg2.extensions.new_type((2950, 1184, 3802), "TEXT", psycopg2.extensions.UNICODE)


def prepare(conn: Connection, statement: str, *, seconds: float = STATEMENT_SECONDS) -> None:
    """Run some PREPAREs in one round trip, within this time."""
    _execute(conn, SQL["bounded"] + "\n" + statement, {"milliseconds": int(seconds * 1000)}, seconds)


def copy(conn: Connection, name: str, lines: Iterable[str], /, *, seconds: float) -> None:
    """Send the lines to a COPY as they are made. The transaction around it sets the time limit of the server."""
    with watchdog.watching(conn, seconds + CLIENT_GRACE_SECONDS), conn.cursor() as cursor:
        cursor.copy_expert(SQL[name], cast(TextIO, _Lines(lines)))


class _Lines:
    """Lines in the form of a file, as psycopg2 reads them."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    def read(self, size: int) -> str:
        """Return about this many characters of the lines, and nothing at their end."""
        taken: list[str] = []
        while size > 0 and (line := next(self._lines, None)) is not None:
            taken.append(line)
            size -= len(line)
        return "".join(taken)


def ddl(
    conn: Connection, name: str, /, *, seconds: float = 60.0, identifier: str | tuple[str, str], **parameters: Any
) -> None:
    """Run one statement of the .sql files that names a table or a database. It sets no time limit on the server.

    The identifier is a name, or (schema, name) if the statement gives no schema.
    """
    words = (identifier,) if isinstance(identifier, str) else identifier
    statement = sql.SQL(SQL[name]).format(name=sql.Identifier(*words))
    _execute(conn, statement, parameters, seconds)


def script(conn: Connection, text: str, *, seconds: float) -> None:
    """Run a whole file of statements, unchanged."""
    _execute(conn, text, None, seconds)


@dataclass(slots=True)
class Begun:
    """A transaction that has begun.

    `rows` are what the statement found that was sent with the beginning; not is_ours: it is part of the caller's.
    """

    conn: Connection
    rows: list[Row]
    seconds: float
    is_ours: bool = True
    is_over: bool = False


def end_with(begun: Begun, name: str, /, **parameters: Any) -> None:
    """Run the last statement of a transaction, and commit it in the same round trip unless it is part of the caller's.

    What the statement returns is lost, since the answer is about the commit.
    """
    statement = SQL[name] + "\n" + SQL["commit"] if begun.is_ours else SQL[name]
    _execute(begun.conn, statement, parameters, begun.seconds)
    begun.is_over = begun.is_ours


@contextmanager
def transaction(
    conn: Connection, *, seconds: float = STATEMENT_SECONDS, lock_seconds: float = LOCK_SECONDS
) -> Iterator[None]:
    """Run the block in one transaction, committed at its end; inside a transaction of the caller it is part of that."""
    if not is_outside_transactions(conn):
        yield
        return
    with _begun(conn, SQL["begin"], {}, seconds, lock_seconds):
        yield


@contextmanager
def transaction_of(
    conn: Connection,
    /,
    *names: str,
    seconds: float = STATEMENT_SECONDS,
    lock_seconds: float = LOCK_SECONDS,
    **parameters: Any,
) -> Iterator[Begun]:
    """Run the block as `transaction` does, and give it the rows of the last statement that is sent with the beginning.

    That saves a round trip, and a wait for the interpreter if other threads are busy; `end_with` saves another.
    """
    statement = "\n".join([SQL[name] for name in names])
    if not is_outside_transactions(conn):
        yield Begun(conn, _execute(conn, statement, parameters, seconds), seconds, is_ours=False)
        return
    with _begun(conn, SQL["begin"] + "\n" + statement, parameters, seconds, lock_seconds) as begun:
        yield begun


@contextmanager
def _begun(conn: Connection, statement: str, parameters: Row, seconds: float, lock_seconds: float) -> Iterator[Begun]:
    if bounds := _bounds.get():
        seconds, lock_seconds = min(seconds, bounds.seconds), min(lock_seconds, bounds.lock_seconds)
    limits = {
        "milliseconds": int(seconds * 1000),
        "lock_milliseconds": int(lock_seconds * 1000),
        "idle_milliseconds": int(IDLE_SECONDS * 1000),
    }
    try:
        begun = Begun(conn, _execute(conn, statement, parameters | limits, seconds), seconds)
        yield begun
    except BaseException:
        # Under autocommit psycopg2's own rollback() does nothing.
        with suppress(psycopg2.Error):
            _execute(conn, SQL["rollback"], None, seconds)
        raise
    if not begun.is_over:
        _execute(conn, SQL["commit"], None, seconds)


@contextmanager
def savepoint(conn: Connection, *, seconds: float = STATEMENT_SECONDS) -> Iterator[None]:
    """Run the block as a part of the transaction that is rolled back by itself if the database refuses it.

    Constraints that are deferred are checked at its end, not when the transaction commits.
    """
    _execute(conn, SQL["begin_part"], None, seconds)
    try:
        yield
        _execute(conn, SQL["end_part"], None, seconds)
    except (psycopg2.Error, RowRefused):
        _execute(conn, SQL["undo_part"], None, seconds)
        raise


def _execute(
    conn: Connection, statement: Any, parameters: Row | None, seconds: float, *, json_as_text: bool = False
) -> list[Row]:
    with watchdog.watching(conn, seconds + CLIENT_GRACE_SECONDS), conn.cursor() as cursor:
        if json_as_text:
            psycopg2.extensions.register_type(_JSON_AS_BYTES, cursor)
        _execute_in(cursor, statement, parameters, seconds)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _execute_in(cursor: psycopg2.extensions.cursor, statement: Any, parameters: Row | None, seconds: float) -> None:
    """Run the statement; outside a transaction none after it meets with the end of its time.

    Source: tried. A statement that ends just as its time is up does not fail: PostgreSQL ends the next one instead,
    as timed out, whatever limit that has.
    """
    began = time.monotonic()
    cursor.execute(statement, parameters)
    if time.monotonic() - began >= int(seconds * 1000) / 1000 and is_outside_transactions(cursor.connection):
        # Whatever becomes of this, the statement before has ended well: its caller is to hear of that.
        with suppress(psycopg2.Error), cursor.connection.cursor() as another:
            another.execute(SQL["nothing"])
