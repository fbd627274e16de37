"""The bell: the thread that looks for work waits for it, and any thread that learns of work rings it."""

from __future__ import annotations

import threading
from contextlib import suppress


class Bell:
    """The bell of one process."""

    def __init__(self) -> None:
        # Locked until the bell rings. A lock and not an Event: a thread that waits for a lock wakes sooner.
        self._bell = threading.Lock()
        self._bell.acquire()

    def ring(self) -> None:
        """Wake the thread that looks for work, or have it look again at once."""
        if self._bell.locked():
            self._let_go()

    def clear(self) -> None:
        """Forget the rings so far; call it before looking for work, so that a ring during the look is not lost."""
        self._bell.acquire(blocking=False)

    def wait(self, seconds: float) -> None:
        """Wait for a ring, at most this long."""
        if self._bell.acquire(timeout=max(0.0, seconds)):
            self._let_go()

    def _let_go(self) -> None:
        # Another thread may have released the lock since the check.
        with suppress(RuntimeError):
            self._bell.release()
