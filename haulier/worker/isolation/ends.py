"""Which isolated processes have ended against the worker's will, for its heartbeats."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from haulier.domain.outcome import clean
from haulier.domain.vitals import MOST_NAMED, IsolatedEnds

LATELY_SECONDS = 3600.0
# Of more within an hour the oldest are not counted.
MOST = 1_000
MOST_CHARACTERS = 100


class Ends:
    """The ends of the last hour; safe for all threads. Calls `count` with the kind of each."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._lately: deque[tuple[float, str, str]] = deque(maxlen=MOST)
        self._all = 0
        self._lock = threading.Lock()

    def add(self, kind: str, how: str) -> None:
        """Note that a process of this kind has ended, and how."""
        self._count(kind)
        # What a child has said may be no text that the database takes, and it must not refuse the heartbeat.
        with self._lock:
            self._lately.append((time.monotonic(), kind, clean(how)[:MOST_CHARACTERS]))
            self._all += 1

    def lately(self) -> tuple[list[IsolatedEnds], int]:
        """Return the ends of the last hour by kind and reason, most frequent first, and the number of all ends."""
        since = time.monotonic() - LATELY_SECONDS
        with self._lock:
            counted = Counter((kind, how) for at, kind, how in self._lately if at > since)
            return [IsolatedEnds(*end, times) for end, times in counted.most_common(MOST_NAMED)], self._all
