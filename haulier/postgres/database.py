"""The database as one process sees it: a connection for each of its threads, or one for those that take turns."""

from __future__ import annotations

import copy
import threading
import time
from types import SimpleNamespace

from haulier.domain.errors import DatabaseUnavailable, HaulierError, RefusedForNow
from haulier.postgres.connection import Opened, Source, close, connect, is_broken


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
