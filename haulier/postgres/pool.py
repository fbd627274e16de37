"""The database as a process sees it whose threads share their connections, and wait for one where none is to be had."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple

from haulier.domain.errors import DatabaseUnavailable, HaulierError, RefusedForNow, TooManyConnections
from haulier.postgres.connection import close, connect, is_broken
from haulier.postgres.errors import ours
from haulier.postgres.statements import Connection

# How long a thread waits for a connection where the server takes no further one.
WAIT_SECONDS = 2.0
# The pauses between two tries, each up to half longer or shorter by chance; they double.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.4
# After a wait in vain the server is asked so often at most: each refusal costs it a process.
RETRY_SECONDS = 0.1


class Opened(NamedTuple):
    """A connection, and when it was opened."""

    conn: Connection
    at: float


class Pool:
    """Connections that threads share: as many are open as were in use at one time, and are kept."""

    def __init__(self, url: str, *, application_name: str = "haulier", wait_seconds: float = WAIT_SECONDS) -> None:
        self._url = url
        self._application_name = application_name
        self._wait_seconds = wait_seconds
        self._free: deque[Opened] = deque()
        # For those that wait: a thread that returns one and comes for the next would always be there before them.
        self._handed_on: deque[Opened] = deque()
        self._waiting = 0
        self._returned = threading.Condition()
        # When a connection last broke: those opened before may be dead too, and each would take seconds to notice.
        self._broke_at = float("-inf")
        # A wait was in vain, and no connection was to be had since; when the server has last refused one.
        self._is_full = False
        self._refused_at = float("-inf")

    def connection(self) -> AbstractContextManager[Connection]:
        """Give a connection, for the block alone. A block inside of it would need another one.

        Raises: DatabaseUnavailable; TooManyConnections, where none is to be had in time; StatementRefused.
        """
        return _Use(self)

    def take(self) -> Opened:
        """Return a free connection, a new one, or one for which the caller has waited."""
        if self._is_full and time.monotonic() < self._refused_at + RETRY_SECONDS and not self._free:
            raise TooManyConnections
        until, pause = time.monotonic() + self._wait_seconds, FIRST_PAUSE_SECONDS
        while True:
            if opened := self._take_free() or self._try_to_open(until):
                return opened
            if opened := self._wait_for_another(pause * random.uniform(0.5, 1.5)):
                return opened
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def _take_free(self) -> Opened | None:
        while True:
            try:
                opened = self._free.pop()
            except IndexError:
                return None
            if self._is_good(opened):
                return opened

    def _is_good(self, opened: Opened) -> bool:
        if opened.at > self._broke_at and not is_broken(opened.conn):
            return True
        close(opened.conn)
        return False

    def _try_to_open(self, until: float) -> Opened | None:
        """Return a new connection, or None: wait for one. Raises: TooManyConnections; DatabaseUnavailable."""
        at = time.monotonic()
        try:
            conn = connect(self._url, application_name=self._application_name)
        except TooManyConnections:
            self._refused_at = time.monotonic()
            if self._is_full or self._refused_at >= until:
                # Those that come now are answered at once: if each of them waited, they would wait for each other.
                self._is_full = True
                raise
            return None
        self._is_full = False
        return Opened(conn, at)

    def _wait_for_another(self, seconds: float) -> Opened | None:
        """Return a connection that another thread gives back in this time."""
        with self._returned:
            self._waiting += 1
            if not self._handed_on and not self._free:
                self._returned.wait(seconds)
            self._waiting -= 1
            opened = self._handed_on.popleft() if self._handed_on else None
        return opened if opened is not None and self._is_good(opened) else None

    def give_back(self, opened: Opened) -> None:
        """Keep the connection for the next thread; the caller no longer uses it."""
        self._is_full = False
        if self._waiting:
            with self._returned:
                if len(self._handed_on) < self._waiting:
                    self._handed_on.append(opened)
                    self._returned.notify()
                    return
        self._free.append(opened)

    def failed(self, opened: Opened, error: HaulierError) -> None:
        """Note the error that a use of the connection ended with, and close it where it may be broken."""
        if not isinstance(error, DatabaseUnavailable) or isinstance(error, RefusedForNow):
            self.give_back(opened)
            return
        if opened.conn.closed:
            self._broke_at = time.monotonic()
        close(opened.conn)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with suppress(IndexError):
            while True:
                close(self._free.pop().conn)


class _Use:
    """A connection in use, with psycopg2's errors turned into ours; as fast as `translated`, for the same reason."""

    __slots__ = ("_opened", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __enter__(self) -> Connection:
        self._opened = self._pool.take()
        return self._opened.conn

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            self._pool.give_back(self._opened)
            return
        known = ours(error) or error
        if isinstance(known, HaulierError):
            self._pool.failed(self._opened, known)
        else:
            self._pool.give_back(self._opened)
        if known is not error:
            raise known from error
