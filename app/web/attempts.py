"""A bound on how often something may be tried in a second, in one process."""

from __future__ import annotations

import math
import threading
import time


class Attempts:
    """So many attempts a second, and as many at once."""

    def __init__(self, per_second: float) -> None:
        self._rate = self._left = per_second
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> int:
        """Take an attempt and return 0; where none is left, return the seconds until there is."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._rate, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return math.ceil((1 - self._left) / self._rate)
            self._left -= 1
            return 0
