"""The thread that ends a call which outlasts its deadline."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import AbstractContextManager, suppress

import psycopg2
from psycopg2.extensions import connection as Connection

# How often the thread looks at the deadlines.
LOOK_SECONDS = 0.5


class Watchdog:
    """Shuts the socket of a call that outlasts its deadline; nothing else wakes a call blocked on a dead network.

    Source: tried; keepalives, tcp_user_timeout and statement_timeout of 2 s had not woken it after 20 s.
    """

    def __init__(self) -> None:
        self._start_over()
        # A fork also copies a lock that another thread holds; the child lacks that thread, and every call would wait.
        os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        self._calls: dict[object, tuple[float, Connection]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watching(self, conn: Connection, seconds: float) -> AbstractContextManager[None]:
        """Let the block take this long, and then shut the connection's socket."""
        return _Call(self, conn, seconds)

    def began(self, call: object, conn: Connection, seconds: float) -> None:
        """Note a call that may take this long."""
        with self._lock:
            self._calls[call] = (time.monotonic() + seconds, conn)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="haulier-watchdog", daemon=True)
                self._thread.start()

    def ended(self, call: object) -> None:
        """Note that a call is over."""
        with self._lock:
            del self._calls[call]

    def _watch(self) -> None:
        # Never set: the thread lasts as long as the process.
        process_ends = threading.Event()
        while not process_ends.wait(LOOK_SECONDS):
            with self._lock:
                self._shut_overdue()

    # Its own method: variables of the loop would keep the last connection that it looked at alive.
    def _shut_overdue(self) -> None:
        now = time.monotonic()
        for deadline, conn in self._calls.values():
            # Under the lock, so that the call has not returned, and the descriptor is still that of its socket.
            if deadline <= now:
                _shut(conn)


class _Call:
    """A call that is watched. Not by @contextmanager, which takes three times as long: a lone job waits for it."""

    __slots__ = ("_conn", "_seconds", "_watchdog")

    def __init__(self, watchdog: Watchdog, conn: Connection, seconds: float) -> None:
        self._watchdog, self._conn, self._seconds = watchdog, conn, seconds

    def __enter__(self) -> None:
        self._watchdog.began(self, self._conn, self._seconds)

    def __exit__(self, *_: object) -> None:
        self._watchdog.ended(self)


def _shut(conn: Connection) -> None:
    # A duplicate, because closing the socket object must not close libpq's descriptor.
    with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(conn.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


watchdog = Watchdog()
