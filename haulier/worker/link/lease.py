"""The lease of this process: its worker id, and whether its claims are still its own."""

from __future__ import annotations

import threading
import time
from uuid import UUID


class Lease:
    """The lease as this process knows it. Units: seconds of the monotonic clock, which does not jump."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._worker_id: UUID | None = None
        self._beat_at = float("-inf")
        self._unbroken_since: float | None = None

    @property
    def worker_id(self) -> UUID | None:
        """Return the id under which to claim; None while the lease may have run out, and nothing may be started."""
        with self._lock:
            return self._worker_id if time.monotonic() - self._beat_at < self._seconds else None

    @property
    def registered_as(self) -> UUID | None:
        """Return the id of this process's row, whether or not the lease still holds."""
        return self._worker_id

    @property
    def beat_age(self) -> float:
        """Return the time since the last good beat began."""
        return time.monotonic() - self._beat_at

    @property
    def may_rescue(self) -> bool:
        """Return whether this process's own beats have succeeded for a whole lease.

        After an outage every lease has run out, and live workers need that time to renew theirs.
        """
        with self._lock:
            now = time.monotonic()
            since, good = self._unbroken_since, now - self._beat_at < self._seconds
            return good and since is not None and now - since >= self._seconds

    def registered(self, worker_id: UUID, began_at: float) -> None:
        """Note a new row; began_at is a time before the row was requested."""
        with self._lock:
            self._worker_id, self._beat_at, self._unbroken_since = worker_id, began_at, began_at

    def beaten(self, began_at: float, gap: float) -> None:
        """Note a beat that succeeded; began_at is a time before it was sent.

        Units: gap is the time since the last beat by the database's clock. It is also long if that clock has jumped or
               this machine has slept, which the monotonic clock does not show: all other workers then look dead.
        """
        with self._lock:
            if self._unbroken_since is None or gap >= self._seconds * 2 / 3:
                self._unbroken_since = began_at
            self._beat_at = began_at

    def missed(self) -> None:
        """Note a beat that failed."""
        with self._lock:
            self._unbroken_since = None

    def lost(self) -> None:
        """Note that another process has declared this one dead."""
        with self._lock:
            self._worker_id, self._unbroken_since = None, None
