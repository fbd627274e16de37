"""How many requests of the dashboard may run at once: one thread of each process is the API's."""

from __future__ import annotations

import threading
import time

WAIT_SECONDS = 0.2
# A thread that waits is one that the API does not have. After a wait in vain nobody waits for this long.
FULL_SECONDS = 1.0


class Turns:
    """Turns for so many threads at once."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._place = threading.Lock()
        self._full_until = float("-inf")

    def take(self) -> bool:
        """Take a turn, after a short wait where all are taken; tell whether there was one."""
        if self._free.acquire(blocking=False):
            return True
        if time.monotonic() < self._full_until or not self._place.acquire(blocking=False):
            return False
        try:
            is_taken = self._free.acquire(timeout=WAIT_SECONDS)
        finally:
            self._place.release()
        if not is_taken:
            self._full_until = time.monotonic() + FULL_SECONDS
        return is_taken

    def give_back(self) -> None:
        """Give a turn back."""
        self._free.release()
