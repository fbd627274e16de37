"""How a thread waits where there is no work, and wakes other workers where there is more than it can take."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from haulier.postgres.database import Database
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import AWAY_PAUSE_SECONDS
from haulier.worker.shared.sleeper import Sleeper

# The first pause after a due job could not be had, because another worker is just claiming it; doubled each time.
FIRST_PAUSE_SECONDS = 0.02


@dataclass(slots=True)
class Waiting:
    """The waits of one thread, while it has the buffer's place."""

    database: Database
    sleeper: Sleeper
    bell: Bell
    marks: Marks
    lease: Lease
    stopping: threading.Event
    suspects_due: threading.Event
    poll_seconds: float
    _pause: float = field(default=FIRST_PAUSE_SECONDS, init=False)

    def end(self) -> None:
        """Note that there is work: stop asking to be woken, and wake others where there is more than was claimed.

        Raises: DatabaseUnavailable; Refusal.
        """
        self._pause = FIRST_PAUSE_SECONDS
        if not self.sleeper.works() and self.marks.is_short:
            return
        with self.database.connection() as conn:
            self.sleeper.awake(conn)
            if not self.marks.is_short:
                self.sleeper.share(conn)

    def wait(self, *, is_all_seen: bool, is_new_seen: bool) -> None:
        """Wait until the bell rings or it is time to look again: after POLL_SECONDS if a scan has just seen all lanes.

        Otherwise until the next scan: the one of the new jobs, unless they have just been seen.

        Raises: DatabaseUnavailable; Refusal.
        """
        longest = self.poll_seconds if is_all_seen else self.marks.seconds_until_scan()
        if not is_new_seen:
            longest = min(longest, self.marks.seconds_until_scan_of_new())
        if self.stopping.is_set() or self.suspects_due.is_set():
            return
        if self.lease.worker_id is None:
            self.bell.wait(AWAY_PAUSE_SECONDS)
            return
        with self.database.connection() as conn:
            self.sleeper.fall_asleep(conn)
        longest, due = min(longest, self.sleeper.next_pause()), self.marks.seconds_until_due()
        if due is not None and due <= 0:
            # Another worker is just claiming that job, or has locked it and will let it go.
            due, self._pause = self._pause, min(self.poll_seconds, 2 * self._pause)
        self.bell.wait(longest if due is None else min(longest, due))
