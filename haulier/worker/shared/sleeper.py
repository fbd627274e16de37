"""When an idle worker asks to be woken, and how often it looks for work by itself besides.

A sleeper costs: while anybody sleeps, every INSERT of jobs sends a NOTIFY, and those of the whole server wait for each
other. So a worker sleeps only while it can take a job at once, and not where knocks come thick and fast: then looking
every few milliseconds is cheaper. Nor does it write its row over and over: under somebody's long transaction the dead
rows stay, and every INSERT reads them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from uuid import UUID

from haulier.postgres.statements import Connection
from haulier.queue.consume import wakeups
from haulier.worker.shared.lease import Lease

# After falling asleep: an INSERT that looked for sleepers just before was missed, and commits any time soon.
LOOKS_AFTER = (0.005, 0.02, 0.08, 0.32)
# Unbroken work for so long, and the worker sleeps no more.
WORK_SECONDS = 1.0
# Whoever has more work than it can take wakes others no more often than this.
SHARE_SECONDS = 0.05
# So many knocks in so short a time, for whomever they are, and nobody sleeps for a while.
MANY_KNOCKS = 25
MANY_SECONDS = 0.2
RESTLESS_SECONDS = 1.0
RESTLESS_PAUSE_SECONDS = 0.01
# From one row to the next it takes so long at least.
SLEEP_SECONDS = 5.0


class Sleeper:
    """The sleep of one process, over all its threads: a plain state machine. Units: seconds of `clock`."""

    def __init__(self, lease: Lease, *, poll_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # Whose row may be there; and whether it is there for certain.
        self._sleeps_as: UUID | None = None
        self._is_certain = False
        self._asleep_at = float("-inf")
        self._looks_due: deque[float] = deque()
        self._works_since: float | None = None
        self._knocked_at: deque[float] = deque(maxlen=MANY_KNOCKS)
        self._restless_until = float("-inf")
        self._shares_at = float("-inf")
        self._hears = False

    def hears(self) -> None:
        """Note that a connection listens from now on; without one nobody sleeps."""
        with self._lock:
            # The server may have lost what it had not yet written when it took the last connection away.
            self._hears, self._is_certain = True, False

    def went_deaf(self) -> None:
        """Note that no connection listens any more."""
        with self._lock:
            self._hears = False

    @property
    def is_woken(self) -> bool:
        """Tell whether notifications wake this process; otherwise it finds work by looking alone."""
        return self._hears

    def knocked(self) -> None:
        """Note a knock for work, for whichever worker."""
        with self._lock:
            now = self._clock()
            self._knocked_at.append(now)
            if len(self._knocked_at) == MANY_KNOCKS and now - self._knocked_at[0] <= MANY_SECONDS:
                self._restless_until = now + RESTLESS_SECONDS

    def fall_asleep(self, conn: Connection) -> None:
        """Note that there is nothing to do, and ask to be woken where that is not yet so.

        To be called after a look for work that found none, by the thread that goes on looking. Raises:
        DatabaseUnavailable; the row is then asked for, or removed, the next time.
        """
        with self._lock:
            self._works_since = None
            worker_id, now = self._lease.worker_id, self._clock()
            if worker_id is None:
                return
            if not self._hears or now < self._restless_until:
                self._get_up(conn)
            elif self._sleeps_as != worker_id or not self._is_certain:
                self._sleeps_as, self._is_certain = worker_id, False
                wakeups.fall_asleep(conn, worker_id)
                self._is_certain = True
                self._asleep_at = self._clock()
                self._looks_due = deque(self._asleep_at + seconds for seconds in LOOKS_AFTER)

    def works(self) -> bool:
        """Note that a claim brought jobs, and tell whether, after a while of nothing but that, to be `awake`."""
        if self._sleeps_as is None:
            return False
        with self._lock:
            now = self._clock()
            if self._works_since is None:
                self._works_since = now
            return now - self._works_since >= WORK_SECONDS or now < self._restless_until

    def awake(self, conn: Connection) -> None:
        """Ask no longer to be woken where this process `works`.

        Raises: DatabaseUnavailable; the row is then removed the next time.
        """
        if self.works():
            with self._lock:
                self._get_up(conn)

    def share(self, conn: Connection) -> None:
        """Have another worker woken as well, since there is more to do than this process takes.

        A knock does not say how much there is. Now and then is enough: whoever is woken does the same.
        """
        with self._lock:
            worker_id, now = self._lease.registered_as, self._clock()
            if worker_id is None or not self._hears or now < self._shares_at:
                return
            self._shares_at = now + SHARE_SECONDS
        wakeups.wake_another(conn, worker_id)

    def pass_on(self, conn: Connection) -> None:
        """Have another worker woken instead of this one, whose threads all have something to do.

        It does not sleep again at once: a worker between the two would do nothing but write its row.
        """
        with self._lock:
            worker_id = self._lease.registered_as
            if worker_id is None:
                return
            self._is_certain = False
            self._restless_until = self._clock() + RESTLESS_SECONDS
        # Not under the lock: what holds up the listener's connection must not hold up the others.
        wakeups.pass_on(conn, worker_id)

    def next_pause(self) -> float:
        """Return how long to wait before the next look for work, unless woken."""
        with self._lock:
            now = self._clock()
            if now < self._restless_until:
                return min(RESTLESS_PAUSE_SECONDS, self._poll_seconds)
            while self._looks_due and self._looks_due[0] <= now:
                self._looks_due.popleft()
            return min(self._looks_due[0] - now, self._poll_seconds) if self._looks_due else self._poll_seconds

    def _get_up(self, conn: Connection) -> None:
        if self._sleeps_as is not None:
            self._is_certain = False
            wakeups.get_up(conn, self._sleeps_as)
            self._sleeps_as = None
            self._restless_until = max(self._restless_until, self._asleep_at + SLEEP_SECONDS)
