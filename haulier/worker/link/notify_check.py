"""Whether notifications come through: the heartbeat sends one on its connection, and the listener has to receive it.

LISTEN also succeeds through a pool in transaction mode, but then no notification ever comes. The listener cannot test
this on its own connection: while a statement runs there, the pool passes notifications on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# How long after its commit the notification counts as lost; it usually takes a millisecond or two.
LOST_SECONDS = 5.0


class NotifyCheck:
    """One test call at a time, and whether the listener heard it. Units: seconds of `clock`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._number = 0
        self._is_wanted = False
        self._called_at: float | None = None

    def ask(self) -> None:
        """Have the heartbeat make a new call; any earlier call no longer counts."""
        with self._lock:
            self._number += 1
            self._is_wanted, self._called_at = True, None

    @property
    def wanted(self) -> int | None:
        """Return the number of the call to make, or None."""
        with self._lock:
            return self._number if self._is_wanted else None

    def called(self, number: int) -> None:
        """Note that this call was made, and committed."""
        with self._lock:
            if self._is_wanted and number == self._number:
                self._is_wanted, self._called_at = False, self._clock()

    def heard(self) -> None:
        """Note that the listener received a notification, of any kind: no call is missing any more."""
        with self._lock:
            self._is_wanted, self._called_at = False, None

    @property
    def is_missing(self) -> bool:
        """Return whether the listener should have heard the last call by now, and has not."""
        with self._lock:
            return self._called_at is not None and self._clock() - self._called_at >= LOST_SECONDS
