"""What wakes an idle worker: its bell, and when it asks the database to ring it. How often it looks for work by itself.

A worker sleeps while its row is in the table `sleeper`. That costs: while any worker sleeps, every INSERT of jobs sends
a NOTIFY, and transactions with a NOTIFY wait for each other at commit. So a worker sleeps only while it can take a job
at once, and not while many notifications come: then looking every few milliseconds is cheaper. It writes its row only
now and then: while a long transaction is open dead rows stay, and every INSERT reads them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from haulier.postgres.statements import Connection
from haulier.queue.claims import wakeups
from haulier.worker.link.lease import Lease

# When to look for work after the row was written: an INSERT that read the table just before has missed the row, and
# its job appears when it commits, soon after.
LOOKS_AFTER = (0.005, 0.02, 0.08, 0.32)
# After this long of unbroken work the worker removes its row.
WORK_SECONDS = 1.0
# A worker that has more work than it can take wakes others at most this often.
SHARE_SECONDS = 0.05
# And for about this share of its time: far from the database each call takes as long as a claim, which waits for it.
# The pause has a bound, because a single call may be slow for another reason, and the others would sleep for long.
SHARING_SHARE, LONGEST_PAUSE_SECONDS = 1 / 10, 1.0
# After MANY_KNOCKS notifications within MANY_SECONDS, for any worker, this one does not sleep for RESTLESS_SECONDS: it
# looks for work every RESTLESS_PAUSE_SECONDS.
MANY_KNOCKS = 25
MANY_SECONDS = 0.2
RESTLESS_SECONDS = 1.0
RESTLESS_PAUSE_SECONDS = 0.01
# The row is written at most once in this time.
SLEEP_SECONDS = 5.0


class Sleeper:
    """Whether one process, with all its threads, sleeps: a plain state machine. Units: seconds of `clock`."""

    def __init__(self, lease: Lease, *, poll_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # The worker id whose row may be in the table, and whether the row is there for certain.
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
        """Note that a connection listens from now on; without a listening connection this process does not sleep."""
        with self._lock:
            # Write the row again: if the server crashed, and so cut the last connection, it may have lost the row.
            self._hears, self._is_certain = True, False

    def went_deaf(self) -> None:
        """Note that no connection listens any more."""
        with self._lock:
            self._hears = False

    @property
    def is_woken(self) -> bool:
        """Return whether notifications wake this process; otherwise only polling finds work."""
        return self._hears

    def knocked(self) -> None:
        """Note a notification of work, for any worker."""
        with self._lock:
            now = self._clock()
            self._knocked_at.append(now)
            if len(self._knocked_at) == MANY_KNOCKS and now - self._knocked_at[0] <= MANY_SECONDS:
                self._restless_until = now + RESTLESS_SECONDS

    def fall_asleep(self, conn: Connection) -> None:
        """Note that there is nothing to do, and ask to be woken, unless this process has asked already.

        The thread that looks for work calls it when it has found none.
        Raises: DatabaseUnavailable; the row is then written, or removed, the next time.
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
        """Note that a claim brought jobs, and return whether claims have done so for long enough to call `awake`."""
        if self._sleeps_as is None:
            return False
        with self._lock:
            now = self._clock()
            if self._works_since is None:
                self._works_since = now
            return now - self._works_since >= WORK_SECONDS or now < self._restless_until

    def awake(self, conn: Connection) -> None:
        """Stop asking to be woken, if this process `works`.

        Raises: DatabaseUnavailable; the row is then removed the next time.
        """
        if self.works():
            with self._lock:
                self._get_up(conn)

    def share(self, conn: Connection) -> None:
        """Wake another worker, because there is more work than this process takes.

        A notification does not say how many jobs there are. One call now and then is enough: the woken worker does the
        same.
        """
        with self._lock:
            worker_id, now = self._lease.registered_as, self._clock()
            if worker_id is None or not self._hears or now < self._shares_at:
                return
            self._shares_at = now + SHARE_SECONDS
        wakeups.wake_another(conn, worker_id)
        ended_at = self._clock()
        pause = min(LONGEST_PAUSE_SECONDS, (ended_at - now) / SHARING_SHARE)
        self._shares_at = max(self._shares_at, ended_at + pause)

    def pass_on(self, conn: Connection) -> None:
        """Wake another worker instead of this one, whose threads are all busy.

        This one does not sleep again at once: at the limit of its capacity it would write its row again and again.
        """
        with self._lock:
            worker_id = self._lease.registered_as
            if worker_id is None:
                return
            self._is_certain = False
            self._restless_until = self._clock() + RESTLESS_SECONDS
        # Not under the lock: a call that hangs on the listener's connection must not hold up the other threads.
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
