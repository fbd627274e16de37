"""The database as one process sees it.

`Database` has a connection for each thread, or one for threads that take turns: for workers. The threads of a `Pool`
share its connections, and wait if none is free: for the API. `BoundedPool` is for an API in another web application.
"""

from __future__ import annotations

import copy
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

from haulier.domain.errors import DatabaseUnavailable, HaulierError, RefusedForNow, TooManyConnections
from haulier.postgres.connection import Opened, Source, close, connect, is_broken
from haulier.postgres.statements import Connection

# How long a thread waits for a connection if the server takes no further one.
WAIT_SECONDS = 2.0
# The pauses between two tries, each up to half longer or shorter by chance; they double.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.4
# After a wait in vain the server is asked this often at most: each refusal costs it a process.
RETRY_SECONDS = 0.1


class Pool(Source):
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
        """Note the error that a use of the connection ended with, and close it if it may be broken."""
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


class BoundedPool(Pool):
    """A pool of at most `most` connections, for a server that may have any number of threads."""

    def __init__(
        self, url: str, most: int, *, application_name: str = "haulier", wait_seconds: float = WAIT_SECONDS
    ) -> None:
        super().__init__(url, application_name=application_name, wait_seconds=wait_seconds)
        # In use, and so also open: a connection is opened only if no other one is free.
        self._places = threading.Semaphore(most)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Give a connection for the block, after a wait if all are in use."""
        if not self._places.acquire(timeout=self._wait_seconds):
            raise TooManyConnections
        try:
            with super().connection() as conn:
                yield conn
        finally:
            self._places.release()


class Database(Source):
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

    def take(self) -> Opened:
        """Return this thread's connection, reopened if it broke. Raises: DatabaseUnavailable; TooManyConnections."""
        opened: Opened | None = getattr(self._mine, "opened", None)
        if opened is None or opened.at <= self._broke.at or is_broken(opened.conn):
            self.close()
            at = time.monotonic()
            opened = Opened(connect(self._url, application_name=self._application_name), at)
            self._mine.opened = opened
        return opened

    def give_back(self, opened: Opened) -> None:
        """Do nothing: the thread keeps its connection."""

    def failed(self, opened: Opened, error: HaulierError) -> None:
        """Note the error that ended a use of the connection, and close the connection if it may be broken."""
        if isinstance(error, RefusedForNow):
            if is_broken(opened.conn):
                self.close()
        elif isinstance(error, DatabaseUnavailable):
            if opened.conn.closed:
                self._broke.at = time.monotonic()
            self.close()

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        opened = self._mine.__dict__.pop("opened", None)
        if opened is not None:
            close(opened.conn)
