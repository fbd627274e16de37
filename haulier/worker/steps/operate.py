"""Works operations off while it is this process's turn: see haulier/queue/operations/work_off.py."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.pool import Database
from haulier.queue.operations.work_off import MOST_JOBS, Pace, Worker, leave, work_off
from haulier.worker.link.outage import Outage

# If this process dies, all operations stand still for this long; then another process continues. It is longer than a
# statement and the rest after it: else, on a very slow database, each process would lose its turn before its first
# step.
LEASE_SECONDS = 8.0
# A step should take at most this long, and at least half: meanwhile other statements may wait for a processor, and a
# cancel of one of its jobs for its end. Much shorter steps cost more in all: each takes 4 ms besides its jobs.
STEP_SECONDS = 0.02
FIRST_JOBS, LEAST_JOBS = 40, 10
# Looking for jobs takes as long as acting on a hundred: look for this many steps at once.
STEPS = 4
# Each look and each step is followed by a rest of this many times its duration, within these bounds: others use the
# database too.
RESTS, LEAST_REST_SECONDS, MOST_REST_SECONDS = 5, 0.005, 1.0
# Pause before it looks again at an operation that is due and that it could not take.
AGAIN_SECONDS = 0.5
# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Operating:
    """Works on one operation after the other while any is due; then it closes its connection."""

    database: Database
    outage: Outage
    stopping: threading.Event
    closing: threading.Event
    _by: Worker = field(init=False, default_factory=lambda: Worker(uuid4(), LEASE_SECONDS, LEASE_SECONDS))
    # How many jobs a step takes.
    _jobs: int = field(init=False, default=FIRST_JOBS)
    _began_at: float = field(init=False, default=0.0)
    _has_taken: bool = field(init=False, default=False)

    def work(self) -> None:
        """Work until nothing is due here, or the process stops."""
        try:
            while not self.stopping.is_set() and self._chunk():
                pass
            self._leave()
        finally:
            self.database.close()

    def _leave(self) -> None:
        """Let another process continue, if this one stops."""
        if self._has_taken and self.stopping.is_set():
            with suppress(DatabaseUnavailable, Refusal), self.database.connection() as conn:
                leave(conn, self._by)

    def _chunk(self) -> bool:
        """Do a chunk, and return whether there may be another one to do now."""
        self._began_at = time.monotonic()
        try:
            with self.database.connection() as conn:
                pace = Pace(self._jobs, self._rest)
                is_done = work_off(conn, self._by, most_jobs=STEPS * self._jobs, pace=pace)
        except DatabaseUnavailable as error:
            # No other process may do this operation now, so this one continues once the database is back.
            self.outage.failed(error)
            self.outage.pause()
            return True
        except Exception:
            log.exception("operations cannot be carried out; trying again in %.0f s", BUG_PAUSE_SECONDS)
            self.closing.wait(BUG_PAUSE_SECONDS)
            return False
        took, self._has_taken = time.monotonic() - self._began_at, is_done is not None
        if is_done is None:
            return False
        if not is_done or took > STEP_SECONDS:
            self._jobs = max(self._jobs // 2, LEAST_JOBS)
        elif took < STEP_SECONDS / 2:
            self._jobs = min(2 * self._jobs, MOST_JOBS // STEPS)
        return self._rest()

    def _rest(self) -> bool:
        """Rest after the look, or a step, and return whether to continue."""
        took = time.monotonic() - self._began_at
        is_stopping = self.stopping.wait(min(max(RESTS * took, LEAST_REST_SECONDS), MOST_REST_SECONDS))
        self._began_at = time.monotonic()
        return not is_stopping


class NextOperation:
    """When the next operation is due: the heartbeat finds out every few seconds, the thread Operations waits for it."""

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
        """Wait until one is due; False, at once, if the process closes.

        If it is still due afterwards, as far as this process knows, return True again soon: a retry waits until what
        its preview saw is counted.
        """
        with self._changed:
            while not self._is_closed:
                left = self._at - time.monotonic()
                if left <= 0:
                    self._at = time.monotonic() + AGAIN_SECONDS
                    return True
                self._changed.wait(None if left == float("inf") else left)
            return False

    def close(self) -> None:
        """End the wait: the process closes."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
