"""A queue of large requests: they wait here for their turn, and not in threads, which small requests need."""

from __future__ import annotations

from collections import deque
from typing import Any

# The longest wait; routers give up after 30 s.
WAIT_SECONDS = 20.0
# The most bytes of all requests that wait in a process.
MOST_BYTES = 64 * 1024 * 1024


class Large:
    """The large requests of a process: at most `places` are in threads, the others wait. One thread at a time."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._at_work: set[Any] = set()
        self._waiting: deque[tuple[Any, int, float]] = deque()
        self._bytes = 0

    def has_room(self, size: int) -> bool:
        """Tell whether a request of this size may enter: a place is free, or there is room to wait."""
        return len(self._at_work) < self._places or self._bytes + size <= MOST_BYTES

    def enter(self, conn: Any, size: int, now: float) -> bool:
        """Take a place and return True; where none is free, queue the request and return False."""
        if len(self._at_work) < self._places:
            self._at_work.add(conn)
            return True
        self._waiting.append((conn, size, now))
        self._bytes += size
        return False

    def leave(self, conn: Any) -> Any | None:
        """Give back the place of a connection, if it has one, and return the connection whose turn it is now."""
        if conn not in self._at_work:
            return None
        self._at_work.discard(conn)
        if not self._waiting:
            return None
        following, size, _ = self._waiting.popleft()
        self._bytes -= size
        self._at_work.add(following)
        return following

    def overdue(self, now: float) -> list[Any]:
        """Remove and return the connections that have waited for too long."""
        gone = []
        while self._waiting and now - self._waiting[0][2] >= WAIT_SECONDS:
            conn, size, _ = self._waiting.popleft()
            self._bytes -= size
            gone.append(conn)
        return gone
