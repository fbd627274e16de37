"""How a thread that looks for work waits where there is none, and what it says to other workers where there is some."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from haulier.postgres.database import Database
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import AWAY_PAUSE_SECONDS
from haulier.worker.shared.sleeper import Sleeper

# When a due job could not be had (somebody is just claiming it), the next look follows at once, then ever later.
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
        """Note that there is work: ask no longer to be woken, and have others woken where it is more than enough.

        Raises: DatabaseUnavailable; Refusal.
        """
        self._pause = FIRST_PAUSE_SECONDS
        if not self.sleeper.works() and self.marks.is_short:
            return
        with self.database.connection() as conn:
            self.sleeper.awake(conn)
            if not self.marks.is_short:
                self.sleeper.share(conn)

    def wait(self, *, is_all_seen: bool) -> None:
        """Wait until somebody rings or it is time to look again; where all has just been seen, that is a poll away.

        Raises: DatabaseUnavailable; Refusal.
        """
        longest = self.poll_seconds if is_all_seen else self.marks.seconds_until_scan()
        if self.stopping.is_set() or self.suspects_due.is_set():
            return
        if self.lease.worker_id is None:
            self.bell.wait(AWAY_PAUSE_SECONDS)
            return
        with self.database.connection() as conn:
            self.sleeper.fall_asleep(conn)
        longest, due = min(longest, self.sleeper.next_pause()), self.marks.seconds_until_due()
        if due is not None and due <= 0:
            # Somebody else is just claiming it, or is to let go of it.
            due, self._pause = self._pause, min(self.poll_seconds, 2 * self._pause)
        self.bell.wait(longest if due is None else min(longest, due))
