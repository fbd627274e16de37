"""The thread that renews this process's lease, learns of cancels, and takes the jobs of dead workers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.kinds import StopReason
from haulier.postgres.errors import translated
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.queue.claims.wakeups import call_myself
from haulier.queue.schedules.fire import any_schedule
from haulier.worker.link import Link
from haulier.worker.steps.beat import Beat
from haulier.worker.steps.pauses import Pauses
from haulier.worker.steps.progress import ProgressWriter
from haulier.worker.steps.rescue import Rescuer
from haulier.worker.steps.strays import Strays
from haulier.worker.steps.suspects import SuspectSearch
from haulier.worker.steps.vitals import VitalSigns
from haulier.worker.supply.held import HeldJobs
from haulier.worker.supply.shutdown import Shutdown

# How often to ask for cancels while jobs run: a notification is quicker, but may not come through.
CANCEL_SECONDS = 0.4
SUSPECT_SECONDS = 2.0
# How often to ask whether there is a schedule, as long as none is known.
SCHEDULE_SECONDS = 5.0
# At most this share of the time goes into comparing the jobs held here with the jobs that the database says run here.
COMPARING_SHARE = 1 / 50
# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0
# Between tries to give jobs back at the end, when the time left is short.
LEAVE_PAUSE_SECONDS = 0.2

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Heartbeat(threading.Thread):
    """Beats at least three times a lease, on its own connection, until the last job has drained."""

    database: Database
    link: Link
    held: HeldJobs
    beat: Beat
    pauses: Pauses
    progress: ProgressWriter
    strays: Strays
    suspects: SuspectSearch
    vitals: VitalSigns
    rescuer: Rescuer
    has_schedules: threading.Event
    shutdown: Shutdown

    def __post_init__(self) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._compare_at = float("-inf")
        self._has_failed = False
        self._suspects_at = float("-inf")
        self._schedules_at = float("-inf")
        # The worker id for which the database knows that the process stops.
        self._stops_as: UUID | None = None

    def run(self) -> None:
        """Beat until the process closes, then give back the jobs it still holds and delete its row."""
        closing, lease, outage = self.shutdown.closing, self.link.lease, self.link.outage
        try:
            while not closing.is_set():
                try:
                    with self.database.connection() as conn:
                        self.go_round(conn)
                except (DatabaseUnavailable, Refusal) as error:
                    lease.missed()
                    outage.failed(error)
                    outage.pause()
                except Exception:
                    lease.missed()
                    log.exception("the heartbeat failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
                    closing.wait(BUG_PAUSE_SECONDS)
                else:
                    if not self._has_failed:
                        outage.succeeded()
                    self.link.beat_wanted.wait(min(CANCEL_SECONDS, self.beat.seconds / 4))
            self._leave()
        finally:
            self.database.close()

    def go_round(self, conn: Connection) -> None:
        """Do everything that is due, once."""
        lease, held, now, self._has_failed = self.link.lease, self.held, time.monotonic(), False
        wanted = self.link.beat_wanted.is_set()
        self.link.beat_wanted.clear()
        self.vitals.sample()
        to_sweep = self.rescuer.is_due()
        if lease.registered_as is None:
            self.beat.register(conn)
        # Also right before a sweep: the beat shows whether the database's clock jumped or this machine slept, and then
        # every other worker would look dead.
        elif to_sweep or self.beat.is_due():
            self.beat.beat(conn)
        # The beat goes first, and each other step by itself: an error in one must harm neither the lease nor the next.
        self._try(self._call_listener, conn)
        self._try(self._say_stopping, conn)
        self._try(self.pauses.look, conn)
        if wanted or len(held):
            self._try(self._hear_of_cancels, conn)
        self._try(self.progress.write, conn)
        if held.unsure():
            self._try(self.strays.look_for_unanswered, conn)
        if now >= self._compare_at:
            self._try(self.strays.compare, conn)
            # While any transaction holds a snapshot, the statement walks over every job that has run here since then.
            cost = time.monotonic() - now
            self._compare_at = now + max(self.beat.seconds, cost / COMPARING_SHARE)
        if now - self._suspects_at >= SUSPECT_SECONDS:
            self._suspects_at = now
            self._try(self.suspects.look, conn)
        self._try(self._look_for_schedules, conn)
        if to_sweep and lease.may_rescue:
            self._sweep(conn)

    def _try(self, step: Callable[[Connection], T], conn: Connection) -> T | None:
        """Return what the step returns; None, logged, if the database refuses one of its statements.

        If the steps before took so long that the beat is due again, skip the step and return None.
        """
        if self.beat.is_due():
            return None
        try:
            with translated():
                return step(conn)
        except Refusal as error:
            self._has_failed = True
            self.link.outage.failed(error)
            return None

    def _sweep(self, conn: Connection) -> None:
        # Look first: after the sweep, a lease that has run out meanwhile would be seen only by the next one.
        self._try(self.rescuer.look_ahead, conn)
        if self._try(self.rescuer.sweep, conn):
            self._suspects_at = float("-inf")

    def _call_listener(self, conn: Connection) -> None:
        """Send the notification by which the listener finds out whether notifications come through."""
        worker_id, number = self.link.lease.registered_as, self.link.notify_check.wanted
        if number is not None and worker_id is not None:
            call_myself(conn, worker_id)
            self.link.notify_check.called(number)

    def _say_stopping(self, conn: Connection) -> None:
        worker_id = self.link.lease.registered_as
        if worker_id is not None and self.shutdown.stopping.is_set() and self._stops_as != worker_id:
            claims.say_stopping(conn, worker_id)
            self._stops_as = worker_id

    def _look_for_schedules(self, conn: Connection) -> None:
        now = time.monotonic()
        if self.has_schedules.is_set() or now - self._schedules_at < SCHEDULE_SECONDS:
            return
        self._schedules_at = now
        if any_schedule(conn):
            self.has_schedules.set()

    def _hear_of_cancels(self, conn: Connection) -> None:
        worker_id = self.link.lease.registered_as
        assert worker_id is not None
        self.held.stop(claims.cancelled(conn, worker_id), StopReason.CANCELLED)

    def _leave(self) -> None:
        """Give back, uncharged, every job that the database says this worker runs, and delete its row.

        This thread does so because it has a connection, and there may be none left for another. The main thread waits
        no longer than its deadline allows; jobs not given back by then are rescued.
        """
        worker_id = self.link.lease.registered_as
        while worker_id is not None and not self.shutdown.over.is_set():
            try:
                with self.database.connection() as conn:
                    if self.strays.give_all_back(conn, worker_id):
                        claims.deregister(conn, worker_id)
                        return
            except (DatabaseUnavailable, Refusal) as error:
                self.link.outage.failed(error)
            self.shutdown.over.wait(LEAVE_PAUSE_SECONDS)
