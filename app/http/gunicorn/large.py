"""The queue of large requests: they wait here for their turn, and not in threads, which small requests need.

As objects a request can take thirty times its size, and a batch, which is read job by job, twice its size. So a request
is measured by the longest one of its route: a job of 1 MiB counts as much as a batch of 16 MiB.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

# The longest wait; routers give up after 30 s.
WAIT_SECONDS = 20.0
# The most bytes of all requests that wait in a process.
MOST_BYTES = 64 * 1024 * 1024


class _Waiting(NamedTuple):
    conn: Any
    size: int
    share: float
    since: float


class Large:
    """The large requests of a process. One thread at a time may use it.

    Together, those at work take at most `places` threads and are at most as long as the longest request of a route. A
    single request may be longer.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        # Each request at work with its share of the longest that its route allows.
        self._at_work: dict[Any, float] = {}
        self._waiting: deque[_Waiting] = deque()

    def add(self, conn: Any, size: int, longest: int, now: float) -> bool:
        """Queue a request; return False if too many bytes wait."""
        share = size / longest
        is_next = not self._waiting and self._fits(share)
        if not is_next and sum(each.size for each in self._waiting) + size > MOST_BYTES:
            return False
        self._waiting.append(_Waiting(conn, size, share, now))
        return True

    def leave(self, conn: Any) -> bool:
        """Note that a thread has done with this connection; return whether that was the last large request at work."""
        return self._at_work.pop(conn, None) is not None and not self._at_work

    def start(self) -> list[Any]:
        """Return the connections whose turn it is now, in the order in which they came."""
        started = []
        while self._waiting and self._fits(self._waiting[0].share):
            first = self._waiting.popleft()
            self._at_work[first.conn] = first.share
            started.append(first.conn)
        return started

    def overdue(self, now: float) -> list[Any]:
        """Remove and return the connections that have waited for too long."""
        gone = []
        while self._waiting and now - self._waiting[0].since >= WAIT_SECONDS:
            gone.append(self._waiting.popleft().conn)
        return gone

    def _fits(self, share: float) -> bool:
        at_work = self._at_work.values()
        return not at_work or (len(at_work) < self._places and sum(at_work) + share <= 1)
