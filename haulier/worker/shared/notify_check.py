"""Whether notifications come through: the heartbeat's connection calls, and the listener's has to hear it.

LISTEN succeeds through a pool in transaction mode as well, and then nothing ever comes. Nothing that the listener could
ask on its own connection tells: while it asks, the pool does pass notifications on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# From the call's commit; a notification takes a millisecond or two.
ECHO_SECONDS = 5.0


class NotifyCheck:
    """One call at a time, and whether it was heard. Units: seconds of `clock`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._number = 0
        self._is_wanted = False
        self._called_at: float | None = None

    def ask(self) -> None:
        """Have the heartbeat call; what was called before is no longer of interest."""
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
        """Note that something was heard: nothing is missing any more."""
        with self._lock:
            self._is_wanted, self._called_at = False, None

    @property
    def is_missing(self) -> bool:
        """Tell whether the call should have been heard by now. Until it is made nothing is missing."""
        with self._lock:
            return self._called_at is not None and self._clock() - self._called_at >= ECHO_SECONDS
