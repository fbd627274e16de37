"""A time limit over a whole conversation with another machine, which also ends when the job is to stop."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Retry

POLL_SECONDS = 0.1


class Deadline:
    """Cuts the sockets given to it at the time limit, or as soon as the job is to stop.

    A socket's own timeout bounds one read only: a peer that sends a byte now and then holds its reader for ever.
    Shutting the connection down from a second thread wakes the reader, even in the TLS handshake.

    Units: seconds is for everything between enter and exit.
    Raises: JobCancelled or Retry in place of the error that a cut causes.
    """

    def __init__(self, context: JobContext, seconds: float, what: str) -> None:
        self.context = context
        self._limit = f"{what} took longer than {seconds:g} s"
        self._end = time.monotonic() + seconds
        self._heeds_stop = True
        self._cut = False
        self._cut_by_stop = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Deadline:
        self.context.raise_if_cancelled()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        for sock in self._sockets:
            sock.close()
        if self._cut and isinstance(error, Exception):
            self.check()

    def left(self) -> float:
        """Return the seconds that remain, never 0. Raises: JobCancelled, Retry."""
        self.check()
        return max(0.001, self._end - time.monotonic())

    def patience(self) -> float:
        """Return the timeout for a socket: a little beyond the limit, so that the limit ends the wait."""
        return self.left() + 1.0

    def check(self) -> None:
        """Return while the conversation may continue; called after a read, since a cut looks like the end of the data.

        Raises: JobCancelled, Retry.
        """
        if self._heeds_stop or self._cut_by_stop:
            self.context.raise_if_cancelled()
        if self._cut or time.monotonic() >= self._end:
            raise Retry(self._limit)

    def adopt(self, sock: socket.socket) -> None:
        """Watch this socket from now on."""
        with self._lock:
            # A copy of the descriptor, which stays valid when TLS wraps the socket or when the owner closes it.
            self._sockets.append(sock.dup())
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)
            self._thread.start()
        if self._cut:
            self._shut()

    def hold(self) -> None:
        """From now on only the time limit cuts: the peer is about to act, and after a cut nobody knows whether it did.

        Raises: JobCancelled, Retry.
        """
        self.check()
        self._heeds_stop = False

    def shorten(self, seconds: float) -> None:
        """Let at most this time remain."""
        self._end = min(self._end, time.monotonic() + seconds)

    def _watch(self) -> None:
        while not self._done.wait(min(POLL_SECONDS, max(0.0, self._end - time.monotonic()))):
            stopping = self._heeds_stop and self.context.cancelled
            if stopping or time.monotonic() >= self._end:
                self._cut_by_stop, self._cut = stopping, True
                self._shut()
                return

    def _shut(self) -> None:
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
