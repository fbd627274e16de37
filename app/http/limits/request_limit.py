"""Limits how many slow requests a process answers at once, in all and for one caller: nobody can take every thread.

A slow request is a preview, a search, a count, statistics or a page: a view states it by `needs(…, slow=True)`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from ..request_errors import RateLimited, TooBusy

# A slow request waits for this long for a place: most of those before it take less.
WAIT_SECONDS = 0.2
# While a request waits, others cannot use its thread. After a wait in vain its caller does not wait for this long.
NO_WAIT_SECONDS = 1.0
AGAIN_SECONDS = 1
MOST_CALLERS = 1000


class RequestLimit:
    """The places for slow requests of one process.

    All callers together have one place less than there are threads, and one caller half as many as there are threads:
    the others find a place for a slow request, and a thread for a quick one.
    """

    def __init__(self, threads: int) -> None:
        self._most, self.most_of_one = max(1, threads - 1), max(1, threads // 2)
        self._running: Counter[str] = Counter()
        self._is_waited = False
        self._no_wait_until: dict[str, float] = {}
        self._changed = threading.Condition()

    def enter(self, caller: str) -> None:
        """Take a place, after a short wait if there is none. Raises: RateLimited; TooBusy."""
        with self._changed:
            if not self._is_free_for(caller):
                self._wait(caller)
            if self._is_free_for(caller):
                self._running[caller] += 1
                self._changed.notify()
            elif self._has_all_of_one(caller):
                raise RateLimited(
                    AGAIN_SECONDS, "too many slow requests of this caller are running: wait for one to end"
                )
            else:
                raise TooBusy

    def leave(self, caller: str) -> None:
        """Give the place back."""
        with self._changed:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
            self._changed.notify()

    def _wait(self, caller: str) -> None:
        """Wait for a place, unless another thread does, or this caller recently has in vain."""
        now = time.monotonic()
        if self._is_waited or self._is_hopeless(caller) or now < self._no_wait_until.get(caller, now):
            return
        self._is_waited = True
        # Whoever waits for its own requests gives up once others need all threads but the one in which it waits.
        self._changed.wait_for(lambda: self._is_free_for(caller) or self._is_hopeless(caller), WAIT_SECONDS)
        self._is_waited = False
        if not self._is_free_for(caller):
            if len(self._no_wait_until) >= MOST_CALLERS:
                self._no_wait_until.clear()
            self._no_wait_until[caller] = time.monotonic() + NO_WAIT_SECONDS

    def _is_free_for(self, caller: str) -> bool:
        return not self._is_full and not self._has_all_of_one(caller)

    def _is_hopeless(self, caller: str) -> bool:
        return self._is_full and self._has_all_of_one(caller)

    @property
    def _is_full(self) -> bool:
        return self._running.total() >= self._most

    def _has_all_of_one(self, caller: str) -> bool:
        return self._running[caller] >= self.most_of_one
