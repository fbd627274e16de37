"""The database as one process sees it: a connection for each of its threads, or one for those that take turns."""

from __future__ import annotations

import copy
import threading
import time
from contextlib import AbstractContextManager
from types import SimpleNamespace

from haulier.domain.errors import DatabaseUnavailable, HaulierError, RefusedForNow
from haulier.postgres.connection import close, connect, is_broken
from haulier.postgres.errors import ours
from haulier.postgres.statements import Connection


class Database:
    """The database as one process sees it: a connection for each thread that asks, opened by that thread."""

    def __init__(self, url: str, *, application_name: str = "haulier") -> None:
        self._url = url
        self._application_name = application_name
        self._mine: threading.local | SimpleNamespace = threading.local()
        # When one last broke: those opened before may be dead too, and each would take seconds to notice.
        self._broke = SimpleNamespace(at=float("-inf"))

    def in_turns(self) -> Database:
        """Return the same database with one further connection for all threads, of which one may use it at a time."""
        # What breaks there counts here too, and the other way round.
        other = copy.copy(self)
        other._mine = SimpleNamespace()
        return other

    def connection(self) -> AbstractContextManager[Connection]:
        """Give this thread's connection, reopened where it broke; it is kept for the thread's next use.

        Raises: DatabaseUnavailable; TooManyConnections; StatementRefused.
        """
        return _Use(self)

    def open(self) -> Connection:
        """Return this thread's connection, reopened where it broke. Raises: DatabaseUnavailable; TooManyConnections."""
        conn: Connection | None = getattr(self._mine, "conn", None)
        if conn is None or self._mine.opened_at <= self._broke.at or is_broken(conn):
            self.close()
            self._mine.opened_at = time.monotonic()
            conn = self._mine.conn = connect(self._url, application_name=self._application_name)
        return conn

    def failed(self, conn: Connection, error: HaulierError) -> None:
        """Note the error that a use of this thread's connection ended with, and close it where it may be broken."""
        if isinstance(error, RefusedForNow):
            if is_broken(conn):
                self.close()
        elif isinstance(error, DatabaseUnavailable):
            if conn.closed:
                self._broke.at = time.monotonic()
            self.close()

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        conn = self._mine.__dict__.pop("conn", None)
        if conn is not None:
            close(conn)


class _Use:
    """A connection in use, with psycopg2's errors turned into ours; as fast as `translated`, for the same reason."""

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
