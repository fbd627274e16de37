"""Works operations off, where it is this process's turn: see haulier/queue/produce/work_off.py."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.database import Database
from haulier.queue.produce.work_off import MOST_JOBS, Worker, leave, work_off
from haulier.worker.shared.outage import Outage

# Should this process die, another goes on after so long.
LEASE_SECONDS = 15.0
# A chunk is to take so long at most, and half of it at least: others' statements may wait for a processor meanwhile,
# and whoever cancels one of its jobs for its end.
CHUNK_SECONDS = 0.05
FIRST_JOBS, LEAST_JOBS = 100, 10
# Then nothing is done for as long as the chunk took, and for this long at least: others use the database too.
LEAST_REST_SECONDS = 0.02
# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Operating:
    """Works on one operation after the other while any is due; that costs a connection, which is not kept open."""

    database: Database
    outage: Outage
    stopping: threading.Event
    closing: threading.Event
    _by: Worker = field(init=False, default_factory=lambda: Worker(uuid4(), LEASE_SECONDS, LEASE_SECONDS))
    _most_jobs: int = field(init=False, default=FIRST_JOBS)
    _has_taken: bool = field(init=False, default=False)

    def work(self) -> None:
        """Work until nothing is due here, or the process stops."""
        try:
            while not self.stopping.is_set() and (rest := self._chunk()) is not None:
                self.stopping.wait(rest)
            self._leave()
        finally:
            self.database.close()

    def _leave(self) -> None:
        """Where the process stops, let another go on."""
        if self._has_taken and self.stopping.is_set():
            with suppress(DatabaseUnavailable, Refusal), self.database.connection() as conn:
                leave(conn, self._by)

    def _chunk(self) -> float | None:
        """Do a chunk, and return for how long to rest; None where nothing is to be done here now."""
        began_at = time.monotonic()
        try:
            with self.database.connection() as conn:
                is_done = work_off(conn, self._by, most_jobs=self._most_jobs)
        except DatabaseUnavailable as error:
            self.outage.failed(error)
            self.outage.pause()
            return None
        except Exception:
            log.exception("operations cannot be worked off; trying again in %.0f s", BUG_PAUSE_SECONDS)
            self.closing.wait(BUG_PAUSE_SECONDS)
            return None
        took, self._has_taken = time.monotonic() - began_at, is_done is not None
        if is_done is None:
            return None
        if not is_done or took > CHUNK_SECONDS:
            self._most_jobs = max(self._most_jobs // 2, LEAST_JOBS)
        elif took < CHUNK_SECONDS / 2:
            self._most_jobs = min(2 * self._most_jobs, MOST_JOBS)
        return max(took, LEAST_REST_SECONDS)
