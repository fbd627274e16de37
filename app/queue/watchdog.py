"""The thread that ends a call which outlasts its deadline."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2
from psycopg2.extensions import connection as Connection


class Watchdog:
    """Shuts the socket of a call that outlasts its deadline; nothing else wakes a call blocked on a dead network.

    Source: tried; keepalives, tcp_user_timeout and statement_timeout of 2 s had not woken it after 20 s.
    """

    def __init__(self) -> None:
        self._start_over()
        # A fork copies the lock as it is, also held by a thread that the child does not have: every call would wait.
        os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        self._calls: dict[object, tuple[float, Connection]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, conn: Connection, seconds: float) -> Iterator[None]:
        """Let what is done inside take so long, and shut the connection's socket then."""
        call = object()
        with self._changed:
            self._calls[call] = (time.monotonic() + seconds, conn)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="haulier-watchdog", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                del self._calls[call]

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(0.5)
                self._shut_overdue()

    # Not in the loop, whose variables would keep the last connection alive that was looked at.
    def _shut_overdue(self) -> None:
        now = time.monotonic()
        for deadline, conn in self._calls.values():
            # Under the lock, so that the call has not returned and its socket is still its own.
            if deadline <= now:
                _shut(conn)


def _shut(conn: Connection) -> None:
    # A duplicate, because closing the socket object must not close libpq's descriptor.
    with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(conn.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


watchdog = Watchdog()
