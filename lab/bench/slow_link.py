"""A TCP proxy before a database that limits the bytes a second in each direction, like a link to another machine."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import AbstractContextManager, suppress

from lab.relay import Relay, running

# Small enough that connections which send at the same time share the link evenly.
PIECE = 16 * 1024
# How much may pass at once after an idle time, in seconds of the link's rate, so that sleeps need not be exact.
BURST_SECONDS = 0.005


class Direction:
    """One direction of the link: a sender waits until earlier bytes have passed."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0
        # Never set: a wait on it is a sleep.
        self._pause = threading.Event()

    def pass_on(self, size: int) -> None:
        """Return when this many bytes have passed."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            free_at = self._free_at
        if (wait := free_at - BURST_SECONDS - time.monotonic()) > 0:
            self._pause.wait(wait)


class SlowLink(Relay):
    """Any number of connections that share a link. Shape: `url` is the database's DSN through the link."""

    def __init__(self, url: str, bytes_per_second: float) -> None:
        super().__init__(url, name="slow link")
        self._to_server, self._to_client = Direction(bytes_per_second), Direction(bytes_per_second)

    def _keep(self, client: socket.socket, server: socket.socket) -> None:
        for end in (client, server):
            # A small buffer: bytes in it would pass at the speed of this machine.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE)
        pair = Pair(client, server)
        self._spawn(self._carry, pair, server, client, self._to_client)
        self._carry(pair, client, server, self._to_server)

    def _carry(self, pair: Pair, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        with suppress(OSError), pair:
            while not self._closing.is_set() and not pair.is_cut:
                if not select.select([source], [], [], 0.1)[0]:
                    continue
                if not (data := source.recv(PIECE)):
                    return
                direction.pass_on(len(data))
                target.sendall(data)


class Pair:
    """Both ends of one connection. When one direction ends, so does the other, and the last to leave closes them."""

    def __init__(self, *ends: socket.socket) -> None:
        self._ends = ends
        self._lock = threading.Lock()
        self._left = 0
        self.is_cut = False

    def __enter__(self) -> None:
        """Do nothing: the ends are open."""

    def __exit__(self, *_: object) -> None:
        self.is_cut = True
        with self._lock:
            self._left += 1
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                if self._left == len(self._ends):
                    end.close()


def slow_link(url: str, bytes_per_second: float) -> AbstractContextManager[SlowLink]:
    """Yield a running link to this database. Units: bytes a second, in each direction."""
    return running(SlowLink(url, bytes_per_second))
