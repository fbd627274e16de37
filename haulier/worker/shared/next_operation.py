"""When an operation is to be worked on, as far as this process knows."""

from __future__ import annotations

import threading
import time


class NextOperation:
    """Told by the heartbeat, which looks every few seconds; the thread that works operations off waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at = float("inf")
        self._is_closed = False

    def seen(self, seconds: float | None) -> None:
        """Note in how many seconds one is due; None: there is none."""
        with self._changed:
            self._at = float("inf") if seconds is None else time.monotonic() + seconds
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait until one is due, and forget it; False, at once, when the process closes."""
        with self._changed:
            while not self._is_closed:
                left = self._at - time.monotonic()
                if left <= 0:
                    self._at = float("inf")
                    return True
                self._changed.wait(None if left == float("inf") else left)
            return False

    def close(self) -> None:
        """Have whoever waits go on: the process closes."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
